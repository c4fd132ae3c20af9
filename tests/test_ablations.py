"""The variants: each differs from the poster's recipe in what its name says; runs are recorded, resumed, and not repeated."""

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from nstlib import AnimeFrames, ablations, profiles
from nstlib.ablations import LINES, VARIANTS, build, judge, on_every_line, run, summary
from nstlib.assets import asset_path
from nstlib.colorizer import RECIPES, Colorizer
from nstlib.cyclegan import CycleGAN

ROOT = Path(__file__).parent.parent
SMOKE = profiles.PROFILES["smoke"]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_in_what_it_says(name):
    variant = VARIANTS[name]
    recipe, poster = variant.recipe(30), replace(RECIPES["laptop"], paint_gain=ablations.PAINT_GAIN)
    assert variant.condition.operator in name or name.startswith("sobel-lines")
    if variant.model is CycleGAN:
        return
    different = {f.name for f in fields(recipe) if getattr(recipe, f.name) != getattr(poster, f.name)}
    expected = {
        "l1-gan": set(),
        "l1": {"adversarial_weight"},
        "perceptual-gan": {"l1_weight", "perceptual_weight"},
        "l1-perceptual-gan": {"perceptual_weight"},
        "structure": {"structure_weight"},
        "structure-perceptual": {"structure_weight", "perceptual_weight"},
    }
    loss = max((key for key in expected if name.endswith(key)), key=len, default=None)
    laptops_rate = name.endswith("-faster")
    assert different == (expected[loss] if loss else set() if laptops_rate else {"generator_lr"})


def test_weights_are_those_that_tuning_chose():
    tuning = ablations.read(ablations.TUNING)
    for name, chosen in (("perceptual", ablations.PERCEPTUAL_WEIGHT), ("structure", ablations.STRUCTURE_WEIGHT)):
        poster = tuning[name]["0"]["accuracy"]
        assert chosen == max(float(weight) for weight, found in tuning[name].items() if found["accuracy"] > 0.98 * poster)
    for name, chosen in (("perceptual-gan", ablations.PERCEPTUAL_WEIGHT), ("start", ablations.PAINT_GAIN)):
        accuracy = {float(value): found["accuracy"] for value, found in tuning[name].items()}
        assert max(accuracy, key=accuracy.get) == chosen
    assert {name: tuple(map(float, tried)) for name, tried in tuning.items()} == {
        name: weights for name, (_, weights, _) in ablations.TUNED.items()
    }


def test_every_notebook_has_its_variants():
    assert {variant.notebook for variant in VARIANTS.values()} == {"09", "10", "11", "12"}
    assert sum(variant.share is not None for variant in VARIANTS.values()) == 2 * 2 * 3 + 2 * 2


def test_going_on_is_from_the_weights_that_ship():
    variant = VARIANTS["medical-grayscale-anime-100"]
    shipped = Colorizer.load(asset_path("colorizer-grayscale")).generator.state_dict()
    built = build(variant, 64, 1, seed=5).generator.state_dict()
    assert all(torch.equal(built[name], shipped[name]) for name in shipped)
    scratch = build(VARIANTS["medical-grayscale-scratch-100"], 64, 1, seed=5).generator.state_dict()
    assert not torch.equal(scratch["paint.weight"], shipped["paint.weight"])


def test_judged_on_other_lines_it_keeps_its_own():
    colorizer, frames = Colorizer(LINES["canny"], 16), AnimeFrames("shots", 32, 3)
    own, lines = judge(colorizer, frames), on_every_line(colorizer, frames)
    assert colorizer.condition is LINES["canny"]
    assert lines["canny"] == own["accuracy"]
    assert list(lines) == list(LINES)
    other = Colorizer(LINES["sobel"], 16)
    other.generator = colorizer.generator
    assert judge(other, frames)["accuracy"] == lines["sobel"]
    assert {"accuracy", "chroma", "psnr", "ssim", "edge_f1", "perceptual", "ink"} <= set(own)


def test_trained_on_one_tested_on_another():
    records = [{"variant": "a", "lines": dict.fromkeys(LINES, value)} for value in (0.2, 0.3)]
    assert ablations.across(records, ["a"])["a"]["xdog"] == {"mean": 0.25, "sd": pytest.approx(0.0707, abs=1e-3)}


def test_a_level_is_reached_where_the_mean_of_the_seeds_is():
    records = [{"variant": "a", "curves": {"chroma": curve}} for curve in ([0.0, 0.1, 0.4, 0.4], [0.0, 0.2, 0.2, 0.6])]
    curve = ablations.curves(records, "a", "chroma")
    assert curve.shape == (2, 4)
    assert ablations.reached(curve, 0.29, 30) == 20
    assert ablations.reached(curve, 0.0, 30) == 0
    assert ablations.reached(curve, 0.6, 30) is None


def test_what_is_kept_of_a_run_is_shown_beside_its_frames(monkeypatch, tmp_path):
    monkeypatch.setattr(ablations, "RECORDS", tmp_path / "ablations.json")
    run("canny-l1", 0, replace(SMOKE, figures=tmp_path), tmp_path / "runs")
    kept = ablations.sample("canny-l1")
    assert kept["truth"].shape == kept["painted"].shape == (8, 3, 32, 32)
    test = AnimeFrames("shots", 64, SMOKE.test_frames, seed=ablations.TEST_SEED)
    assert torch.equal(kept["truth"][3], VARIANTS["canny-l1"].condition.reduce(test[3][None])[0])
    assert kept["condition"].shape == (8, 1, 32, 32)


@pytest.mark.parametrize("name", ["canny-l1-gan", "canny-cyclegan", "medical-canny-anime-10"])
def test_a_run_leaves_a_record(name, tmp_path):
    profile = replace(SMOKE, figures=tmp_path / "figures")
    record = run(name, 0, profile, tmp_path)
    assert record["variant"] == name
    assert {len(curve) for curve in record["curves"].values()} == {record["epochs"] + 1}
    assert ("lines" in record) == (name == "canny-l1-gan")
    assert record.get("patches") == (2 if name == "medical-canny-anime-10" else None)
    assert json.loads(json.dumps(record)) == record
    assert (tmp_path / f"{name}-seed0" / "checkpoint.pt").exists()
    kept = {path.stem for path in (tmp_path / "figures" / "ablations").iterdir()}
    others = {"canny-cyclegan-there-and-back", "canny-cyclegan-drawn"} if name == "canny-cyclegan" else set()
    assert kept == {name} | others
    again = run(name, 0, profile, tmp_path)  # nothing is trained again
    assert again == record


def test_summary_is_over_the_seeds():
    records = [{"variant": "a", "test": {"accuracy": value}} for value in (0.2, 0.3)]
    assert summary(records, "a")["accuracy"] == {"mean": 0.25, "sd": pytest.approx(0.0707, abs=1e-3)}
    with pytest.raises(KeyError):
        summary(records, "b")


def test_numbers_are_put_into_words():
    new, old = {"mean": 0.24, "sd": 0.003}, {"mean": 0.2, "sd": 0.004}
    assert ablations.versus(new, old) == "0.240 ± 0.003 against 0.200 ± 0.004 (+20%, 8.0 standard deviations)"
    assert ablations.versus(new, {"mean": 0.242, "sd": 0.0}).endswith("0.242 ± 0.000 (within a standard deviation)")
    assert ablations.versus({"mean": 0.1}, {"mean": 0.2}) == "0.100 against 0.200 (-50%)"


def test_the_table_has_a_row_a_variant_and_a_column_a_measure():
    values = {key: {"mean": 0.5, "sd": 0.01} for key in ablations.MEASURES}
    lines = ablations.table({"the poster": values, "another": values}).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(ablations.MEASURES) + 2}
    assert "0.500 ± 0.010" in lines[2]
    assert "0.5 ± 0.0" in lines[2]
    header = ablations.table({"a": values}, {"ssim": ("SSIM", 3)}, "trained with").splitlines()[0]
    assert header == "| trained with | SSIM |"


def test_what_tuning_found_is_a_table():
    lines = ablations.tuned("structure").splitlines()
    assert lines[0] == "| `structure_weight` | accuracy, t = 2 | chroma, t = 2 | edge F1 | perceptual distance |"
    assert [line.split("|")[1].strip() for line in lines[2:]] == [f"{weight:g}" for weight in ablations.TUNED["structure"][1]]


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "nstlib.ablations", *arguments],
        cwd=ROOT,
        env={**os.environ, "NSTLIB_PROFILE": "smoke"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_list_shows_every_variant():
    result = command("--list")
    assert result.returncode == 0, result.stderr
    assert all(f"  {name} " in result.stdout for name in VARIANTS)


def test_an_unknown_variant_is_told():
    result = command("canny-l2")
    assert result.returncode == 2
    assert "there is no variant canny-l2" in result.stderr


def test_an_unknown_profile_is_told(monkeypatch, capsys):
    monkeypatch.setenv("NSTLIB_PROFILE", "huge")
    assert ablations.main(["--list"]) == 2
    assert capsys.readouterr().err.startswith("NSTLIB_PROFILE must be one of")


def test_what_is_on_record_is_not_run_again(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NSTLIB_PROFILE", "smoke")
    monkeypatch.setattr(profiles, "PROFILES", {"smoke": replace(SMOKE, figures=tmp_path)})
    calls = []

    def fake(name, seed, profile, folder):
        calls.append((name, seed))
        test = {"accuracy": 0.1, "chroma": 0.1, "edge_f1": 0.1, "perceptual": 0.1}
        return {"variant": name, "seed": seed, "seconds": 1, "test": test}

    monkeypatch.setattr(ablations, "run", fake)
    for _ in range(2):
        assert ablations.main(["canny-l1", "sobel-l1-gan", "--seeds", "0", "1"]) == 0
    assert "on record already (4; --seeds takes others): canny-l1, seed 0, sobel-l1-gan, seed 0" in capsys.readouterr().out
    assert calls == [("canny-l1", 0), ("sobel-l1-gan", 0), ("canny-l1", 1), ("sobel-l1-gan", 1)]
    records = json.loads((tmp_path / "ablations.json").read_text())
    assert [record["variant"] for record in records] == ["canny-l1", "canny-l1", "sobel-l1-gan", "sobel-l1-gan"]
