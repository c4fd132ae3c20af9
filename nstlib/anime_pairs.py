"""Pairs of frames of the anime show: a reference, and a frame to color.

The frames are composed, so it is known where a reference shows what the frame shows. Training uses that.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from nstlib.anime import CANVAS, SPLITS, TRAIN, WIDTHS, ZOOM, AnimeFrames, Shot, band, layers, rendered
from nstlib.positions import centers, encode_positions, sample

SEARCH_STEPS = 10  # of Newton's method, to invert a warp
MIRRORED = 0.25  # share of the training references that are mirrored
WARPED_ALIKE = 0.7  # share of the training pairs in which both frames get a common warp


class AnimePairs(Dataset[Tensor]):
    """Frames of ``AnimeFrames``, each with a reference: the same scene from another camera, with other expressions.

    The reference's camera differs at random, with these standard deviations: it is moved by 0.12 (across) and 0.08 (down) of
    the height that the frame shows, and zoomed by about 12%. The characters are moved by 40 canvas pixels. Where a split has
    only one expression of a character, the reference takes another one from the training split, if there is one.

    For training, the differences are larger: all motions are 1.5 times as large, a quarter of the references are mirrored, and
    every reference is warped, since each training character has only one pose. In most pairs both frames also get a common
    warp, so that the network rarely sees the same lines again. Training pairs also say where the reference shows what the
    frame shows.

    An item has the shape (6, H, W): the reference's RGB, then the frame's. A training item has the shape (10, H, W): the
    positions come last, as ``nstlib.positions.encode_positions`` writes them.

    Args:
        split, size, length, seed: as in ``AnimeFrames``.

    Raises:
        ValueError, nstlib.AssetError: as ``AnimeFrames``.
    """

    def __init__(self, split: str = "train", size: int | tuple[int, int] = 256, length: int = 1000, seed: int = 0):
        self.frames = AnimeFrames(split, size, length, seed)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Tensor:
        shot, reference, size = self.frames.shot(index), self.reference(index), self.frames.size
        frames = rendered(reference, size), rendered(shot, size)
        if self.frames.split != "train":
            return torch.cat(frames)
        rng = self._random(index, 2)
        both = _warp(size, rng, turn=0.25, stretch=0.2, bend=1 / 15) if rng.random() < WARPED_ALIKE else centers(*size, 1)
        own = sample(both[None], _warp(size, rng, turn=0.1, stretch=0.08, bend=1 / 15)[None])[0]
        positions = _inverted(own, _positions(shot, reference, both))
        pictures = [_taken(frame, warp) for frame, warp in zip(frames, (own, both), strict=True)]
        return torch.cat([*pictures, encode_positions(positions[None], *size)[0]])

    def _random(self, index: int, purpose: int) -> np.random.Generator:
        frames = self.frames
        return np.random.default_rng((frames.seed, list(SPLITS).index(frames.split), index % frames.length, purpose))

    def reference(self, index: int) -> Shot:
        """What the reference of frame ``index`` shows.

        Raises:
            IndexError: there are not so many.
        """
        frames, shot = self.frames, self.frames.shot(index)
        rng, training = self._random(index, 1), frames.split == "train"
        much = 1.5 if training else 1.0
        canvas_width, aspect = WIDTHS.get(shot.background, CANVAS[0]), frames.size[1] / frames.size[0]
        lowest, highest = CANVAS[1] / ZOOM[1], min(CANVAS[1], CANVAS[0] / aspect)
        height = float(np.clip(shot.height * np.exp(rng.normal(0, 0.12 * much)), lowest, highest))
        while True:
            across, down = shot.center + rng.normal(0, (0.12 * much, 0.08 * much)) * shot.height
            across = float(np.clip(across, height * aspect / 2, canvas_width - height * aspect / 2))
            if not training or band(across) in TRAIN:  # training must see no other band, in a reference neither
                break
        down = float(np.clip(down, height / 2, CANVAS[1] - height / 2))
        actors = tuple(
            (_other_expression(name, frames.split, rng), place + rng.normal(0, 40 * much)) for name, place in shot.actors
        )
        return Shot(shot.background, actors, (across, down), height, shot.flip ^ bool(training and rng.random() < MIRRORED))


def _other_expression(name: str, split: str, rng: np.random.Generator) -> str:
    """A sprite of the same character with another expression, if there is one."""
    character, _, expression = name.rpartition("-")
    mine, trained = (SPLITS[one]["characters"].get(character, ()) for one in (split, "train"))
    others = [one for one in (mine if len(mine) > 1 else trained) if one != expression]
    return f"{character}-{rng.choice(others)}" if others else name


def _positions(shot: Shot, reference: Shot, warp: Tensor) -> Tensor:
    """Where a reference shows what a frame shows.

    Args:
        shot, reference: what both show, before any warp.
        warp: of the frame: from where each pixel is taken, (2, H, W).

    Returns:
        x and y in pixels of the reference before any warp, (2, H, W); NaN where it does not show the same layer there.
    """
    height, width = warp.shape[1:]
    scales = [height / one.height for one in (shot, reference)]
    x, y = warp
    canvas_x = (width - x if shot.flip else x) / scales[0] + shot.center[0] - width / scales[0] / 2
    canvas_y = y / scales[0] + shot.center[1] - shot.height / 2
    moved = [0.0, *(there - here for (_, here), (_, there) in zip(shot.actors, reference.actors, strict=True))]
    layer = _at(layers(shot, (height, width)), warp)
    canvas_x = canvas_x + torch.tensor(moved)[layer.clamp(min=0).long()]
    across = (canvas_x - reference.center[0]) * scales[1] + width / 2
    found = torch.stack(
        [width - across if reference.flip else across, (canvas_y - reference.center[1]) * scales[1] + height / 2]
    )
    seen = (layer >= 0) & (_at(layers(reference, (height, width)), found) == layer)
    return torch.where(seen, found, torch.nan)


def _at(values: Tensor, positions: Tensor) -> Tensor:
    """Values (H, W) at the pixels in which positions (2, H', W') lie; -1 outside."""
    x, y = positions.floor().long()
    inside = (x >= 0) & (x < values.shape[1]) & (y >= 0) & (y < values.shape[0])
    found = values[y.clamp(0, values.shape[0] - 1), x.clamp(0, values.shape[1] - 1)].int()
    return torch.where(inside, found, -1)


def _warp(size: tuple[int, int], rng: np.random.Generator, turn: float, stretch: float, bend: float) -> Tensor:
    """From where each pixel is taken, (2, H, W): turned about the middle, stretched and smoothly bent, at random.

    Args:
        turn: standard deviation in radians; ``stretch``, of the logarithm of both scales; ``bend``, of the motion of a grid of
            5 x 5 points, of which half the picture is 1.
    """
    middle = torch.tensor([size[1], size[0]])[:, None, None] / 2
    angle, scales = rng.normal(0, turn), np.exp(rng.normal(0, stretch, 2))
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scales
    moves = torch.from_numpy(rng.normal(0, bend, (1, 2, 5, 5))).float()
    moves = F.interpolate(moves, size, mode="bicubic", align_corners=True)[0] * middle
    return torch.einsum("ij,jhw->ihw", torch.from_numpy(turned).float(), centers(*size, 1) - middle) + middle + moves


def _taken(image: Tensor, warp: Tensor) -> Tensor:
    """An image (C, H, W) whose pixels are taken from where ``warp`` says; beyond the border it is mirrored."""
    return sample(image[None], warp[None], "reflection")[0].clamp(0, 1)


def _inverted(warp: Tensor, wanted: Tensor) -> Tensor:
    """Where a warped picture shows what the picture shows at ``wanted``: the inverse of ``warp``, by Newton's method with the
    mean derivative of the warp.

    Args:
        warp: from where each pixel is taken, (2, H, W).
        wanted: positions in pixels, (2, H, W), NaN where there is none.

    Returns:
        Positions in pixels, (2, H, W); NaN where there is none, or outside the picture.
    """
    slopes = torch.stack([warp.diff(dim=2).mean(dim=(1, 2)), warp.diff(dim=1).mean(dim=(1, 2))], dim=1)
    inverse = torch.linalg.inv(slopes)
    size = torch.tensor([warp.shape[2], warp.shape[1]])[:, None, None]
    known = torch.nan_to_num(wanted)
    found = torch.einsum("ij,jhw->ihw", inverse, known - size / 2) + size / 2
    for _ in range(SEARCH_STEPS):
        found = found - torch.einsum("ij,jhw->ihw", inverse, sample(warp[None], found[None])[0] - known)
    there = ((sample(warp[None], found[None])[0] - wanted).norm(dim=0) < 0.25) & ((found > 0) & (found < size)).all(dim=0)
    return torch.where(there, found, torch.nan)
