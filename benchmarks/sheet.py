"""Eight photographs and paintings, each pair painted by nstlib and by the loops of two others, side by side.

    python benchmarks/sheet.py [--size 512] [--out build]

Prints for each how far the picture is from the painting (``judge.py``, four levels, fine to coarse) and how long it took.
Writes sheets: painting, photograph, nstlib, style-transfer-pytorch, neural-style-pt. Runs on the GPU if there is one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import skimage.data
import torch
from judge import patch_distances
from loops import neural_style_pt, style_transfer_pytorch
from PIL import Image
from torch import Tensor
from transfer import ITERATIONS, run

import nstlib
from nstlib.devices import choose_device
from nstlib.images import resize, save_image

PAIRS = (
    ("toronto", "scream"),
    ("washington", "scream"),
    ("washington", "starry-night"),
    ("toronto", "cafe-terrace"),
    ("astronaut", "night-cafe"),
    ("chelsea", "church-at-auvers"),
    ("rocket", "starry-night"),
    ("coffee", "scream"),
)
IN_SCIKIT_IMAGE = ("astronaut", "chelsea", "coffee", "rocket")
THIRD = ITERATIONS["style-transfer-pytorch"]  # a third of its defaults


def picture(name: str, size: int) -> Tensor:
    """An asset, or a photograph that comes with scikit-image; ``size`` is the longer side in pixels."""
    source = Image.fromarray(getattr(skimage.data, name)()) if name in IN_SCIKIT_IMAGE else nstlib.asset_path(name)
    return resize(nstlib.load_image(source), size)


def main() -> None:
    """Run the command (see the module)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="longer side in pixels (default 512)")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for the sheets (default build)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = choose_device(None)
    for number, (content_name, style_name) in enumerate(PAIRS):
        content, style = (picture(name, arguments.size).to(device) for name in (content_name, style_name))
        painters: dict[str, Callable[[], Tensor]] = {
            "nstlib": lambda c=content, s=style: nstlib.stylize(c, s, size=arguments.size, progress=False).image,
            "style-transfer-pytorch": lambda c=content, s=style: run(
                "style-transfer-pytorch", style_transfer_pytorch(c, s, *THIRD)
            )[0],
            "neural-style-pt": lambda c=content, s=style: run("neural-style-pt", neural_style_pt(c, s))[0],
        }
        row, found = [content], {}
        for name, paint in painters.items():
            started = time.perf_counter()
            painted = paint().detach().to(device)
            seconds = time.perf_counter() - started
            levels = [round(level, 2) for level in patch_distances(painted.cpu(), style.cpu())]
            found[name] = {"levels": levels, "seconds": round(seconds, 1)}
            row.append(painted)
        print(json.dumps({"content": content_name, "style": style_name, **found}), flush=True)
        height = row[0].shape[2]
        shown = resize(style, (height, round(style.shape[3] * height / style.shape[2])))
        save_image(torch.cat([shown, *row], dim=3).cpu().clamp(0, 1), arguments.out / f"sheet-{number}.jpg")


if __name__ == "__main__":
    main()
