"""Runs: trained, measured, recorded, and not trained again."""

import json
from dataclasses import replace

import pytest
import torch

from experiments import profiles, report, runs
from experiments.records import means
from experiments.table1 import TEST_SEED
from experiments.variants import KINDS, LINES, MEDICAL_SIZE, VARIANTS
from nstlib import AnimeFrames
from nstlib.colorizer import Colorizer, ColorizerRecipe

TINY = replace(profiles.PROFILES["smoke"], ablation_epochs=1, ablation_frames=16, medical_epochs=1, medical_frames=16)


def test_measured_on_other_lines_a_model_keeps_its_own():
    colorizer, frames = Colorizer(LINES["canny"], 16), AnimeFrames("shots", 16, 3)
    own, lines = means(runs.measure_all(colorizer, frames)), runs.on_every_line(colorizer, frames)
    assert colorizer.condition is LINES["canny"]
    assert lines["canny"] == own["accuracy"]
    assert list(lines) == list(LINES)
    other = Colorizer(LINES["sobel"], 16)
    other.generator = colorizer.generator
    assert means(runs.measure_all(other, frames))["accuracy"] == lines["sobel"]


def test_a_failure_on_other_lines_leaves_the_models_own(monkeypatch):
    colorizer = Colorizer(LINES["canny"], 16)
    monkeypatch.setattr(colorizer, "evaluate", lambda frames: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runs.on_every_line(colorizer, AnimeFrames("shots", 16, 1))
    assert colorizer.condition is LINES["canny"]


def test_everything_that_a_table_shows_is_measured(monkeypatch):
    colorizer, frames = Colorizer("grayscale", 16), AnimeFrames("shots", 16, 5)
    whole = means(runs.measure_all(colorizer, frames))
    assert {*report.MEASURES, *report.LINE_MEASURES, "ink"} <= set(whole)
    monkeypatch.setattr(runs, "BATCH", 2)
    assert means(runs.measure_all(colorizer, frames)) == pytest.approx(whole, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["canny-l1-gan", "canny-cyclegan", "medical-canny-anime"])
def test_a_run_leaves_a_record(name, tmp_path):
    profile = replace(TINY, figures=tmp_path / "figures", test_frames=4)
    record = runs.run(name, 0, profile, tmp_path)
    assert record["variant"] == name
    assert {key: len(curve) for key, curve in record["curves"].items()} == dict.fromkeys(
        ("accuracy", "accuracy_ab"), record["epochs"] + 1
    )
    assert ("lines" in record) == (name in KINDS.values())
    assert record.get("patches") == (16 if name == "medical-canny-anime" else None)
    assert ("images" in record) == (name == "medical-canny-anime")
    assert json.loads(json.dumps(record)) == record
    assert (tmp_path / f"{name}-seed0" / "checkpoint.pt").exists()
    kept = {path.stem for path in (tmp_path / "figures" / "ablations").iterdir()}
    others = {"canny-cyclegan-there-and-back", "canny-cyclegan-drawn"} if name == "canny-cyclegan" else set()
    assert kept == {name, VARIANTS[name].inputs, f"{VARIANTS[name].group}-truth"} | others
    again = runs.run(name, 0, profile, tmp_path)  # nothing is trained again
    assert again == record


def test_frames_have_the_ablations_size(monkeypatch, tmp_path):
    class Built(Exception):
        pass

    def note(variant, size, *_):
        sizes.append(size)
        raise Built

    sizes = []
    monkeypatch.setattr(runs, "build", note)
    for profile in (replace(TINY, ablation_size=48), replace(profiles.PROFILES["cpu"], frame_size=8)):
        with pytest.raises(Built):
            runs.run("canny-l1-gan", 0, profile, tmp_path)
    with pytest.raises(Built):
        runs.run("medical-canny-scratch", 0, TINY, tmp_path)
    assert sizes == [48, 128, MEDICAL_SIZE]


def test_an_epoch_without_a_turn_of_the_gan_has_no_loss_of_it(monkeypatch, tmp_path):
    recipe = ColorizerRecipe(width=4, epochs=4, batch_size=4, adversarial_every=3, generator_steps=1)  # steps 0 and 3
    model = Colorizer(VARIANTS["canny-l1-gan"].condition, TINY.ablation_size, recipe=recipe)
    monkeypatch.setattr(runs, "build", lambda variant, size, epochs, seed: model)
    profile = replace(TINY, figures=tmp_path, ablation_epochs=4, ablation_frames=4, test_frames=4)
    record = runs.run("canny-l1-gan", 1, profile, tmp_path)
    assert set(record["losses"]) == {"adversarial", "discriminator"}
    for name, values in record["losses"].items():
        assert [name in entry for entry in model.history] == [True, False, False, True]
        first, last = (round(model.history[epoch][name], 4) for epoch in (0, 3))
        assert values == [first, None, None, last]


def test_examples_are_kept_of_seed_0_and_shown_beside_their_frames(tmp_path):
    profile = replace(TINY, figures=tmp_path)
    runs.run("canny-l1", 1, profile, tmp_path / "runs")
    assert not (tmp_path / "ablations").exists()
    runs.run("canny-l1", 0, profile, tmp_path / "runs")
    kept = report.examples("canny-l1", tmp_path / "ablations")
    side = TINY.ablation_size
    assert kept["truth"].shape == kept["colorized"].shape == (runs.EXAMPLES, 3, side, side)
    assert kept["condition"].shape == (runs.EXAMPLES, 1, side, side)
    test = AnimeFrames("shots", side, TINY.test_frames, seed=TEST_SEED)
    truth = VARIANTS["canny-l1"].condition.downsample(test[3][None])[0]
    torch.testing.assert_close(kept["truth"][3], truth, rtol=0, atol=0.501 / 255)
