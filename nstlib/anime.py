"""Frames of an anime show, composed from drawn characters over drawn backgrounds; splits without leaks.

A frame is a float32 tensor of shape (3, H, W), RGB in [0, 1].
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import imageio_ffmpeg
import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nstlib.arguments import choice, number, shown, whole_number
from nstlib.assets import asset_path
from nstlib.files import atomic_write

# Width and height of the canvas, which is the background, in pixels; a character stands on it at its own size. Every background
# has this height; one that WIDTHS names is wider.
CANVAS = (1280, 720)
WIDTHS = {"campus": 5842}
ZOOM = (1.0, 2.0)  # 1: the camera sees the canvas's whole height
TALK = 15  # frames of a clip with the same expression
BAND = 64  # camera centers are told apart by bands of so many canvas pixels, across

# What each split may draw. "shots" is the poster's kind of test set: other frames of the same show; expressions and camera
# centers are new. "scenes" is a place and a character that no other split has. "validation" is for choosing settings.
TRAIN, VALIDATION, SHOTS = (0, 1, 2), (3,), (4,)
SPLITS: dict[str, dict[str, Any]] = {
    "train": {
        "backgrounds": ("club", "lecturehall", "meadow", "campus"),
        "characters": {
            "sylvie-blue": ("giggle", "normal"),
            "sylvie-green": ("giggle", "normal"),
            "eileen": ("concerned",),
        },
        "bands": TRAIN,
    },
    "validation": {
        "backgrounds": ("club", "lecturehall", "meadow", "campus"),
        "characters": {"sylvie-blue": ("surprised",), "sylvie-green": ("surprised",), "eileen": ("happy",)},
        "bands": VALIDATION,
    },
    "shots": {
        "backgrounds": ("club", "lecturehall", "meadow", "campus"),
        "characters": {"sylvie-blue": ("smile",), "sylvie-green": ("smile",), "eileen": ("vhappy",)},
        "bands": SHOTS,
    },
    "scenes": {
        "backgrounds": ("uni",),
        "characters": {"lucy": ("happy", "mad")},
        "bands": (*TRAIN, *VALIDATION, *SHOTS),
    },
}


@dataclass(frozen=True)
class Shot:
    """What a frame shows: all lengths and positions in canvas pixels, x across and y down from the upper left.

    ``actors`` are pairs of a sprite's name and the x of its middle, drawn in this order; they stand on the lower edge.
    ``flip`` mirrors the finished frame.
    """

    background: str
    actors: tuple[tuple[str, float], ...]
    center: tuple[float, float]
    height: float  # of what the camera sees
    flip: bool


class AnimeFrames(Dataset[Tensor]):
    """Frames of a show made of real anime art: a background, one or two characters, a camera.

    Frame ``i`` depends on ``split``, ``seed`` and ``i`` only; at another size of the same shape it is the same shot. Length
    costs nothing (frames are composed when asked for), so training can see fresh frames in every epoch.

    Args:
        split: "train"; "validation"; "shots", the poster's kind of test set, other frames of the same show: expressions and
            bands of camera centers that training never sees; or "scenes": a background and a character that it never sees.
        size: side of the square frames in pixels, or (height, width).
        length: how many frames there are.
        seed: of the choice of shots.

    Raises:
        ValueError: ``split`` is unknown, a side is below 8 pixels, the frame is wider than 16 to 9, ``length`` is below 1, or
            ``seed`` is negative.
        nstlib.AssetError: the art is missing or damaged.
    """

    def __init__(self, split: str = "train", size: int | tuple[int, int] = 256, length: int = 1000, seed: int = 0):
        choice(split, "split", list(SPLITS))
        self.size = (size, size) if isinstance(size, int) else size
        if not (isinstance(self.size, tuple) and len(self.size) == 2 and all(isinstance(s, int) and s >= 8 for s in self.size)):
            raise ValueError(f"size must be whole pixels, at least 8 a side, not {shown(size)}")
        if self.size[1] * CANVAS[1] > self.size[0] * CANVAS[0]:
            raise ValueError(f"size can be as wide as 16 to 9, not {self.size[1]} to {self.size[0]}")
        whole_number(length, "length", 1)
        whole_number(seed, "seed", 0)
        self.split, self.length, self.seed = split, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        return rendered(self.shot(index), self.size)

    def shot(self, index: int) -> Shot:
        """What frame ``index`` shows.

        Raises:
            IndexError: there are not so many.
        """
        if not -self.length <= index < self.length:
            raise IndexError(f"there are {self.length} frames, no frame {index}")
        choices = SPLITS[self.split]
        rng = np.random.default_rng((self.seed, list(SPLITS).index(self.split), index % self.length))
        background = str(rng.choice(choices["backgrounds"]))
        canvas_width = WIDTHS.get(background, CANVAS[0])
        # frames wider than 3 to 2 are seen a little nearer: else the camera could not leave the canvas's middle
        nearest = ZOOM[0] * max(1.0, self.size[1] / self.size[0] / 1.5)
        height = CANVAS[1] / float(np.exp(rng.uniform(np.log(nearest), np.log(ZOOM[1]))))
        width = height * self.size[1] / self.size[0]
        x = rng.uniform(width / 2, canvas_width - width / 2)
        while band(x) not in choices["bands"]:
            x = rng.uniform(width / 2, canvas_width - width / 2)
        y = height / 2 + (CANVAS[1] - height) * rng.uniform() ** 2  # squared: faces, which are high up, are mostly in the frame
        order = rng.permutation(list(choices["characters"]))
        # nobody meets herself in another dress, and nobody hides the other
        others = [name for name in order if _person(name) != _person(order[0])]
        names = [order[0], *others[: rng.integers(2)]]
        places = rng.permutation([-1, 1])[: len(names)] * rng.uniform(0.15 if len(names) > 1 else 0, 0.4, len(names))
        actors = tuple(
            (f"{name}-{rng.choice(choices['characters'][name])}", float(x + place * width))
            for name, place in zip(names, places, strict=True)
        )
        return Shot(background, actors, (x, y), height, bool(rng.integers(2)))


class AnimeClip(Dataset[Tensor]):
    """A scene, frame after frame: the camera pans to and fro past a character, who talks.

    From frame to frame the whole picture moves by ``speed`` pixels. Nothing else changes, except that the character may have
    another expression after every ``TALK`` frames.

    Args:
        split: as in ``AnimeFrames``.
        size: side of the square frames in pixels.
        length: how many frames there are.
        speed: of the camera, in pixels of the frame from one to the next.
        seed: of the choice of the scene.

    Raises:
        ValueError, nstlib.AssetError: as ``AnimeFrames``; or ``speed`` is negative.
    """

    def __init__(self, split: str = "scenes", size: int = 256, length: int = 120, speed: float = 1.0, seed: int = 0):
        self.first = AnimeFrames(split, size, 1, seed).shot(0)
        self.split, self.size, self.seed = split, size, seed
        self.length, self.speed = whole_number(length, "length", 1), number(speed, "speed", least=0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        return rendered(self.shot(index), (self.size, self.size))

    def shift(self, index: int) -> float:
        """How far the scene has moved to the left since frame 0, in pixels of the frame; negative if to the right."""
        reach = self.size * 3 / 16  # to either side: the character stays in the picture
        way = index * self.speed % (4 * reach)
        return reach - abs((way + reach) % (4 * reach) - 2 * reach)

    def shot(self, index: int) -> Shot:
        """What frame ``index`` shows.

        Raises:
            IndexError: there are not so many.
        """
        if not -self.length <= index < self.length:
            raise IndexError(f"there are {self.length} frames, no frame {index}")
        name = self.first.actors[0][0].rpartition("-")[0]
        height, canvas_width = 480.0, WIDTHS.get(self.first.background, CANVAS[0])
        pixel = height / self.size
        most = height / 2 + pixel * self.size * 3 / 16  # from here on the camera would leave the canvas
        middle = float(np.clip(self.first.center[0], most, canvas_width - most))
        turn = index % self.length // TALK
        expressions = SPLITS[self.split]["characters"][name]
        expression = expressions[(turn + self.seed) % len(expressions)]
        down = float(np.clip(self.first.center[1], height / 2, CANVAS[1] - height / 2))
        center = (middle + pixel * self.shift(index % self.length), down)
        return Shot(self.first.background, ((f"{name}-{expression}", middle),), center, height, flip=False)


def _person(character: str) -> str:
    return character.partition("-")[0]


def band(x: float) -> int:
    """Which kind of band a camera center lies in, 0 to 4: the canvas's width is divided into bands, kinds repeating."""
    return int(x // BAND) % len((*TRAIN, *VALIDATION, *SHOTS))


def render(shot: Shot, size: tuple[int, int]) -> PIL.Image.Image:
    """Draw a shot, RGB, ``size`` is (height, width) in pixels."""
    frame = PIL.Image.new("RGB", size[::-1])
    for _, piece, corner in _pieces(shot, size):
        frame.paste(piece, corner, piece if piece.mode == "RGBA" else None)
    return frame.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if shot.flip else frame


def layers(shot: Shot, size: tuple[int, int]) -> Tensor:
    """What a pixel of a drawn shot belongs to: 0 for the background, else the number of the actor, from 1; (height, width)."""
    numbers = PIL.Image.new("L", size[::-1])
    for which, piece, corner in _pieces(shot, size):
        if which:
            opaque = piece.getchannel("A").point(lambda alpha: 255 * (alpha > 127))
            numbers.paste(which, (*corner, corner[0] + piece.width, corner[1] + piece.height), opaque)
    numbers = numbers.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if shot.flip else numbers
    return torch.from_numpy(np.array(numbers))


def _pieces(shot: Shot, size: tuple[int, int]) -> Iterator[tuple[int, PIL.Image.Image, tuple[int, int]]]:
    """What a frame is put together from: 0 for the background, then the actors' numbers; pictures, and where their upper left
    corners go."""
    scale = size[0] / shot.height
    left, top = shot.center[0] - size[1] / scale / 2, shot.center[1] - shot.height / 2
    for which, (name, x) in enumerate(((shot.background, None), *shot.actors)):
        full = _levels(name)[0]
        corner = (0.0, 0.0) if x is None else (x - full.width / 2, CANVAS[1] - full.height)
        seen = _piece(size, name, (corner[0] - left) * scale, (corner[1] - top) * scale, scale)
        if seen is not None:
            yield which, *seen


def rendered(shot: Shot, size: tuple[int, int]) -> Tensor:
    """Draw a shot: (3, height, width), RGB in [0, 1]."""
    return torch.from_numpy(np.array(render(shot, size))).permute(2, 0, 1).float().div_(255)


def _piece(
    size: tuple[int, int], name: str, left: float, top: float, scale: float
) -> tuple[PIL.Image.Image, tuple[int, int]] | None:
    """What a frame shows of a picture whose upper left corner falls on (left, top), antialiased, and where; None if nothing."""
    levels = _levels(name)
    width, height = levels[0].width * scale, levels[0].height * scale
    # the frame's whole pixels that the picture covers; what it covers in part, a transparent margin at a sprite's side, is lost
    box = (
        max(0, int(np.ceil(left - 1e-6))),
        max(0, int(np.ceil(top - 1e-6))),
        min(size[1], int(left + width + 1e-6)),
        min(size[0], int(top + height + 1e-6)),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    level = min(len(levels) - 1, max(0, int(np.log2(1 / scale))))  # the smallest that is no smaller than what is wanted
    source = levels[level]
    # not source.width / width: the last column of a level may stand for less than a whole one, which would shift a wide picture
    factor = 1 / (scale * 2**level)
    window = (
        max(0.0, (box[0] - left) * factor),
        max(0.0, (box[1] - top) * factor),
        min(float(source.width), (box[2] - left) * factor),
        min(float(source.height), (box[3] - top) * factor),
    )
    piece = source.resize((box[2] - box[0], box[3] - box[1]), PIL.Image.Resampling.HAMMING, box=window)
    return (piece if piece.mode == "RGB" else piece.convert("RGBA")), box[:2]


@cache
def _levels(name: str) -> list[PIL.Image.Image]:
    """The picture at full, half, quarter and eighth size: composing small frames from small pictures is fast.

    A sprite's colors are multiplied by its opacity already (mode RGBa): otherwise every call of ``resize`` would first multiply
    the whole picture.
    """
    with PIL.Image.open(asset_path(name)) as image:
        image.load()
    sprite = image.mode == "RGBA"
    image = image.convert("RGBA" if sprite else "RGB")
    levels = [image, *(image.reduce(2**level) for level in (1, 2, 3))]
    return [level.convert("RGBa") for level in levels] if sprite else levels


# What sample_clip shows: background, character, where the camera is and how far it goes while the scene lasts
_CLIP = (
    ("meadow", "sylvie-green-normal", 380.0, 130.0),
    ("club", "sylvie-blue-giggle", 900.0, -130.0),
    ("meadow", "sylvie-green-giggle", 430.0, 130.0),
    ("club", "sylvie-blue-normal", 850.0, -130.0),
    ("meadow", "sylvie-green-surprised", 400.0, 130.0),
)


def sample_clip(path: str | os.PathLike[str]) -> None:
    """Write ten seconds of the show, to try ``VideoFrames`` on: a talk in five scenes, cutting to and fro between two places.

    In every scene the camera drifts past the speaker. 256 x 256 pixels, 12 frames a second; the path's ending says the
    format (mp4, mkv, webm, ...).

    Raises:
        OSError: the path cannot be written.
    """
    with atomic_write(path) as temporary:
        writer = imageio_ffmpeg.write_frames(str(temporary), (256, 256), fps=12, macro_block_size=1)
        writer.send(None)
        for background, sprite, start, way in _CLIP:
            for i in range(24):
                x = start + way * i / 24
                shot = Shot(background, ((sprite, start + way / 2),), (x, 285.0), 540.0, flip=False)
                writer.send(np.asarray(render(shot, (256, 256))).tobytes())
        writer.close()
