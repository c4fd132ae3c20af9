"""What key frames and hints are worth is measured as documented, and put on record once."""

import dataclasses
import json

import pytest
import torch

from experiments import key_frames
from experiments.profiles import PROFILES
from nstlib import AnimeClip, AnimePairs, Dab, ReferenceColorizer, ReferenceRecipe
from nstlib.color import lab_to_rgb, rgb_to_lab
from nstlib.edges import Condition
from nstlib.metrics import color_accuracy

TINY = ReferenceRecipe(width=8, fold=2)


@pytest.fixture(params=["canny", "grayscale"])
def model(request):
    return ReferenceColorizer(request.param, 32, recipe=TINY)


def test_every_way_is_measured(model):
    measured = key_frames.measure_pairs(model, "scenes", 3)
    assert list(measured) == ["copied", "matched", "none", "reference", "hints", "both"]
    for way, values in measured.items():
        assert set(values) == {*key_frames.MEASURES, *(["dabs_met"] if way in ("hints", "both") else [])}
    pairs = AnimePairs("scenes", 32, 3, seed=1)
    both = torch.stack([pairs[i] for i in range(3)])
    if model.condition.operator == "canny":
        copied = color_accuracy(both[:, :3], both[:, 3:]).mean().item()
        assert measured["copied"]["accuracy"] == pytest.approx(copied, abs=1e-4)
    shown = model.compare(pairs, range(3))["accuracy"].mean().item()
    assert measured["reference"]["accuracy"] == pytest.approx(shown, abs=2e-3)


def test_a_clip_is_colored_from_its_first_frame(model):
    measured = key_frames.measure_clip(model, 2.0, 5)
    assert measured["speed"] == 2
    assert {way: len(values) for way, values in measured["accuracy"].items()} == dict.fromkeys(
        ("colored", "frame by frame", "first copied", "truth before copied"), 4
    )
    for kind in ("flicker", "flicker_after_motion"):
        assert set(measured[kind]) == {"colored", "frame by frame", "truth"}
    assert measured["flicker_after_motion"]["truth"] < 0.2 < measured["flicker"]["truth"]


def test_flicker_is_the_change_of_a_and_b_after_motion():
    lab = torch.zeros(3, 3, 8, 8)
    lab[:, 0] = 50
    lab[1, 1] = 10  # a of the second frame
    frames = lab_to_rgb(lab)
    assert key_frames.flicker(frames, [0.0, 0.0, 0.0]) == pytest.approx(5, abs=0.1)  # half of 10: b stays
    clip = AnimeClip("scenes", 64, 4, 2.0)
    moving = torch.stack([clip[i] for i in range(4)])
    shifts = [clip.shift(i) for i in range(4)]
    assert key_frames.flicker(moving, shifts) < 0.1 * key_frames.flicker(moving, [0.0] * 4)
    assert key_frames.flicker(moving.flip(0), shifts[::-1]) < 0.1 * key_frames.flicker(moving, [0.0] * 4)


def test_grayscale_keeps_the_lightness_of_the_gray():
    truth, colors = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8) * 0.2 + 0.4
    assert torch.equal(key_frames.with_luma(colors, truth, Condition("canny")), colors)
    gray = Condition("grayscale")(truth).expand(-1, 3, -1, -1) * 0.2 + 0.4
    mixed = key_frames.with_luma(colors, gray, Condition("grayscale"))
    torch.testing.assert_close(rgb_to_lab(mixed)[:, :1], rgb_to_lab(gray)[:, :1], rtol=0, atol=1.0)


def test_random_dabs_are_the_frames_own_colors():
    frame = torch.rand(1, 3, 16, 24)
    dabs = key_frames.random_dabs(frame, 10, torch.Generator().manual_seed(0))
    assert len(dabs) == 10
    assert key_frames.dabs_met(frame, dabs).item() == 1
    assert key_frames.dabs_met(1 - frame, dabs).item() < 0.5
    assert key_frames.dabs_met(frame, [*dabs, Dab(dabs[0].x, dabs[0].y, (0.0, 1.0, 0.0))]).item() == pytest.approx(10 / 11)


def test_a_training_is_recorded_once(tmp_path, monkeypatch, capsys):
    profile = dataclasses.replace(PROFILES["smoke"], figures=tmp_path / "figures", key_frame_tests=2, clip_frames=3)
    monkeypatch.setattr(key_frames, "current", lambda: profile)
    monkeypatch.setattr(key_frames, "ROOT", tmp_path)
    assert key_frames.main(["--conditions", "canny"]) == 0
    (entry,) = json.loads((tmp_path / "figures" / "key_frames.json").read_text())
    assert (entry["seed"], entry["condition"]["operator"], entry["profile"]) == (0, "canny", "smoke")
    assert len(entry["clips"]) == len(key_frames.SPEEDS)
    assert (tmp_path / "replicated" / "key_frames" / "smoke" / "reference-canny-seed0.safetensors").exists()
    assert key_frames.main(["--conditions", "canny"]) == 0
    assert "on record already" in capsys.readouterr().out
    (tmp_path / "figures" / "key_frames.json").write_text("[")
    assert key_frames.main(["--conditions", "canny"]) == 1
    assert "damaged" in capsys.readouterr().err
