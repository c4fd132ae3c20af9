"""Reports: statistics and tables from the records."""

import pytest

from experiments import report, runs
from experiments.variants import LINES, VARIANTS
from nstlib import ImageError


def cells(table):
    """Rows of a Markdown table, the head first, without the rule."""
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    return [head, *rows]


def test_what_is_not_there_is_empty(tmp_path):
    assert report.read(tmp_path / "none.json") == []
    assert report.recorded(tmp_path / "none.json") == set()


def test_every_variant_and_no_other_is_on_record():
    assert {name for name, _ in report.recorded()} == set(VARIANTS)


def test_summary_is_over_the_seeds():
    records = [{"variant": "a", "test": {"accuracy": value}} for value in (0.2, 0.3)]
    assert report.summary(records, "a") == {"accuracy": {"seeds": 2, "mean": 0.25, "sd": 0.0707, "low": 0.2, "high": 0.3}}
    with pytest.raises(KeyError, match="b"):
        report.summary(records, "b")


def test_trained_on_one_kind_of_lines_and_tested_on_another():
    records = [{"variant": "a", "lines": dict.fromkeys(LINES, value)} for value in (0.2, 0.3)]
    assert report.across(records, ["a"]) == {"a": {line: report.over_seeds([0.2, 0.3]) for line in LINES}}


def test_what_learns_faster_is_higher_in_the_first_half():
    points = ([0.0, 0.1, 0.3, 0.4, 0.4], [0.0, 0.2, 0.4, 0.4, 0.6])
    records = [{"variant": "a", "curves": {"accuracy_ab": curve}} for curve in points]
    curve = report.curves(records, "a", "accuracy_ab")
    assert curve.shape == (2, 5)
    assert report.first_half(curve)["low"] == pytest.approx(0.2)
    assert report.first_half(curve)["high"] == pytest.approx(0.3)


def test_a_curve_of_one_medical_image():
    settled = {"retina": {"accuracy": [0.0, 0.2]}, "immunohistochemistry": {"accuracy": [0.1, 0.6]}}
    records = [{"variant": "a", "curves": {"accuracy": [0.05, 0.4]}, "settled": settled}]
    assert report.curves(records, "a", image="retina").tolist() == [pytest.approx([0.0, 0.2])]
    assert report.curves(records, "a").tolist() == [pytest.approx([0.05, 0.4])]


def test_a_gain_is_found_seed_by_seed():
    def record(variant, seed, value):
        return {"variant": variant, "seed": seed, "images": {"retina": {"accuracy": value}}}

    records = [
        record("old", 0, 0.1),
        record("old", 1, 0.5),
        record("new", 1, 0.4),
        record("new", 0, 0.4),
        record("new", 2, 0.9),
    ]
    found = report.gain(records, "new", "old", "accuracy", "retina")
    assert (found["seeds"], found["low"], found["high"]) == (2, pytest.approx(-0.1), pytest.approx(0.3))
    with pytest.raises(KeyError, match="no seed"):
        report.gain(records, "new", "other", "accuracy", "retina")


def test_a_mean_is_shown_with_its_range_over_the_seeds():
    assert report.mean_and_range(report.over_seeds([0.2, 0.25, 0.3])) == "0.250 (0.200 to 0.300)"
    assert report.mean_and_range(report.over_seeds([20.04]), 1) == "20.0"


def test_a_table_has_a_row_a_variant_and_a_column_a_measure():
    values = {key: report.over_seeds([0.4, 0.6]) for key in report.MEASURES}
    head, *rows = cells(report.variant_table({"the poster": values, "another": values}))
    assert head == ["", *(title for title, _ in report.MEASURES.values()), "seeds"]
    assert [row[0] for row in rows] == ["the poster", "another"]
    assert rows[0][1:-1] == [report.mean_and_range(values[key], digits) for key, (_, digits) in report.MEASURES.items()]
    assert rows[0][-1] == "2"


def test_a_table_of_chosen_measures():
    values = {"ssim": report.over_seeds([0.5]), "psnr": report.over_seeds([20.0])}
    table = report.variant_table({"a": values}, {"ssim": ("SSIM", 3)}, "trained with")
    assert cells(table) == [["trained with", "SSIM", "seeds"], ["a", "0.500", "1"]]


def test_a_summary_of_one_medical_image():
    values = {"retina": {"accuracy": 0.2}, "immunohistochemistry": {"accuracy": 0.6}}
    records = [{"variant": "a", "test": {"accuracy": 0.4}, "images": values}]
    assert report.summary(records, "a", "retina")["accuracy"]["mean"] == 0.2
    assert report.summary(records, "a")["accuracy"]["mean"] == 0.4


def test_the_line_art_table_has_what_is_on_record():
    records = [record for record in report.read() if record["variant"] in ("canny-l1-gan", "canny-gradient")]
    rows = cells(report.line_art(records))[1:]
    assert len(rows) == 2
    mean = report.summary(records, "canny-l1-gan")["accuracy"]["mean"]
    assert rows[0][1].startswith(f"{mean:.3f}")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_examples_on_record(name):
    examples = report.colorized_examples(name)
    assert examples.shape[1] == 3
    assert len(examples) == runs.EXAMPLES
    inputs = report.examples(name)
    assert inputs["condition"].shape[2:] == inputs["truth"].shape[2:] == examples.shape[2:]
    assert len(inputs["condition"]) == len(inputs["truth"]) == len(examples)


def test_examples_stand_beside_the_frames_that_they_were_made_from():
    found = report.examples("canny-l1-gan")
    assert {name: tuple(images.shape[:2]) for name, images in found.items()} == {
        "condition": (runs.EXAMPLES, 1),
        "truth": (runs.EXAMPLES, 3),
        "colorized": (runs.EXAMPLES, 3),
    }
    assert (found["colorized"] - found["truth"]).abs().mean() < 0.15
    with pytest.raises(ImageError, match="canny-none"):
        report.colorized_examples("canny-none")
