"""Memory at its most, Python, VGG and all: of a style transfer and of training a colorizer, by size.

    python benchmarks/memory.py

Each is measured in a process of its own, over a few steps at full size: more steps need no more.
"""

from __future__ import annotations

import multiprocessing
import resource
from dataclasses import replace
from pathlib import Path

import nstlib
from nstlib.colorizer import RECIPES
from nstlib.table1 import processor, write_json

HERE = Path(__file__).parent
TRANSFER, COLORIZE = (256, 512, 1024), (64, 128)  # pixels


def style_transfer(size: int) -> None:
    nstlib.stylize(nstlib.asset_path("toronto"), nstlib.asset_path("scream"), size=size, steps=6)


def training(size: int) -> None:
    colorizer = nstlib.Colorizer("grayscale", size, recipe=replace(RECIPES["laptop"], epochs=1))
    colorizer.fit(nstlib.AnimeFrames("train", size, 64))


def peak(job: tuple[str, int]) -> float:
    """GiB that this process had at its most, once it has done the job."""
    name, size = job
    globals()[name](size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB


def main() -> None:
    jobs = [("style_transfer", size) for size in TRANSFER] + [("training", size) for size in COLORIZE]
    found: dict[str, dict[str, float]] = {"style_transfer": {}, "training": {}}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for (name, size), gib in zip(jobs, pool.imap(peak, jobs), strict=True):
            found[name][str(size)] = round(gib, 2)
            print(f"{name}, {size} px: {gib:.2f} GiB", flush=True)
    write_json({"peak_gib": found, "device": processor()}, HERE / "memory.json")


if __name__ == "__main__":
    main()
