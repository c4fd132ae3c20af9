"""Colors that are known in some places: hints for a colorizer, a few dabs of paint on line-art.

They are a map of four channels, (B, 4, H, W): scaled CIELAB where a color is known and 0 elsewhere, and a mask, 1 where known.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nstlib.arguments import share, shown
from nstlib.color import rgb_to_lab, scale_lab

KNOWN = 4  # channels: scaled CIELAB and the mask
DAB = 5  # side of a dab in pixels, at the size that the network sees
MOST_DABS = 30  # in training


@dataclass(frozen=True)
class Dab:
    """A color at a place.

    Args:
        x, y: from the left and from the top, as shares of width and height.
        color: RGB in [0, 1].

    Raises:
        ValueError: an argument is none of these.
    """

    x: float
    y: float
    color: tuple[float, float, float]

    def __post_init__(self) -> None:
        share(self.x, "x")
        share(self.y, "y")
        if not isinstance(self.color, Sequence) or len(self.color) != 3:
            raise ValueError(f"color must be RGB, three numbers in [0, 1], not {shown(self.color)}")
        for value in self.color:
            share(value, "color")


def known_everywhere(colors: Tensor) -> Tensor:
    """Scaled CIELAB (B, 3, H, W) as a map of colors that are all known."""
    return torch.cat([colors, torch.ones_like(colors[:, :1])], dim=1)


def spread(centers: Tensor, colors: Tensor) -> Tensor:
    """Dabs of ``DAB`` pixels a side; where some overlap, the mean of their colors.

    Args:
        centers: of the dabs, shape (N, 3): number of the image, row, column.
        colors: shape (B, 3, H, W), scaled CIELAB; counts at the centers only.

    Returns:
        Shape (B, 4, H, W).
    """
    image, row, column = centers.T
    known = torch.cat([colors[image, :, row, column], colors.new_ones(len(centers), 1)], dim=1)
    sums = colors.new_zeros(len(colors), *colors.shape[2:], KNOWN)
    for down, right in itertools.product(range(-(DAB // 2), DAB // 2 + 1), repeat=2):
        rows, columns = (row + down).clamp(0, colors.shape[2] - 1), (column + right).clamp(0, colors.shape[3] - 1)
        sums.index_put_((image, rows, columns), known, accumulate=True)
    return (sums / sums[..., -1:].clamp_min(1)).permute(0, 3, 1, 2)


def random_hints(colors: Tensor, hinted: float) -> Tensor:
    """Dabs as a user might put them: true colors at random places. The expected number of dabs is drawn log-uniformly from 1 to
    ``MOST_DABS`` for each image; by chance an image may get none.

    Args:
        colors: the truth, shape (B, 3, H, W), scaled CIELAB.
        hinted: probability that an image gets dabs.

    Returns:
        Shape (B, 4, H, W).
    """
    batch, _, height, width = colors.shape
    dabs = MOST_DABS ** torch.rand(batch) * (torch.rand(batch) < hinted)  # few as often as many
    centers = torch.rand(batch, 1, height, width) < (dabs / (height * width))[:, None, None, None]
    return spread(centers[:, 0].nonzero().to(colors.device), colors)


def hints_map(dabs: Sequence[Dab], height: int, width: int) -> Tensor:
    """Dabs as a map, (1, 4, height, width); of two at the same pixel the later counts."""
    centers, colors = [], torch.zeros(1, 3, height, width)
    for dab in dabs:
        row, column = min(int(dab.y * height), height - 1), min(int(dab.x * width), width - 1)
        centers.append([0, row, column])
        colors[:, :, row, column] = scale_lab(rgb_to_lab(torch.tensor(dab.color).reshape(1, 3, 1, 1)))[:, :, 0, 0]
    return spread(torch.tensor(centers, dtype=torch.long).view(-1, 3), colors)
