"""Runs: trained, measured, recorded, and not trained again."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from experiments import profiles, report, runs
from experiments.records import means, read_json, write_json
from experiments.table1 import TEST_SEED
from experiments.variants import KINDS, LINES, MEDICAL_SIZE, VARIANTS, build
from nstlib import AnimeFrames, MedicalPatches
from nstlib.colorizer import Colorizer, ColorizerRecipe
from nstlib.medical import IMAGES

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


def test_settled_statistics_are_those_of_the_training_patches_and_the_model_stays_as_it_is():
    model = build(VARIANTS["medical-grayscale-scratch"], MEDICAL_SIZE, 1, seed=0)
    train, test = (MedicalPatches(split, MEDICAL_SIZE, 6) for split in ("train", "test"))
    settled = runs.measure_settled(model, train, test)
    running = {image: means(measured) for image, measured in runs.by_image(model.evaluate(test)).items()}
    assert list(settled) == list(running) == list(IMAGES)
    assert settled != running
    condition = model.inputs(torch.stack([train[i] for i in range(6)]))[0]
    for layer in model.generator.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # of one batch alone
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    assert runs.measure_settled(model, train, test) == settled
    assert all(torch.equal(value, before[name]) for name, value in model.generator.state_dict().items())
    model.generator.train()(condition)
    by_hand = {image: means(measured) for image, measured in runs.by_image(model.evaluate(test)).items()}
    assert by_hand["retina"]["psnr"] == pytest.approx(settled["retina"]["psnr"], rel=1e-3)


def test_a_settled_curve_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    model, path = SimpleNamespace(history=[{}, {}]), tmp_path / "run" / "settled.json"
    measured = iter("abc")
    monkeypatch.setattr(runs, "measure_settled", lambda *_: next(measured))
    sets = {"train": None, "validation": None}
    write_json(["first", "of an epoch that is trained again"], path)
    runs._add_settled(model, sets, path)
    assert read_json(path) == ["first", "a"]
    model.history += [{}, {}]
    with pytest.raises(ValueError, match="2 of 3 epochs; delete run"):
        runs._add_settled(model, sets, path)
    assert read_json(path) == ["first", "a"]


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
    assert ("images" in record) == ("settled" in record) == (name == "medical-canny-anime")
    for curves in record.get("settled", {}).values():
        assert {key: len(curve) for key, curve in curves.items()} == dict.fromkeys(
            ("accuracy", "accuracy_ab"), record["epochs"] + 1
        )
    assert json.loads(json.dumps(record)) == record
    assert (tmp_path / f"{name}-seed0" / "checkpoint.pt").exists()
    if not VARIANTS[name].medical:
        trained = VARIANTS[name].model.load(tmp_path / f"{name}-seed0" / "model.safetensors")
        assert [entry["accuracy"] for entry in trained.history] == pytest.approx(record["curves"]["accuracy"][1:], abs=1e-4)
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
