"""Train both colorizers from scratch and measure Table 1 from what was trained (`make replicate`).

    python tools/replicate.py [--run NAME] [--frames N] [--seeds 0 1 2] [--conditions grayscale canny] [--out FOLDER]

Sizes come from the profile (NSTLIB_PROFILE); ``--frames`` trains on more or fewer frames an epoch. Everything goes into FOLDER
(replicated/ if not given), and nothing that came with the repository is touched: ``RUN-CONDITION-seedN.safetensors``, the
colorizers; ``.png``, held-out frames painted by them (as Figures 3 and 4); ``runs/``, checkpoints, logs and samples;
``records/``, what was measured; ``table1.md`` and ``table1.json``. Interrupted, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from nstlib import plots, profiles, table1
from nstlib.colorizer import RECIPES, Colorizer, ColorizerError
from nstlib.frames import AnimeFrames

ROOT = Path(__file__).resolve().parent.parent
VALIDATION_FRAMES = 64


def train(condition: str, seed: int, run: str, frames_per_epoch: int, out: Path, profile: profiles.Profile) -> None:
    """One colorizer: train it, or go on; save it; measure it; put it on record."""
    name = f"{run}-{condition}-seed{seed}"
    recipe = dataclasses.replace(RECIPES[profile.frame_recipe], epochs=profile.frame_epochs)
    colorizer = Colorizer(table1.CONDITIONS[condition], profile.frame_size, recipe=recipe, seed=seed)
    if (out / "records" / f"{name}.json").exists():
        there = json.loads((out / "records" / f"{name}.json").read_text(encoding="utf-8"))
        wanted = {**colorizer.config(), "frames_per_epoch": frames_per_epoch, "test_frames": profile.test_frames}
        different = [key for key in wanted if there.get(key) != wanted[key]]
        if different:
            raise ColorizerError(
                f"{name} is there already, trained or measured otherwise ({', '.join(different)}); give this run another "
                "name (--run) or another folder (--out)"
            )
        print(f"{name}: is there")
        return
    size = profile.frame_size * colorizer.condition.detail
    frames = AnimeFrames("train", size, recipe.epochs * frames_per_epoch, seed=seed)  # fresh ones in every epoch
    validation = AnimeFrames("validation", size, min(VALIDATION_FRAMES, profile.test_frames))

    def report(colorizer: Colorizer) -> None:
        entry = colorizer.history[-1]
        print(
            f"{name}: epoch {len(colorizer.history)} of {recipe.epochs}, L1 {entry['l1']:.4f}, "
            f"validation accuracy {entry['accuracy']:.3f}, {entry['seconds']:.0f} s",
            flush=True,
        )

    colorizer.fit(frames, frames_per_epoch=frames_per_epoch, validation=validation, folder=out / "runs" / name, callback=report)
    colorizer.save(out / f"{name}.safetensors")
    held_out = table1.held_out(colorizer, "shots", profile.test_frames)
    figure = plots.first_and_worst(colorizer, held_out, colorizer.evaluate(held_out)["accuracy"])
    plots.save(figure, f"{table1.NAMES[condition]}, ground truth, colorized", out / f"{name}.png")
    measured = table1.record(colorizer, run, frames_per_epoch, profile.test_frames)
    table1.write_json(measured, out / "records" / f"{name}.json")
    print(
        f"{name}: accuracy {measured['shots']['accuracy']:.3f} on held-out shots (poster {table1.POSTER[condition]})",
        flush=True,
    )


def main(arguments: list[str]) -> int:
    profile = profiles.current()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default=profile.frame_recipe, help="the name that the table gives it")
    parser.add_argument("--frames", type=int, default=profile.frames_per_epoch, help="an epoch")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--conditions", nargs="+", choices=list(table1.CONDITIONS), default=list(table1.CONDITIONS))
    parser.add_argument("--out", type=Path, default=ROOT / "replicated")
    options = parser.parse_args(arguments)
    (options.out / "records").mkdir(parents=True, exist_ok=True)
    try:
        for seed in options.seeds:
            for condition in options.conditions:
                train(condition, seed, options.run, options.frames, options.out, profile)
        rows = table1.table(table1.read_records(options.out / "records"))
    except (ColorizerError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    table1.write_json(rows, options.out / "table1.json")
    (options.out / "table1.md").write_text(table1.markdown(rows), encoding="utf-8")
    print(f"\n{table1.markdown(rows)}\nall of it is in {options.out.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
