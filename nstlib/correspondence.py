"""Which place of a colored reference shows the same as a place of a frame? Found by features of the lines or the gray alone.

``match_colors`` needs no training: it compares the features of VGG. ``Correspondence`` learns features of its own, and is the
part of ``nstlib.reference`` that looks at the references.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nstlib.images import ImageError, check_images
from nstlib.vgg import FeatureExtractor

CELL = 8  # side in pixels of the places that are first told apart
DETAIL = 4  # side in pixels of the places that are told apart near the one that was found
SIDE = 3 * CELL // DETAIL  # of the window that is then searched, in places of ``DETAIL`` pixels: the cell and its neighbors
SPREAD = 0.05  # distance of colors that count as alike, in scaled CIELAB
ELSEWHERE = 0.01  # how likely a color is that the references do not have
MATCHED_LAYERS = ("relu1_2", "relu2_2", "relu3_3")


@torch.no_grad()
def match_colors(
    condition: Tensor, reference_condition: Tensor, reference: Tensor, extractor: FeatureExtractor, cell: int = DETAIL
) -> Tensor:
    """Color each cell as the cell of the reference whose features are nearest: no network is trained for it.

    The features of all layers, less their mean over both images and of length 1 in each layer, are compared by their cosine.

    Args:
        condition: line-art or grayscale to color, shape (1, 1, H, W) in [0, 1]; sides are multiples of ``cell``.
        reference_condition: that of the reference, shape (1, 1, H', W').
        reference: its colors, shape (1, 3, H', W'), RGB in [0, 1].
        extractor: of the layers to compare, ``MATCHED_LAYERS`` say.
        cell: side in pixels of what is found and copied as one; a power of 2.

    Returns:
        Shape (1, 3, H, W), RGB in [0, 1], made of the reference's pixels.

    Raises:
        ImageError: not such images.
    """
    check_images(condition, "condition", batch=1, channels=1)
    check_images(reference_condition, "reference_condition", batch=1, channels=1)
    check_images(reference, "reference", batch=1)
    if reference.shape[2:] != reference_condition.shape[2:]:
        raise ImageError("reference and reference_condition have different sizes")
    if any(side % cell for image in (condition, reference) for side in image.shape[2:]):
        raise ImageError(f"the images' sides must be multiples of the cell, {cell} pixels")
    shapes = [(image.shape[2] // cell, image.shape[3] // cell) for image in (condition, reference)]
    found = [extractor(image.expand(-1, 3, -1, -1)) for image in (condition, reference_condition)]
    queries, keys = [], []
    for layer in found[0]:
        both = [F.adaptive_avg_pool2d(features[layer].float(), shape) for features, shape in zip(found, shapes, strict=True)]
        mean = torch.cat([features.flatten(2) for features in both], dim=2).mean(dim=2)[0, :, None]
        query, key = (F.normalize(features[0].flatten(1) - mean, dim=0) for features in both)
        queries.append(query)
        keys.append(key)
    nearest = (torch.cat(queries).T @ torch.cat(keys)).argmax(dim=1)
    cells = F.pixel_unshuffle(reference, cell).flatten(2)
    return F.pixel_shuffle(cells[:, :, nearest].unflatten(2, shapes[0]), cell)


class Carried(NamedTuple):
    """What ``Correspondence`` found. Of each image n cells, with 4 places each.

    Attributes:
        colors: known colors carried over in full detail, shape (B, 4, H, W).
        means: mean known colors of the cells, as the first attention mixes them, (B, 4, H / 8, W / 8).
        confidence: how much of this attention goes to one cell, (B, 1, H / 8, W / 8), in [0, 1].
        cells: the first attention, and what it attends to: (B, n, m) and the known colors of m cells, (B, m, 4).
        places: the same of the second: (B n, 4, 36) and known colors (B n, 36, 64), of 4 x 4 pixels each.
    """

    colors: Tensor
    means: Tensor
    confidence: Tensor
    cells: tuple[Tensor, Tensor]
    places: tuple[Tensor, Tensor]


class Correspondence(nn.Module):
    """Carry the colors of references over to a frame, by attention on learned features of their conditions.

    First every cell of ``CELL`` pixels attends to all cells of all references (a softmax over the cosines of their features,
    with a learned sharpness). Then every place of ``DETAIL`` pixels attends to the places around the cell that matched best,
    whose colors it takes in full detail.

    Source: the idea of M. Shi et al., "Reference-Based Deep Line Art Video Colorization", 2020, arXiv 2003.10685, and of J. Lee
    et al., "Reference-Based Sketch Image Colorization Using Augmented-Self Reference and Dense Semantic Correspondence", CVPR
    2020; the two steps are ours, so that it is affordable at 256 pixels.

    Args:
        width: channels of the first layer.
        depth: channels of what is compared of the cells; half as many of the places.
    """

    def __init__(self, width: int = 32, depth: int = 64):
        super().__init__()
        wide = 2 * width
        self.near = nn.Sequential(_layer(DETAIL**2, width), _layer(width, width))
        self.far = nn.Sequential(_layer(width, wide, stride=2), *(_layer(wide, wide, dilation=d) for d in (1, 2)))
        self.farther = nn.Sequential(_layer(wide, wide, stride=2), *(_layer(wide, wide, dilation=d) for d in (1, 2, 4)))
        self.both = _layer(2 * wide, wide)
        self.coarse = nn.Conv2d(wide, depth, kernel_size=1)
        self.fine = nn.Sequential(_layer(width + wide, width), nn.Conv2d(width, depth // 2, kernel_size=1))
        self.sharpness = nn.Parameter(torch.tensor([2.3, 2.3]))  # logarithms, of both attentions

    def encode(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a condition (B, 1, H, W), sides multiples of ``CELL``: one vector of length 1 for each cell, and one for
        each place of ``DETAIL`` pixels."""
        near = self.near(F.pixel_unshuffle(condition, DETAIL))
        far = self.far(near)
        farther = F.interpolate(self.farther(far), far.shape[2:])
        far = self.both(torch.cat([far, farther], dim=1))
        fine = self.fine(torch.cat([near, F.interpolate(far, near.shape[2:])], dim=1))
        return F.normalize(self.coarse(far).float(), dim=1), F.normalize(fine.float(), dim=1)

    def forward(self, condition: Tensor, references: Sequence[tuple[Tensor, Tensor]]) -> Carried:
        """Carry colors over.

        Args:
            condition: shape (B, 1, H, W) in [-1, 1]; sides are multiples of ``CELL``.
            references: one or more; of each its condition (B, 1, H', W') and its known colors (B, 4, H', W').
        """
        coarse, fine = self.encode(condition)
        sharp = self.sharpness.exp()
        shape = coarse.shape[2:]
        keys, means, windows, places, colored = [], [], [], [], []
        count = 0
        for reference_condition, colors in references:
            key, detail = self.encode(reference_condition)
            keys.append(key.flatten(2))
            means.append(F.avg_pool2d(colors, CELL).flatten(2))
            windows.append(_windows(*detail.shape[2:]).to(detail.device) + count)
            places.append(detail.flatten(2))
            colored.append(F.pixel_unshuffle(colors, DETAIL).flatten(2))
            count += places[-1].shape[2]
        scores = (sharp[0] * coarse.flatten(2).transpose(1, 2)) @ torch.cat(keys, dim=2)
        cells = scores.float().softmax(dim=2), torch.cat(means, dim=2).transpose(1, 2)  # (B, cells, cells of references)
        carried_means = (cells[0] @ cells[1]).transpose(1, 2).unflatten(2, shape)
        confidence, best = cells[0].max(dim=2)

        # of each cell, the places around its best match: (B, cells, places)
        window = torch.cat(windows)[best] + count * torch.arange(len(best), device=best.device)[:, None, None]
        near_keys, near_colors = (_rows(torch.cat(parts, dim=2))[window].flatten(0, 1) for parts in (places, colored))
        queries = _rows(in_cells(fine)).unflatten(1, (fine.shape[1], -1)).transpose(1, 2)
        scores = sharp[1] * (queries @ near_keys.transpose(1, 2))  # (B cells, places in it, places)
        near = scores.float().softmax(dim=2), near_colors
        carried = (near[0] @ near_colors).transpose(1, 2).reshape(len(best), len(best[0]), -1)
        carried = carried.transpose(1, 2).unflatten(2, shape)
        detailed = F.pixel_shuffle(F.pixel_shuffle(carried, CELL // DETAIL), DETAIL)
        confidence = confidence.unflatten(1, shape)[:, None]
        return Carried(detailed.float(), carried_means.float(), confidence, cells, near)


def matching_loss(carried: Carried, colors: Tensor, shown: Tensor) -> Tensor:
    r"""How unlikely the true colors are, given where the attention looks:
    :math:`-\log \left(\sum_j A_{ij} e^{-\lVert y_i - c_j \rVert / s} + \varepsilon\right)`.

    A is an attention, y the color of cell or place i, c that of j in the reference, s ``SPREAD``. With the small ``ELSEWHERE``
    for epsilon, colors that the reference does not have cost no more than so much. The mean over cells, plus that over places.
    Unlike the distance of the mixed color, it does not reward a mixture that is no color of the reference.

    Args:
        carried: what the attentions found.
        colors: the truth, shape (B, 3, H, W), scaled CIELAB.
        shown: 1 for images that have references and 0 for others, shape (B,).

    Returns:
        A scalar, in nats; 0 if no image has references.
    """
    wanted = F.avg_pool2d(colors, CELL).flatten(2).transpose(1, 2)
    cells = _unlikelihood(*carried.cells, wanted).mean(dim=1)
    wanted = _rows(in_cells(F.pixel_unshuffle(colors, DETAIL))).unflatten(1, (3 * DETAIL**2, -1)).transpose(1, 2)
    places = _unlikelihood(*carried.places, wanted).unflatten(0, (len(colors), -1)).mean(dim=(1, 2))
    return ((cells + places) * shown).sum() / shown.sum().clamp_min(1)


def _unlikelihood(attention: Tensor, found: Tensor, wanted: Tensor) -> Tensor:
    """Of each row of an attention (N, n, m), given known colors (N, m, C) where it looks and the true ones (N, n, 3 C / 4)."""
    values = wanted.shape[2]
    with torch.no_grad():
        distance = torch.cdist(wanted.float(), found[..., :values].float(), compute_mode="use_mm_for_euclid_dist")
        alike = (distance / (-SPREAD * (values / 3) ** 0.5)).exp_()  # of colors of several pixels: their root mean square
    return -(torch.einsum("bnm,bnm->bn", attention, alike) + ELSEWHERE).log()


def in_cells(places: Tensor) -> Tensor:
    """(B, C, H', W'), a value for each place, to (B, 4 C, cells)."""
    return F.pixel_unshuffle(places, CELL // DETAIL).flatten(2)


def _rows(values: Tensor) -> Tensor:
    """(B, C, N) to (B N, C)."""
    return values.transpose(1, 2).flatten(0, 1)


@cache
def _windows(height: int, width: int) -> Tensor:
    """Of each cell of a picture of ``height`` x ``width`` places, its window's: (cells, SIDE^2), counted row by row."""
    around = CELL // DETAIL
    numbers = torch.arange(float(height * width)).view(1, 1, height, width)
    padded = F.pad(numbers, (around,) * 4, mode="replicate")
    return F.unfold(padded, SIDE, stride=around)[0].T.long()


def _layer(in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    kernel, padding = (4, 1) if stride == 2 else (3, dilation)
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation)
    return nn.Sequential(convolution, nn.GroupNorm(8, out_channels), nn.LeakyReLU(0.2, inplace=True))
