"""Training speed in frames per second, by the number of threads: alone, and beside programs that each keep a core busy.

    python benchmarks/busy.py

Each training runs in a process of its own, with ``OMP_NUM_THREADS`` set as a user would set it: ``Colorizer.training_step`` at
256 pixels with the laptop recipe, on frames composed before.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from pathlib import Path

import torch

from experiments.records import processor, write_json
from nstlib.anime import AnimeFrames
from nstlib.colorizer import RECIPES, Colorizer
from nstlib.training import Trainer

SIZE, FRAMES = 256, 32
WARM_UP, STEPS = 8, 32  # steps of the laptop recipe; four of the latter with the GAN's part


def keep_busy() -> None:
    """Take a core until killed."""
    while True:
        pass


def rate() -> float:
    """Frames trained a second."""
    colorizer = Colorizer("grayscale", SIZE, recipe=RECIPES["laptop"])
    batch = colorizer.recipe.batch_size
    frames = torch.stack(list(AnimeFrames("train", SIZE, FRAMES)))
    trainer = Trainer(colorizer, AnimeFrames("train", SIZE, 10**6))
    colorizer.generator.train()
    started = 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            started = time.perf_counter()
        trainer.advance(frames[[(step * batch + i) % FRAMES for i in range(batch)]])
    return STEPS * batch / (time.perf_counter() - started)


@contextlib.contextmanager
def busy(programs: int):
    """Run so many programs that each take a core."""
    running = [multiprocessing.get_context("spawn").Process(target=keep_busy, daemon=True) for _ in range(programs)]
    for program in running:
        program.start()
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.join()


def main() -> None:
    """Run the command (see the module)."""
    cores = len(os.sched_getaffinity(0))
    found: dict[str, dict[str, float]] = {}
    for programs in range(cores):
        for threads in range(1, cores + 1):
            os.environ["OMP_NUM_THREADS"] = str(threads)  # read by the process that starts now
            with busy(programs), multiprocessing.get_context("spawn").Pool(1) as pool:
                frames = pool.apply(rate)
            found.setdefault(f"{programs} busy programs", {})[f"{threads} threads"] = round(frames, 1)
            print(f"{programs} busy programs, {threads} threads: {frames:.1f} frames a second", flush=True)
    result = {"frames a second": found, "cores": cores, "size": SIZE, "device": processor()}
    write_json(result, Path(__file__).with_name("busy.json"))


if __name__ == "__main__":
    main()
