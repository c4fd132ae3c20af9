"""How far a picture is from a painting, measured without a network, so that no method of style transfer is favored."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS, PATCH, PATCHES, DIRECTIONS = 4, 7, 8192, 512


def patch_distances(image: Tensor, painting: Tensor) -> list[float]:
    """Sliced Wasserstein distances between the patches of two pictures, for each level of a Laplacian pyramid, fine to coarse.

    Patches are projected to random directions; along each, the sorted values are compared. Source: T. Karras et al.,
    "Progressive Growing of GANs", ICLR 2018, section 5.

    Args:
        image, painting: (1, 3, H, W), RGB in [0, 1]; the sizes may differ.

    Returns:
        In units of the painting's distance from a picture of one color: 0 is a perfect match, 1 as bad as no pattern.
    """
    flat = painting.mean(dim=(2, 3), keepdim=True).expand_as(painting)
    return [
        _distance(mine, theirs) / _distance(nothing, theirs)
        for mine, theirs, nothing in zip(_pyramid(image), _pyramid(painting), _pyramid(flat), strict=True)
    ]


def _pyramid(image: Tensor) -> list[Tensor]:
    levels = []
    for _ in range(LEVELS - 1):
        smaller = F.avg_pool2d(image, 2)
        levels.append(image - F.interpolate(smaller, image.shape[2:], mode="bilinear", align_corners=False))
        image = smaller
    return [*levels, image]


def _distance(one: Tensor, other: Tensor) -> float:
    generator = torch.Generator().manual_seed(0)
    patches = []
    for image in (one, other):
        found = F.unfold(image, PATCH)[0].T
        patches.append(found[torch.randint(len(found), (PATCHES,), generator=generator)])
    directions = F.normalize(torch.randn(patches[0].shape[1], DIRECTIONS, generator=generator), dim=0)
    first, second = ((patch @ directions).sort(0).values for patch in patches)
    return float((first - second).abs().mean())
