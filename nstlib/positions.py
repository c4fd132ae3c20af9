"""Positions in a picture, between its pixels: what lies there, and how a dataset keeps them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sample(images: Tensor, positions: Tensor, beyond: str = "border") -> Tensor:
    """Sample images (B, C, H', W') at positions between their pixels, with bilinear interpolation.

    Args:
        positions: x and y in pixels, from the upper left corner, shape (B, 2, H, W); the first pixel's middle is at 0.5.
        beyond: what lies outside: "border", the nearest pixel, or "reflection", the picture mirrored.

    Returns:
        Shape (B, C, H, W), float32.
    """
    grid = positions * positions.new_tensor([2 / images.shape[3], 2 / images.shape[2]])[:, None, None] - 1
    return F.grid_sample(images.float(), grid.permute(0, 2, 3, 1), padding_mode=beyond, align_corners=False)


def centers(height: int, width: int, side: int) -> Tensor:
    """x and y of the middles of ``height`` x ``width`` squares of ``side`` pixels: (2, height, width)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y]) + 0.5) * side


def encode_positions(positions: Tensor, height: int, width: int) -> Tensor:
    """Positions in a picture as a dataset keeps them: two channels for x and two for y, each in 8 bits.

    Args:
        positions: x and y in pixels, (B, 2, H, W), NaN where there is none.
        height, width: of the picture, in pixels.

    Returns:
        Shape (B, 4, H, W), in [0, 1]: multiples of 1 / 255. Zeros stand for no position.
    """
    shares = positions / positions.new_tensor([width, height])[:, None, None]
    counts = torch.where(shares.isnan(), 0, (shares * 65535).round().clamp(1, 65535))
    return torch.stack([(counts / 256).floor(), counts % 256], dim=2).flatten(1, 2) / 255


def decode_positions(channels: Tensor, height: int, width: int) -> Tensor:
    """The inverse of ``encode_positions``, to a 65535th of the size."""
    high, low = (channels * 255).round().unflatten(1, (2, 2)).unbind(2)
    counts = 256 * high + low
    positions = counts / 65535 * counts.new_tensor([width, height])[:, None, None]
    return torch.where((counts == 0).any(dim=1, keepdim=True), torch.nan, positions)
