"""Datasets of frames, as trainings and measurements take them: checked item by item, and told apart."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nstlib.edges import Condition
from nstlib.images import ImageError

SAMPLE = 8  # frames by which two datasets are told apart


class Frames(Protocol):
    """A dataset of frames (3, H, W), RGB in [0, 1]: any ``torch.utils.data.Dataset`` that knows its length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


class CheckedFrames(Dataset[Tensor]):
    """Frames in single precision. Type and shape of each frame are checked when it is taken; values are not.

    Args:
        frames: the dataset.
        size: shorter side in pixels that frames must have; None accepts any size, as long as it is the same for all frames.
        channels: accepted numbers of channels: 3, or 4 for a condition beside RGB (``CachedFrames``, ``nstlib.PairFolder``).

    Raises:
        ImageError: there are no frames, or the first frame has a wrong type or shape. A later frame with a wrong type or shape
            raises the same error when it is taken. The message says which frame it is and what was expected.
    """

    def __init__(self, frames: Frames, size: int | None = None, channels: Sequence[int] = (3, 4)):
        if len(frames) < 1:
            raise ImageError("there are no frames in the dataset")
        self.frames, self.channels = frames, channels
        self.shape = torch.Size()  # none yet: any will do
        self.shape = self[0].shape
        if size is not None and min(self.shape[1:]) != size:
            raise ImageError(
                f"frames of {min(self.shape[1:])} pixels (shorter side); this model takes {size} (size x supersample)"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Tensor:
        frame = self.frames[index]
        expected = f"a tensor ({' or '.join(map(str, self.channels))}, H, W), floating-point, in [0, 1]"
        if not isinstance(frame, Tensor):
            raise ImageError(f"frame {index} is a {type(frame).__name__}; expected {expected}, and no label beside it")
        if frame.ndim != 3 or frame.shape[0] not in self.channels or not frame.is_floating_point():
            raise ImageError(f"frame {index} has shape {tuple(frame.shape)} and type {frame.dtype}; expected {expected}")
        if self.shape and frame.shape != self.shape:
            raise ImageError(f"frame {index} has shape {tuple(frame.shape)}, frame 0 {tuple(self.shape)}; all need one size")
        return frame.detach().float().clone()  # the caller's may be one that autograd refuses

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Frames at ``indices``, (B, channels, H, W)."""
        return torch.stack([self[i] for i in indices])

    def sample(self) -> Tensor:
        """A few frames, evenly spaced: (N, channels, H, W)."""
        count = min(SAMPLE, len(self))
        return self.batch([i * len(self) // count for i in range(count)])


class CachedFrames(Dataset[Tensor]):
    """Keep frames and their condition in memory after the first access, so that this work is done only once for each frame.

    Values are rounded to 8 bits. A frame of 256 pixels with its condition takes 0.26 MB.

    Args:
        frames: a dataset of (3, H, W), RGB in [0, 1]; of pairs of these, (6, H, W); or of pairs with positions, (10, H, W), as
            ``nstlib.AnimePairs`` gives them for training.
        condition: computed once for each frame, and kept as one more channel before the RGB. Items then have the shape
            (4, H, W), pairs (8, H, W), pairs with positions (12, H, W). None leaves the condition to the training.

    Raises:
        ImageError: as ``CheckedFrames``, or the frames do not fit into memory.
    """

    def __init__(self, frames: Frames, condition: Condition | None = None):
        channels = (3, 4, 6, 8, 10, 12) if condition is None else (3, 6, 10)
        self.frames, self.condition = CheckedFrames(frames, channels=channels), condition
        given, *size = self.frames.shape
        self._images = min(given // 3, 2)
        shape = (len(frames), given if condition is None else given + self._images, *size)
        try:
            # memory is taken as it is filled; a tensor for each frame, among larger ones that go, would scatter the heap
            self._kept = torch.empty(shape, dtype=torch.uint8)
        except RuntimeError as error:
            raise ImageError(f"{len(frames)} frames take {math.prod(shape) / 1e9:.1f} GB: too much memory to keep") from error
        self._is_kept = [False] * len(frames)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Tensor:
        if not self._is_kept[index]:
            frame = self.frames[index]
            if self.condition is not None:
                images = frame[None, : 3 * self._images].split(3, dim=1)
                parts = [part for image in images for part in (self.condition.find(image)[0], image[0])]
                frame = torch.cat([*parts, frame[3 * self._images :]])
            self._kept[index] = (frame.clamp(0, 1) * 255).round()
            self._is_kept[index] = True
        return self._kept[index] / 255


def digest(frames: CheckedFrames) -> str:
    """SHA-256 of a few frames, or "random" if the same frame is not the same twice (random crops, say)."""
    sample = frames.sample()
    if not torch.equal(frames[0], sample[0]):
        return "random"
    return hashlib.sha256((sample * 255).round().clamp(0, 255).byte().contiguous().numpy().tobytes()).hexdigest()


def warn_if_gray(frames: CheckedFrames) -> None:
    """A model that is trained on gray frames learns to color them gray.

    Warns:
        RuntimeWarning: none of a few frames has any color.
    """
    sample = frames.sample()
    colors = sample[:, -7:-4] if sample.shape[1] >= 10 else sample[:, -3:]  # positions come last
    if (colors.amax(1) - colors.amin(1)).max() <= 1 / 255:
        warnings.warn("the frames to train on are gray: there are no colors to learn", RuntimeWarning, stacklevel=5)
