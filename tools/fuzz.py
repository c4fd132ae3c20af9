"""Throw random images and arguments at the library, and report every error that is not its own.

    python tools/fuzz.py [--minutes N] [--seed N]

Expected are ImageError, ValueError, ModelError, TransferError and AssetError, raised by the library itself. Anything else is a
finding, printed once with the place and the message; the exit status is then 1. It writes only to a temporary folder.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

import nstlib

OWN = (nstlib.ImageError, ValueError, nstlib.ModelError, nstlib.TransferError, nstlib.AssetError)
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]
FORMATS = ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "ICO", "TGA"]
JUNK: list[Any] = [
    None,
    -1,
    0,
    1,
    2,
    5,
    1.5,
    float("nan"),
    float("inf"),
    -3.2,
    1e300,
    True,
    "x",
    "",
    "\0",
    [],
    {},
    (),
    [1],
    b"ab",
    np.int64(3),
    np.float32(0.5),
    np.ones(3),
    torch.ones(2),
    object(),
    10**20,
    len,
]


class Fuzz:
    """Random values, and calls with them, all from one seed.

    Args:
        seed: of everything random.
        folder: where files are written.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.random, self.folder = random.Random(seed), folder
        torch.manual_seed(seed)
        recipe = nstlib.ColorizerRecipe(width=4, epochs=1, batch_size=2)
        conditions = ["grayscale", nstlib.Condition("canny", supersample=2), "xdog", "mixed", "given"]
        self.models = [nstlib.Colorizer(condition, 16, recipe=recipe) for condition in conditions]
        self.cycle = nstlib.CycleGAN("canny", 16, recipe=nstlib.CycleRecipe(width=4, fold=1, batch_size=2, pool=2))
        self.models.append(self.cycle)
        self.content, self.style = torch.rand(1, 3, 44, 36), torch.rand(1, 3, 40, 50)

    # values

    def junk(self) -> Any:
        """Something that is hardly ever right."""
        return self.random.choice(JUNK)

    def side(self) -> int:
        """Of an image, in pixels."""
        return self.random.choice([1, 2, 3, 9, 32, 64, self.random.randint(2, 300)])

    def picture(self) -> PIL.Image.Image:
        """A PIL image of any mode, with odd metadata now and then."""
        image = PIL.Image.new(self.random.choice(MODES), (self.side(), self.side()))
        if image.mode != "1":
            image.frombytes(self.random.randbytes(len(image.tobytes())))
        if self.random.random() < 0.2:
            image.info["transparency"] = self.random.choice([0, b"\x00\x01", (1, 2, 3), "x", 300])
        if self.random.random() < 0.1:
            image.info["icc_profile"] = self.random.choice([b"junk", b""])
        return image

    def data(self) -> bytes:
        """The bytes of an image file, often damaged or cut short."""
        stream = io.BytesIO()
        try:
            self.picture().save(stream, self.random.choice(FORMATS))
        except Exception:  # not every format has every mode
            return self.random.randbytes(self.random.randint(0, 50))
        data = bytearray(stream.getvalue())
        if self.random.random() < 0.5:
            for _ in range(self.random.randint(1, 10)):
                data[self.random.randrange(len(data))] = self.random.randrange(256)
        return bytes(data[: self.random.randrange(len(data) + 1)] if self.random.random() < 0.2 else data)

    def tensor(self, channels: int = 3) -> torch.Tensor:
        """A tensor that may be an image: of odd shapes, types, ranges and layouts now and then."""
        batch = self.random.choice([1, 1, 1, 2, 0])
        image = torch.rand(batch, self.random.choice([channels, channels, channels, 1, 4]), self.side(), self.side())
        changes: list[Callable[[], torch.Tensor]] = [
            lambda: image * 255,
            lambda: image * float("nan"),
            lambda: (image * 255).byte(),
            lambda: image.to(self.random.choice([torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.bool])),
            lambda: image.transpose(-1, -2),
            lambda: image.requires_grad_(),
            lambda: image.round(),
            lambda: torch.zeros_like(image),
            lambda: image.to_sparse(),
            lambda: image.to("meta"),
            lambda: image[0] if batch else image,
        ]
        return self.random.choice(changes)() if self.random.random() < 0.35 else image

    def image(self) -> Any:
        """Anything that may be taken for an image."""
        return self.random.choice([self.picture, self.data, self.tensor, self.tensor, self.junk])()

    def some(self, names: list[str], share: float = 0.15) -> dict[str, Any]:
        """Junk for some of the names; nothing that would only take long."""
        values = {name: self.junk() for name in names if self.random.random() < share}
        return {name: value for name, value in values.items() if not (isinstance(value, int | float) and 10 < value < 10**19)}

    # calls

    def load(self) -> None:
        source = self.random.choice([self.data, self.picture, self.junk])()
        nstlib.load_image(source)
        nstlib.load_alpha(source)

    def save(self) -> None:
        name = self.random.choice(["a.png", "a.webp", "a.jpg", "a.tif", "none/a.png", "\0.png", "x" * 300 + ".png"])
        path = self.folder / name if self.random.random() < 0.8 else self.junk()
        nstlib.save_image(self.image(), path, alpha=self.random.choice([None, None, self.tensor(1), self.junk()]))

    def stylize(self) -> None:
        names = [
            "content_weight",
            "style_weight",
            "tv_weight",
            "content_layers",
            "style_layers",
            "style_blend",
            "masks",
            "coarsest",
            "optimizer",
            "init",
            "seed",
            "preserve_color",
            "arch",
            "weights",
            "pooling",
            "precision",
            "device",
        ]
        content = self.image() if self.random.random() < 0.5 else self.content
        style = self.image() if self.random.random() < 0.4 else self.style
        size = self.junk() if self.random.random() < 0.1 else 32
        nstlib.stylize(content, style, size=size, steps=1, progress=False, **self.some(names, 0.1))

    def recipe(self) -> None:
        kind = self.random.choice([nstlib.ColorizerRecipe, nstlib.CycleRecipe])
        kind(**{field.name: self.junk() for field in fields(kind) if self.random.random() < 0.1})

    def model(self) -> None:
        kind = self.random.choice([nstlib.Colorizer, nstlib.CycleGAN])
        kind(**self.some(["condition", "size", "recipe", "seed"], 0.3))

    def condition(self) -> None:
        operator = self.random.choice(["grayscale", "canny", "sobel", "xdog", "mixed", "given", self.junk()])
        settings = self.some(["sigma", "low", "high", "threshold", "p", "k", "phi", "epsilon", "supersample"])
        nstlib.Condition(operator, **settings)(self.image())

    def colorize(self) -> None:
        model = self.random.choice(self.models)
        self.random.choice([model.colorize, model.colorize_image, model.colorize_drawing, self.cycle.draw])(self.image())

    def color_from_condition(self) -> None:
        self.random.choice(self.models).colorize(self.tensor(1))

    def accuracy(self) -> None:
        nstlib.color_accuracy(self.image(), self.image(), *([self.junk()] if self.random.random() < 0.3 else []))

    def once(self) -> str | None:
        """Make one call; return what it found, if anything."""
        calls = [
            self.load,
            self.load,
            self.save,
            self.stylize,
            self.recipe,
            self.model,
            self.condition,
            self.colorize,
            self.color_from_condition,
            self.accuracy,
        ]
        call = self.random.choice(calls)
        try:
            call()
        except OWN:
            return None
        except Exception as error:
            place = [
                f"{Path(f.filename).name}:{f.lineno}"
                for f in traceback.extract_tb(error.__traceback__)
                if "nstlib" in f.filename
            ]
            return f"{call.__name__}: {type(error).__name__} at {' < '.join(place[::-1])}: {str(error)[:120]}"
        return None


def main(arguments: list[str]) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: set[str] = set()
    calls, end = 0, time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(options.seed, Path(folder))
        while time.monotonic() < end:
            finding = fuzz.once()
            calls += 1
            if finding and finding not in found:
                found.add(finding)
                print(finding, flush=True)
    print(f"{calls} calls, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
