"""Style transfer against three others, side by side in one run (`make bench`; about an hour and a half on two cores).

1. The loop that tutorials show. nstlib matches Gram matrices here, so that both minimize the same loss on the same images at
   the same size, from the same start. We measure how long nstlib takes to reach the loop's final loss, and the loop's lowest
   loss (without a line search, the loop's loss has spikes). The loop's network computes this loss in float32, on the picture
   clipped to [0, 1], as it can be saved.
2. neural-style-pt and style-transfer-pytorch with their defaults (the second with a third of its iterations). They minimize
   other losses. nstlib runs with its own defaults, once in the processor's fastest precision and once in float32. Two distances
   judge a picture. The distance from the painting needs no network (`judge.py`, mean over the levels). The distance from the
   photograph compares the features in relu4_2, which all of them use for content. We measure how long nstlib takes until
   neither distance is larger than theirs.

The time that comparing takes is not counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from judge import patch_distances
from loops import Network, Tutorial, neural_style_pt, style_transfer_pytorch
from torch import Tensor

import nstlib
from nstlib.devices import fast_precision
from nstlib.files import atomic_write
from nstlib.images import resize, save_image
from nstlib.statistics import SETTINGS
from nstlib.transfer import StyleTransfer

ITERATIONS = {"tutorial": 300, "neural-style-pt": 1000, "style-transfer-pytorch": (300, 150)}


class Clock:
    """Counts seconds, but for those in ``pause``."""

    def __init__(self) -> None:
        self.started, self.paused = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started - self.paused

    def pause(self, work: Callable[[], Any]) -> Any:
        """The result of ``work``, whose time does not count."""
        before = time.perf_counter()
        result = work()
        self.paused += time.perf_counter() - before
        return result


class Judge:
    """Distances from the photograph, 1 for features that are all zero, and from the painting, 1 for its mean color."""

    def __init__(self, content: Tensor, style: Tensor) -> None:
        self.style, self.network = style, Network("max", content.device)
        with torch.no_grad():
            self.target = self.network(content)["relu4_2"]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> dict[str, Any]:
        content = float((self.network(image)["relu4_2"] - self.target).square().sum() / self.target.square().sum())
        levels = patch_distances(image, self.style)
        return {"style": mean(levels), "levels": levels, "content": content}


def run(name: str, images: Iterator[Tensor]) -> tuple[Tensor, float]:
    """The last image of a loop and the seconds it took."""
    started = last = time.perf_counter()
    latest = torch.empty(0)
    for count, image in enumerate(images, 1):
        latest = image
        if time.perf_counter() - last > 30:
            last = time.perf_counter()
            print(f"  {name}: iteration {count}, {last - started:.0f} s", flush=True)
    return latest, time.perf_counter() - started


def against_tutorial(content: Tensor, style: Tensor) -> dict[str, Any]:
    """The same loss, by the tutorial's loop and by nstlib."""
    loop = Tutorial(content, style)
    image, seconds = run("tutorial", loop.images(ITERATIONS["tutorial"]))
    targets = {"final": loop.loss_of(image), "lowest": min(loop.loss_of(image), loop.lowest)}
    print(f"tutorial: {seconds:.0f} s, {targets}", flush=True)
    clock, reached = Clock(), {}
    transfer = StyleTransfer(content, style, statistic="gram", size=max(content.shape[2:]), steps=300)
    while len(reached) < len(targets) and transfer.step_count < 4 * transfer.steps:
        losses = transfer.step()
        wanted = {name: target for name, target in targets.items() if name not in reached}
        # our own loss, in our own precision, only says when the comparison is worth its time
        if losses["size"] == max(content.shape[2:]) and losses["total"] < 1.01 * max(wanted.values()):
            loss = clock.pause(partial(loop.loss_of, transfer.image))
            for name, target in wanted.items():
                if loss <= target:
                    reached[name] = {"steps": transfer.step_count, "seconds": clock.seconds, "loss": loss}
                    print(f"nstlib: {name} loss reached: {reached[name]}", flush=True)
    return {
        "tutorial": {"seconds": seconds, **{f"{name}_loss": target for name, target in targets.items()}},
        "nstlib": {f"to_{name}_loss": entry for name, entry in reached.items()},
        "ratio": {f"to_{name}_loss": seconds / entry["seconds"] for name, entry in reached.items()},
    }


def against_defaults(content: Tensor, style: Tensor, folder: Path) -> dict[str, Any]:
    """neural-style-pt, style-transfer-pytorch and nstlib, each with its defaults; pictures go to ``folder``."""
    judge, result = Judge(content, style), {}
    loops = {
        "neural-style-pt": lambda: neural_style_pt(content, style, ITERATIONS["neural-style-pt"]),
        "style-transfer-pytorch": lambda: style_transfer_pytorch(content, style, *ITERATIONS["style-transfer-pytorch"]),
    }
    for name, images in loops.items():
        image, seconds = run(name, images())
        result[name] = {"seconds": seconds, **judge(image)}
        save_image(image, folder / f"{name}.png")
        print(f"{name}: {result[name]}", flush=True)
    for precision in dict.fromkeys((fast_precision(), torch.float32)):
        clock, reached = Clock(), {}
        transfer = StyleTransfer(content, style, size=max(content.shape[2:]), precision=precision)
        found: dict[str, Any] = {}
        while not transfer.done:
            if transfer.step()["size"] < max(content.shape[2:]) or (transfer.step_count % 5 and not transfer.done):
                continue
            found = clock.pause(partial(judge, transfer.image))
            for name in loops:
                if all(found[key] <= result[name][key] for key in ("style", "content")):
                    reached.setdefault(name, clock.seconds)
        key = f"nstlib, {str(precision).removeprefix('torch.')}"
        result[key] = {"seconds": clock.seconds, **found}
        result[key]["ratio"] = {name: result[name]["seconds"] / seconds for name, seconds in reached.items()}
        save_image(transfer.image, folder / f"{key}.png")
        print(f"{key}: {result[key]}", flush=True)
    return result


def rounded(value: Any) -> Any:
    """Numbers with four digits, in dictionaries and lists."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    """Run the command (see the module)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="longer side in pixels (default 512)")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for the pictures (default build)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    content, style = (resize(nstlib.load_image(nstlib.asset_path(name)), arguments.size) for name in ("toronto", "scream"))
    print(f"{arguments.size} px, {torch.get_num_threads()} threads", flush=True)
    result = {
        "size": arguments.size,
        "same_loss": against_tutorial(content, style),
        "defaults": against_defaults(content, style, arguments.out),
        "settings": {"nstlib": SETTINGS["gaussian"], "iterations": ITERATIONS},
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    path = Path(__file__).parent / f"transfer_{arguments.size}.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(rounded(result), indent=2) + "\n")
    print(json.dumps(rounded(result), indent=2))


if __name__ == "__main__":
    main()
