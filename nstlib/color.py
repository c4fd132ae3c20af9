"""RGB and CIELAB on tensors, differentiable; the conversion itself is kornia's (sRGB, white point D65).

The networks see CIELAB scaled to [-1, 1], as in the lab's code: L* / 50 - 1, a* / 110, b* / 110.
"""

from __future__ import annotations

import kornia.color
from torch import Tensor

AB_RANGE = 110  # a* and b* of sRGB colours lie within [-108, 99]; the metric's thresholds count in this range too


def rgb_to_lab(image: Tensor) -> Tensor:
    """Shape (B, 3, H, W), sRGB in [0, 1], to CIELAB: L* in [0, 100], a* and b* in [-110, 110]."""
    return kornia.color.rgb_to_lab(image)


def lab_to_rgb(lab: Tensor, clip: bool = True) -> Tensor:
    """The inverse of ``rgb_to_lab``; colours that sRGB does not have are clipped to [0, 1], or left outside."""
    return kornia.color.lab_to_rgb(lab, clip=clip)


def scale_lab(lab: Tensor) -> Tensor:
    """CIELAB, shape (B, 3, H, W), to what the networks see: all channels in [-1, 1]."""
    return lab / lab.new_tensor([50, AB_RANGE, AB_RANGE])[:, None, None] - lab.new_tensor([1, 0, 0])[:, None, None]


def unscale_lab(scaled: Tensor) -> Tensor:
    """The inverse of ``scale_lab``."""
    return (scaled + scaled.new_tensor([1, 0, 0])[:, None, None]) * scaled.new_tensor([50, AB_RANGE, AB_RANGE])[:, None, None]
