"""`make replicate`: trains, measures, goes on after an interruption, and keeps to its own folder."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import replicate as tool

from experiments import profiles, table1
from nstlib import CachedFrames, Colorizer
from nstlib.colorizer import RECIPES

ROOT = Path(__file__).parent.parent


def replicate(out, *options, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "replicate.py"), "--out", str(out), *options],
        env={**os.environ, "NSTLIB_PROFILE": "smoke", **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def contents(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_trains_both_conditions_and_measures(tmp_path):
    before = contents(ROOT / "figures"), contents(ROOT / "data")
    result = replicate(tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    for condition in ("grayscale", "canny"):
        name = f"laptop-{condition}-seed0"
        assert (tmp_path / f"{name}.safetensors").exists()
        assert (tmp_path / f"{name}.jpg").exists()
        assert (tmp_path / "runs" / name / "log.csv").exists()
        measured = json.loads((tmp_path / "records" / f"{name}.json").read_text())
        assert measured["epochs"] == 2
        assert measured["size"] == profiles.PROFILES["smoke"].frame_size
        assert measured["condition"] == table1.CONDITIONS[condition].config()
        assert 0 <= measured["shots"]["accuracy"] <= 1
    assert (tmp_path / "table1.md").read_text() in result.stdout
    assert [row["condition"] for row in json.loads((tmp_path / "table1.json").read_text())] == ["grayscale", "canny"]
    assert before == (contents(ROOT / "figures"), contents(ROOT / "data")), "the repository is not changed"

    again = replicate(tmp_path)
    assert again.returncode == 0
    assert "laptop-canny-seed0" in again.stdout
    assert "epoch" not in again.stdout.split("|")[0], "nothing is trained twice"

    other = replicate(tmp_path, "--frames", "64")
    assert other.returncode == 1
    assert "(frames_per_epoch)" in other.stderr, "the setting that differs"


@pytest.mark.parametrize(("frames_per_epoch", "views", "composed"), [(5, 20, 5), (5, 1, 10), (100, 1, 40)])
def test_frames_are_kept_with_their_condition_and_no_more_than_fit(tmp_path, monkeypatch, frames_per_epoch, views, composed):
    class Fitted(Exception):
        pass

    def fit(self, frames, **settings):
        taken.append((self, frames, settings))
        raise Fitted

    taken = []
    monkeypatch.setattr(Colorizer, "fit", fit)
    monkeypatch.setattr(tool, "POOL", 40)
    monkeypatch.setattr(tool, "VIEWS", views)
    with pytest.raises(Fitted):
        tool.train("canny", 3, "long", frames_per_epoch, tmp_path, profiles.PROFILES["smoke"])  # 2 epochs
    ((colorizer, frames, settings),) = taken
    assert isinstance(frames, CachedFrames)
    assert frames.condition.config() == colorizer.condition.config() == table1.CONDITIONS["canny"].config()
    assert len(frames) == composed
    assert colorizer.recipe == dataclasses.replace(RECIPES["long"], epochs=2)
    assert settings["frames_per_epoch"] == frames_per_epoch
    shots = frames.frames.frames
    assert (shots.split, shots.seed, shots.size, colorizer.seed) == ("train", 3, (32, 32), 3)
    assert settings["validation"].size == (32, 32)


def test_a_wrong_argument_is_told(tmp_path):
    for option in ("--conditions", "--recipe"):
        result = replicate(tmp_path, option, "crayon")
        assert result.returncode == 2
        assert "crayon" in result.stderr


def test_an_unknown_profile_is_one_line(tmp_path):
    result = replicate(tmp_path, NSTLIB_PROFILE="huge")
    assert result.returncode == 2
    assert "NSTLIB_PROFILE" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
