"""A network learns The Scream, is compared with the search of the pixels as documented, and is put on record."""

import dataclasses
import json

import pytest
import torch

from experiments import fast_style
from experiments.profiles import PROFILES
from nstlib import ModelError, asset_path, load_image
from nstlib.fast_style import FastStyle, FastStyleRecipe, relative_loss
from nstlib.images import resize, shape_with
from nstlib.losses import total_variation


@pytest.fixture(scope="module")
def fast():
    return FastStyle(asset_path("scream"), 48, recipe=FastStyleRecipe(width=4, blocks=1, style_weight=3.0))


@pytest.fixture(scope="module")
def compared(fast):
    return fast_style.compare(fast, "toronto", 25)


def test_the_search_begins_with_the_picture_and_its_loss_falls(compared):
    found = compared["search"]
    assert [entry["step"] for entry in found] == [0, 10, 20]
    assert all(set(entry) == {"step", "loss", "seconds"} for entry in found)
    losses, seconds = ([entry[name] for entry in found] for name in ("loss", "seconds"))
    assert losses[0] > losses[1] > losses[2] > 0
    assert 0 <= seconds[0] <= seconds[1] <= seconds[2]


def test_what_is_compared_is_the_loss_that_the_network_was_trained_on(fast, compared):
    assert set(compared) == {"picture", "shape", "network", "search"}
    assert compared["picture"] == "toronto"
    picture = load_image(asset_path("toronto"))
    picture = resize(picture, shape_with(picture, 48))
    assert compared["shape"] == list(picture.shape[2:])
    assert min(compared["shape"]) == 48
    criterion = relative_loss(fast.style)

    def loss(image):
        content, style = criterion.parts(image, picture, fast.style)
        return (content + 3 * style + 10 * total_variation(image) / image.numel()).item()

    assert compared["search"][0]["loss"] == pytest.approx(loss(picture), rel=1e-3)
    assert compared["network"]["loss"] == pytest.approx(loss(fast.stylize(picture)), rel=1e-3)
    assert compared["network"]["seconds"] > 0


def test_pictures_that_are_held_out_are_not_trained_on():
    assert not {*fast_style.HELD_OUT} & {*fast_style.BACKGROUNDS, *fast_style.PHOTOGRAPHS}


@pytest.fixture
def smoke(tmp_path, monkeypatch):
    profile = dataclasses.replace(PROFILES["smoke"], figures=tmp_path / "figures")
    monkeypatch.setattr(fast_style, "current", lambda: profile)
    monkeypatch.setattr(fast_style, "ROOT", tmp_path)
    monkeypatch.setattr(fast_style, "BACKGROUNDS", ("washington",))  # others are large, and take seconds to read
    return profile


def test_a_training_is_recorded_and_not_repeated(smoke, tmp_path, monkeypatch, capsys):
    assert fast_style.main() == 0
    path = smoke.figures / "fast_style.json"
    record = json.loads(path.read_text())
    assert (record["profile"], record["model"], record["size"], record["seed"]) == ("smoke", "FastStyle", 64, 0)
    assert record["pieces_per_epoch"] == smoke.fast_style_pieces
    assert len(record["history"]) == record["recipe"]["epochs"] == smoke.fast_style_epochs
    assert [entry["picture"] for entry in record["compared"]] == list(fast_style.HELD_OUT)
    assert all([found["step"] for found in entry["search"]] == [0] for entry in record["compared"])
    out = capsys.readouterr().out
    assert all(f"{name}: loss" in out for name in fast_style.HELD_OUT)

    file = tmp_path / "replicated" / "fast_style" / "smoke" / "fast-style-scream.safetensors"
    saved = FastStyle.load(file)
    assert saved.history == record["history"]
    assert min(saved.style.shape[2:]) == 64

    def no_step(*arguments):
        raise AssertionError("trained already")

    monkeypatch.setattr(FastStyle, "training_step", no_step)
    weights = {name: value.clone() for name, value in saved.generator.state_dict().items()}
    path.unlink()
    assert fast_style.main() == 0  # goes on where it stopped: at the end
    assert json.loads(path.read_text())["history"] == record["history"]
    again = FastStyle.load(file).generator.state_dict()
    assert all(torch.equal(again[name], value) for name, value in weights.items())


@pytest.mark.parametrize("error", [ModelError, ValueError])
def test_a_failed_run_is_said(smoke, monkeypatch, capsys, error):
    def fail(*arguments):
        raise error("the training diverged")

    monkeypatch.setattr(fast_style, "train", fail)
    assert fast_style.main() == 1
    assert "diverged" in capsys.readouterr().err
    assert not smoke.figures.exists()
