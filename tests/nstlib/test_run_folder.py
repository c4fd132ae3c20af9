"""What a training writes: whole or not at all, and a folder that cannot be written is named."""

import csv
import os

import pytest
import torch

from nstlib.images import load_image
from nstlib.run_folder import ModelError, make_folder, read_checkpoint, write_checkpoint, write_log, write_samples


def test_the_folder_is_made_and_left_empty(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["samples"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "run"):
        with pytest.raises(ModelError, match="taken"):
            make_folder(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_write_protected_folder_is_named(tmp_path):
    (tmp_path / "samples").mkdir()
    tmp_path.chmod(0o500)
    with pytest.raises(ModelError, match=tmp_path.name):
        make_folder(tmp_path)


def test_the_log_has_a_line_an_epoch(tmp_path):
    write_log(tmp_path, [{"l1": 0.5, "seconds": 1.0}, {"l1": 0.25, "seconds": 2.0}])
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"epoch": "1", "l1": "0.5", "seconds": "1.0"}, {"epoch": "2", "l1": "0.25", "seconds": "2.0"}]


def test_a_measure_may_come_and_go(tmp_path):
    """A training that goes on may have no validation frames any more."""
    write_log(tmp_path, [{"l1": 0.5, "accuracy": 0.1}, {"l1": 0.25}])
    with (tmp_path / "log.csv").open() as file:
        assert [row["accuracy"] for row in csv.DictReader(file)] == ["0.1", ""]
    write_log(tmp_path, [{"l1": 0.5}, {"l1": 0.25, "accuracy": 0.1}])


def test_samples_are_rows_of_condition_truth_and_colorized(tmp_path):
    make_folder(tmp_path)
    parts = {
        "condition": torch.zeros(2, 1, 8, 10),
        "truth": torch.full((2, 3, 8, 10), 0.4),
        "colorized": torch.ones(2, 3, 8, 10),
    }
    write_samples(tmp_path, 7, parts)
    sheet = load_image(tmp_path / "samples" / "epoch_007.png")
    assert sheet.shape == (1, 3, 24, 20)
    assert sheet.mean(dim=(0, 1, 3))[[0, 8, 16]].tolist() == pytest.approx([0, 0.4, 1])


def test_a_checkpoint_comes_back(tmp_path):
    assert read_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, {"weights": torch.ones(2), "step": 3})
    state = read_checkpoint(tmp_path)
    assert state["step"] == 3
    assert state["weights"].tolist() == [1, 1]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_named_and_left_alone(tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint\.pt"):
        read_checkpoint(tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == content


@pytest.mark.parametrize("error", [OSError("full"), RuntimeError("full")])
def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch, error):
    write_checkpoint(tmp_path, {"step": 3})

    def fail(*_):
        raise error

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(ModelError, match=tmp_path.name):
        write_checkpoint(tmp_path, {"step": 4})
    monkeypatch.undo()
    assert read_checkpoint(tmp_path) == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
