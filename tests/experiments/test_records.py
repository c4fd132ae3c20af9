"""Records: statistics over frames and seeds, and their JSON files."""

import json

import pytest
import torch

from experiments import records


def test_json_is_written_and_read_back_in_the_order_of_names(tmp_path):
    folder = tmp_path / "new" / "records"
    for name in ("b", "a"):
        records.write_json({"name": name, "values": [1, 0.5]}, folder / f"{name}.json")
    assert [record["name"] for record in records.read_records(folder)] == ["a", "b"]
    assert (folder / "a.json").read_text().endswith("]\n}\n")


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "record.json"
    records.write_json({"old": True}, path)
    with pytest.raises(TypeError):
        records.write_json({"new": object()}, path)
    assert json.loads(path.read_text()) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "long-canny-seed0.json").write_text("{")
    with pytest.raises(ValueError, match=r"long-canny-seed0\.json"):
        records.read_records(tmp_path)


def test_no_folder_holds_no_records(tmp_path):
    assert records.read_records(tmp_path / "none") == []


def test_spread_is_mean_and_sample_standard_deviation():
    assert records.spread([0.2, 0.3]) == {"mean": 0.25, "sd": 0.0707}
    assert records.spread([0.61]) == {"mean": 0.61}


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        ({"mean": 0.2314, "sd": 0.0041}, 3, "0.231 ± 0.004"),
        ({"mean": 29.47, "sd": 0.09}, 1, "29.5 ± 0.1"),
        ({"mean": 0.5}, 3, "0.500"),
    ],
)
def test_mean_and_sd_as_text(value, digits, text):
    assert records.mean_and_sd(value, digits) == text


def test_means_are_over_frames_to_four_digits():
    assert records.means({"accuracy": torch.tensor([0.1, 0.2, 0.2]), "psnr": torch.tensor([30.0])}) == {
        "accuracy": 0.1667,
        "psnr": 30.0,
    }


def test_the_cpu_has_a_name_and_cores():
    assert records.device_name(torch.device("cpu")) == records.processor()
    assert records.processor().split(", ")[-1].split()[0].isdigit()
