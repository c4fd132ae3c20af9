"""Line-art larger than in training: colored at its own size, and at the size of training and enlarged. Which is more accurate?

    python benchmarks/full_size.py

The colorizer is the one that comes with the repository; the frames are of the test split ``shots``.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from experiments.records import processor, write_json
from experiments.table1 import TEST_SEED
from nstlib.anime import AnimeFrames
from nstlib.assets import asset_path
from nstlib.colorizer import Colorizer
from nstlib.metrics import color_accuracy

SIZES, FRAMES, BATCH = (384, 512), 64, 8


def main() -> None:
    """Run the command (see the module)."""
    colorizer = Colorizer.load(asset_path("colorizer-canny"))
    trained = colorizer.size
    results = []
    for size in SIZES:
        frames = AnimeFrames("shots", size, FRAMES, seed=TEST_SEED)
        enlarged = [color_accuracy(colorizer.colorize_image(frame[None]), frame[None]) for frame in frames]
        colorizer.size = size  # it is convolutional, so it takes any
        own = colorizer.evaluate(frames, BATCH)["accuracy"]
        colorizer.size = trained
        accuracy = {"own size": round(float(own.mean()), 4), "enlarged": round(float(torch.cat(enlarged).mean()), 4)}
        results.append({"pixels": size, "accuracy": accuracy})
        print(results[-1], flush=True)
    result = {
        "results": results,
        "trained at": trained,
        "frames": FRAMES,
        "seed of the frames": TEST_SEED,
        "device": processor(),
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=1))
    write_json(result, Path(__file__).with_name("full_size.json"))


if __name__ == "__main__":
    main()
