"""Peak memory of a style transfer and of training a colorizer, by size, with Python and VGG; seconds of a step of the transfer.

    python benchmarks/memory.py

Each is measured in a process of its own, over a few steps at full size: more steps need no more. The largest take minutes.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nstlib
from experiments.records import processor, write_json
from nstlib.colorizer import RECIPES

HERE = Path(__file__).parent


def style_transfer(size: int) -> float:
    """Two steps at ``size`` pixels. Returns the seconds of the second."""
    result = nstlib.stylize(nstlib.asset_path("toronto"), nstlib.asset_path("scream"), size=size, steps=2, coarsest=size)
    return result.history[-1]["seconds"]


def training(size: int) -> None:
    """A short epoch at ``size`` pixels."""
    colorizer = nstlib.Colorizer("grayscale", size, recipe=replace(RECIPES["laptop"], epochs=1))
    colorizer.fit(nstlib.AnimeFrames("train", size, 64))


JOBS = [(style_transfer, size) for size in (256, 512, 1024, 2048, 4096)] + [(training, size) for size in (64, 256)]  # pixels


def peak(job: tuple[Callable[[int], float | None], int]) -> tuple[float, float | None]:
    """Do the job, and return this process's peak memory in GiB, and what the job returned."""
    work, size = job
    seconds = work(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, seconds  # Linux counts in KiB


def main() -> None:
    """Run the command (see the module)."""
    found: dict[str, dict[str, float]] = {}
    step_seconds: dict[str, float] = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for (work, size), (gib, seconds) in zip(JOBS, pool.imap(peak, JOBS), strict=True):
            found.setdefault(work.__name__, {})[str(size)] = round(gib, 2)
            print(f"{work.__name__}, {size} px: {gib:.2f} GiB", flush=True)
            if seconds is not None:
                step_seconds[str(size)] = round(seconds, 2)
    write_json({"peak_gib": found, "seconds_a_step": step_seconds, "device": processor()}, HERE / "memory.json")


if __name__ == "__main__":
    main()
