"""Train the network that paints in the style of *The Scream* in one pass; compare it with optimizing pixels (notebook 03).

    python -m experiments.fast_style

Sizes come from the profile (NSTLIB_PROFILE). Checkpoints and weights go to ``replicated/fast_style/``, what is measured to
``figures/fast_style.json``. An interrupted training goes on where it stopped.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import skimage.data
import torch
from PIL import Image
from torch import Tensor

from experiments.profiles import ROOT, Profile, current
from experiments.records import device_name, write_json
from nstlib.assets import asset_path
from nstlib.devices import choose_device
from nstlib.fast_style import FastStyle, FastStyleRecipe, RandomCrops
from nstlib.images import as_image, resize, shape_with
from nstlib.training import ModelError

BACKGROUNDS = ("washington", "club", "lecturehall", "meadow", "campus")
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")  # from scikit-image, public domain or CC0
HELD_OUT = ("toronto", "uni")
SEARCH_LR = 0.02  # of the search, which changes pixels in [0, 1]
MEASURED = (0, 10, 20, 50, 100, 200, 300, 500)  # steps of the search after which its loss is kept


def train(profile: Profile, folder: Path) -> FastStyle:
    """Train, or go on with it; keep the network.

    Raises:
        nstlib.ModelError: training diverged, or ``folder`` holds another training.
    """
    recipe = FastStyleRecipe(epochs=profile.fast_style_epochs)
    fast = FastStyle(asset_path("scream"), profile.fast_style_size, recipe=recipe)
    pictures = [asset_path(name) for name in BACKGROUNDS]
    photographs = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    crops = RandomCrops([*pictures, *photographs], fast.frame_size, recipe.epochs * profile.fast_style_pieces)
    workers = 3 if choose_device(None).type == "cuda" else 0  # a GPU waits for pieces; on a laptop all cores are busy
    fast.fit(crops, frames_per_epoch=profile.fast_style_pieces, folder=folder / "scream", workers=workers)
    fast.save(folder / "fast-style-scream.safetensors")
    return fast


def compare(fast: FastStyle, name: str, steps: int) -> dict[str, Any]:
    """Paint a picture with the network, and minimize the network's training loss over the pixels of the picture.

    Args:
        name: of the picture, an asset; its shorter side becomes the network's size.
        steps: of the search, by Adam from the picture itself.

    Returns:
        "network": weighted loss and seconds of the network's painting. "search": the same for the optimized pixels after some
        steps; step 0 is the picture itself.
    """
    picture = as_image(asset_path(name), name)
    picture = resize(picture, shape_with(picture, fast.frame_size))
    started = time.monotonic()
    painted = fast.stylize(picture)
    seconds = time.monotonic() - started
    device = choose_device(None)
    picture, weights = picture.to(device), fast.recipe.weights

    def loss(image: Tensor) -> Tensor:
        found = fast.losses(image, picture)
        return weights["content"] * found["content"] + weights["style"] * found["style"] + weights["tv"] * found["tv"]

    pixels = picture.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], SEARCH_LR)
    found, started = [], time.monotonic()
    for step in range(steps + 1):
        optimizer.zero_grad()
        value = loss(pixels)
        if step in MEASURED:
            found.append({"step": step, "loss": round(value.item(), 4), "seconds": round(time.monotonic() - started, 2)})
        value.backward()
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    with torch.no_grad():
        network = {"loss": round(loss(painted.to(device)).item(), 4), "seconds": round(seconds, 3)}
    return {"picture": name, "shape": list(picture.shape[2:]), "network": network, "search": found}


def main() -> int:
    """Run the command (see the module) and return its exit status: 1 for a failed run or a wrong profile, 130 for Ctrl+C."""
    try:
        profile = current()
        fast = train(profile, ROOT / "replicated" / "fast_style" / profile.name)
    except (ModelError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    record = {
        "profile": profile.name,
        "device": device_name(choose_device(None)),
        **fast.config(),
        "pieces_per_epoch": profile.fast_style_pieces,
        "history": fast.history,
        "compared": [compare(fast, name, profile.fast_style_steps) for name in HELD_OUT],
    }
    write_json(record, profile.figures / "fast_style.json")
    for entry in record["compared"]:
        print(f"{entry['picture']}: loss {entry['network']['loss']} by the network, {entry['search']} by the search")
    return 0


if __name__ == "__main__":
    sys.exit(main())
