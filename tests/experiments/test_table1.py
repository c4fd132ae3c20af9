"""Table 1: records, the table made of them, and what stands in figures/ and the README agree."""

import json
from dataclasses import asdict

import pytest
import torch

from experiments import table1
from experiments.profiles import FIGURES, ROOT
from experiments.records import means, read_records, write_json
from nstlib import AnimeFrames, Colorizer, ColorizerRecipe, Condition, asset_path
from nstlib.anime import SPLITS

RECORDS = read_records(FIGURES / "records")


def entry(condition="grayscale", run="long", seed=0, accuracy=0.6, **changes):
    values = dict.fromkeys(("accuracy", "accuracy_5", "accuracy_ab", "accuracy_ab_5", "psnr", "ssim"), accuracy)
    return {
        "run": run,
        "condition": {"operator": condition, "supersample": 1},
        "epochs": 30,
        "frames_per_epoch": 100 if run == "long" else 10,
        "seconds": 60,
        "device": "abacus",
        "size": 64,
        "recipe": {"width": 32},
        "seed": seed,
        "test_frames": 8,
        **dict.fromkeys(("shots", "scenes", "train"), values),
        **changes,
    }


def test_rows_are_means_and_deviations_over_seeds():
    rows = table1.summary_rows(
        [
            entry("canny", "laptop", 0, 0.2),
            entry("grayscale", "laptop", 0, 0.5),
            entry("grayscale", "long", 0, 0.6),
            entry("grayscale", "long", 1, 0.7),
        ]
    )
    assert [(row["condition"], row["run"]) for row in rows] == [
        ("grayscale", "long"),
        ("grayscale", "laptop"),
        ("canny", "laptop"),
    ]
    long, laptop, lineart = rows
    assert long["shots"]["accuracy"] == {"mean": 0.65, "sd": 0.0707}
    assert long["seeds"] == [0, 1]
    assert laptop["shots"]["accuracy"] == {"mean": 0.5}, "one seed has no deviation"
    assert (long["poster"], lineart["poster"]) == (0.632, 0.32)


def test_records_older_than_a_recipes_field_go_with_newer_ones():
    newer = {"width": 32, "gradient_weight": 0.0}
    assert len(table1.summary_rows([entry(seed=0), entry(seed=1, recipe=newer)])) == 1
    with pytest.raises(ValueError, match=r"grayscale.*long"):
        table1.summary_rows([entry(seed=0), entry(seed=1, recipe={**newer, "gradient_weight": 1.0})])


def test_minutes_of_different_devices_are_not_averaged():
    one, two = "An EPYC, 1 core", "An EPYC, 2 cores"
    rows = table1.summary_rows(
        [entry(seconds=600, device=two), entry(seed=1, seconds=1200, device=one), entry(seed=2, seconds=1320, device=one)]
    )
    assert rows[0]["seconds"] == {one: {"mean": 1260, "sd": 84.8528}, two: {"mean": 600}}
    assert table1.markdown(rows).splitlines()[2].split("|")[-2].strip() == "21 (1 core), 10 (2 cores)"


def test_what_was_not_measured_is_absent():
    first, second = entry(seed=0, accuracy=0.5), entry(seed=1, accuracy=0.7)
    del second["train"]
    (row,) = table1.summary_rows([first, second])
    assert row["shots"]["accuracy"]["mean"] == 0.6
    assert row["train"]["accuracy"] == {"mean": 0.5}
    del first["train"]
    rows = table1.summary_rows([first, second])
    assert "train" not in rows[0]
    assert table1.markdown(rows).splitlines()[2].split("|")[4].strip() == "–"


def test_no_seed_trains_on_frames_that_are_measured():
    colorizer = Colorizer("grayscale", 16, recipe=ColorizerRecipe(width=4))
    measured = table1.held_out(colorizer, "train", 200)
    assert measured.split == "train"
    for seed in range(5):
        trained = AnimeFrames("train", 16, 200, seed=seed)
        assert not {measured.shot(i) for i in range(200)} & {trained.shot(i) for i in range(200)}


def test_seeds_of_different_settings_are_not_averaged():
    with pytest.raises(ValueError, match=r"grayscale.*long"):
        table1.summary_rows([entry(seed=0), entry(seed=1, epochs=5)])


def test_markdown_says_what_was_measured():
    text = table1.markdown(
        table1.summary_rows([entry(accuracy=0.61), entry(seed=1, accuracy=0.63), entry("canny", accuracy=0.3)])
    )
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert len(head) == len(set(head)) == 13
    assert rows[0][:3] == ["Grayscale", "0.632", "**0.620 ± 0.014**"]
    assert rows[1][:3] == ["Line-art", "0.32", "**0.300**"]
    assert {len(row) for row in rows} == {13}
    assert rows[0][3:5] == ["0.620 ± 0.014"] * 2, "train and scenes"


def test_a_run_is_measured_and_described(tmp_path):
    colorizer = Colorizer("canny", 16, recipe=ColorizerRecipe(width=4, epochs=1, batch_size=4), seed=2)
    colorizer.fit(AnimeFrames("train", 16, 8), progress=False)
    measured = table1.measure_run(colorizer, "tiny", 8, 4)
    write_json(measured, tmp_path / "record.json")
    assert read_records(tmp_path) == [measured]
    assert measured["epochs"] == 1
    assert (measured["seed"], measured["size"], measured["condition"]["operator"]) == (2, 16, "canny")
    assert str(torch.__version__) == measured["versions"]["torch"]
    expected = means(colorizer.evaluate(table1.held_out(colorizer, "shots", 4)))
    assert measured["shots"] == expected
    table1.markdown(table1.summary_rows([measured]))


@pytest.mark.parametrize("supersample", [1, 2])
def test_held_out_frames_suit_the_colorizer(supersample):
    colorizer = Colorizer(Condition("canny", supersample=supersample), 64, recipe=ColorizerRecipe(width=4))
    frames = table1.held_out(colorizer, "shots", 5)
    assert (frames.split, frames.length) == ("shots", 5)
    assert colorizer.condition(frames[0][None]).shape == (1, 1, 64, 64)
    assert frames.split in SPLITS


def test_lines_are_found_in_frames_of_the_colorizers_own_size():
    assert table1.CONDITIONS.keys() == table1.POSTER.keys() == table1.NAMES.keys()
    for name, condition in table1.CONDITIONS.items():
        assert (condition.operator, condition.supersample) == (name, 1)
        colorizer = Colorizer(condition, 32, recipe="laptop")
        assert table1.held_out(colorizer, "shots", 1)[0].shape == (3, 32, 32)


# what is committed


def test_table_in_figures_is_made_of_the_records():
    rows = table1.summary_rows(RECORDS)
    assert json.loads((FIGURES / "table1.json").read_text()) == rows
    assert (FIGURES / "table1.md").read_text() == table1.markdown(rows)


def test_readme_quotes_the_table():
    assert table1.markdown(table1.summary_rows(RECORDS)) in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("condition", table1.POSTER)
def test_the_colorizers_that_ship_are_on_record(condition):
    """Configuration, epochs, and accuracy on a part of the same frames."""
    colorizer = Colorizer.load(asset_path(f"colorizer-{condition}"))
    longest = table1.summary_rows(RECORDS)[[row["condition"] for row in table1.summary_rows(RECORDS)].index(condition)]["run"]
    on_record = next(
        r for r in RECORDS
        if (r["condition"]["operator"], r["seed"], r["run"]) == (condition, colorizer.seed, longest)
    )  # fmt: skip
    recipe = asdict(ColorizerRecipe(**on_record["recipe"]))  # the record may be older than some settings
    expected = {"model": "Colorizer", **on_record, "recipe": recipe}  # and than the name of the model
    assert {key: expected[key] for key in colorizer.config()} == colorizer.config()
    assert on_record["epochs"] == len(colorizer.history) == 30
    measured = colorizer.evaluate(table1.held_out(colorizer, "shots", 128))["accuracy"].mean().item()
    assert measured == pytest.approx(on_record["shots"]["accuracy"], abs=0.03)


@pytest.mark.parametrize(
    "on_record", [r for r in RECORDS if "train" in r], ids=lambda r: f"{r['run']}-{r['condition']['operator']}-{r['seed']}"
)
def test_train_and_test_accuracy_lie_together(on_record):
    assert abs(on_record["train"]["accuracy"] - on_record["shots"]["accuracy"]) < 0.05
