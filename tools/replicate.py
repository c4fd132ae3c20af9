"""Train both colorizers from scratch and measure Table 1 from what was trained (`make replicate`).

    python tools/replicate.py [--recipe NAME] [--frames N] [--seeds 0 1 2] [--conditions grayscale canny] [--out FOLDER]

Sizes and the recipe come from the profile (NSTLIB_PROFILE). ``--recipe`` names another recipe of ``nstlib.colorizer.RECIPES``,
and ``--frames`` sets another number of frames per epoch. Everything goes into FOLDER (replicated/ if not
given), and no file of the repository is changed: ``RECIPE-CONDITION-seedN.safetensors``, the colorizers; ``.jpg``, held-out
frames colorized by them (as Figures 3 and 4); ``runs/``, checkpoints, logs and samples; ``records/``, the measured values;
``table1.md`` and ``table1.json``. After an interruption, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from experiments import figures, plots, profiles, records, table1
from experiments.variants import VALIDATION_FRAMES
from nstlib import ModelError
from nstlib.anime import AnimeFrames
from nstlib.arguments import whole_number
from nstlib.colorizer import RECIPES, Colorizer
from nstlib.datasets import CachedFrames

ROOT = Path(__file__).resolve().parent.parent
POOL = 12_000  # frames that are composed and kept in memory, at most: 3.1 GB at 256 pixels
VIEWS = 20  # how often a training sees each frame, if this needs no more than POOL frames


def train(condition: str, seed: int, recipe_name: str, frames_per_epoch: int, out: Path, profile: profiles.Profile) -> None:
    """Train one colorizer, or go on with its training; save it, measure it and put it on record.

    Raises:
        nstlib.ModelError: training diverged, or the record is of another training.
    """
    name = f"{recipe_name}-{condition}-seed{seed}"
    recipe = dataclasses.replace(RECIPES[recipe_name], epochs=profile.frame_epochs)
    colorizer = Colorizer(table1.CONDITIONS[condition], profile.frame_size, recipe=recipe, seed=seed)
    if (out / "records" / f"{name}.json").exists():
        there = json.loads((out / "records" / f"{name}.json").read_text(encoding="utf-8"))
        wanted = {**colorizer.config(), "frames_per_epoch": frames_per_epoch, "test_frames": profile.test_frames}
        different = [key for key in wanted if there.get(key) != wanted[key]]
        if different:
            raise ModelError(
                f"{name} is on record already, with other settings ({', '.join(different)}); give another folder (--out)"
            )
        print(f"{name} is on record already")
        return
    count = min(POOL, max(frames_per_epoch, recipe.epochs * frames_per_epoch // VIEWS))
    frames = CachedFrames(AnimeFrames("train", colorizer.frame_size, count, seed=seed), colorizer.condition)
    validation = AnimeFrames("validation", colorizer.frame_size, min(VALIDATION_FRAMES, profile.test_frames))

    def report(colorizer: Colorizer) -> None:
        entry = colorizer.history[-1]
        print(
            f"{name}: epoch {len(colorizer.history)} of {recipe.epochs}, L1 {entry['l1']:.4f}, "
            f"validation accuracy {entry['accuracy']:.3f}, {entry['seconds']:.0f} s",
            flush=True,
        )

    colorizer.fit(
        frames,
        frames_per_epoch=frames_per_epoch,
        validation=validation,
        folder=out / "runs" / name,
        progress=sys.stderr.isatty(),
        callback=report,
    )
    colorizer.save(out / f"{name}.safetensors")
    held_out = table1.held_out(colorizer, "shots", profile.test_frames)
    figure = figures.first_and_worst(colorizer, held_out, colorizer.evaluate(held_out)["accuracy"])
    plots.save(figure, f"{table1.NAMES[condition]}, ground truth, colorized", out / f"{name}.jpg")
    measured = table1.measure_run(colorizer, recipe_name, frames_per_epoch, profile.test_frames)
    records.write_json(measured, out / "records" / f"{name}.json")
    print(
        f"{name}: accuracy {measured['shots']['accuracy']:.3f} on held-out shots (poster {table1.POSTER[condition]})",
        flush=True,
    )


def positive(text: str) -> int:
    """A whole number of at least 1, from the command line."""
    return whole_number(int(text), "--frames", 1)


def main(arguments: list[str]) -> int:
    """Run the command (see the module) and return its exit status: 1 for a failed run, 2 for a wrong argument or profile,
    130 for Ctrl+C."""
    try:
        profile = profiles.current()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=list(RECIPES), default=profile.frame_recipe, help="how they are trained")
    parser.add_argument("--frames", type=positive, default=profile.frames_per_epoch, help="frames an epoch")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--conditions", nargs="+", choices=list(table1.CONDITIONS), default=list(table1.CONDITIONS))
    parser.add_argument("--out", type=Path, default=ROOT / "replicated")
    options = parser.parse_args(arguments)
    try:
        (options.out / "records").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"--out: {error}", file=sys.stderr)
        return 2
    try:
        for seed in options.seeds:
            for condition in options.conditions:
                train(condition, seed, options.recipe, options.frames, options.out, profile)
        rows = table1.summary_rows(records.read_records(options.out / "records"))
    except (ModelError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    records.write_json(rows, options.out / "table1.json")
    (options.out / "table1.md").write_text(table1.markdown(rows), encoding="utf-8")
    print(f"\n{table1.markdown(rows)}\neverything is in {options.out.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
