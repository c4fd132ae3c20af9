"""RGB, luma and CIELAB on tensors, differentiable; the conversion to CIELAB is kornia's (sRGB, white point D65).

The networks see CIELAB scaled to [-1, 1], as in the code of Nazeri et al. 2018: L* / 50 - 1, a* / 110, b* / 110.
"""

from __future__ import annotations

import kornia.color
import torch
from torch import Tensor

BT601 = (0.299, 0.587, 0.114)
BT709 = (0.2125, 0.7154, 0.0721)  # to the digits of skimage.color.rgb2gray
AB_RANGE = 110  # a* and b* of sRGB colors lie within [-108, 99]; the metric's thresholds count in this range too


def luma_bt601(image: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, the Y of YIQ: (B, 3, H, W), gamma-coded RGB in [0, 1], to (B, 1, H, W) in [0, 1]."""
    return _weighted_sum(image, BT601)


def luma_bt709(image: Tensor) -> Tensor:
    """Luma of ITU-R BT.709, the gray of scikit-image: (B, 3, H, W), gamma-coded RGB in [0, 1], to (B, 1, H, W) in [0, 1]."""
    return _weighted_sum(image, BT709)


def _weighted_sum(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    return (image * image.new_tensor(weights)[:, None, None]).sum(dim=1, keepdim=True)


def rgb_to_lab(image: Tensor) -> Tensor:
    """Shape (B, 3, H, W), sRGB in [0, 1], to CIELAB: L* in [0, 100], a* and b* in [-110, 110]."""
    return kornia.color.rgb_to_lab(image)


def lab_to_rgb(lab: Tensor, clip: bool = True) -> Tensor:
    """The inverse of ``rgb_to_lab``; colors that sRGB does not have are clipped to [0, 1], or left outside."""
    return kornia.color.lab_to_rgb(lab, clip=clip)


def gray_to_lightness(gray: Tensor) -> Tensor:
    """L* of grays (v, v, v): shape (B, 1, H, W), gamma-coded in [0, 1], to (B, 1, H, W) in [0, 100].

    The first channel of ``rgb_to_lab``, to within 0.01, in a fraction of its time.
    """
    # The curves of sRGB and of CIELAB are a line up to a joint and a power above. The power 2.4 of the one and the cube root
    # of the other make one power, the cube root of the light. What exceeds a joint is split off: faster than torch.where.
    joint, cie_joint, steep = 0.04045, 6 / 29, (29 / 3) ** 3
    above = (gray - joint).relu()
    root = ((above + (joint + 0.055)) / 1.055) ** 0.8
    bright = (root - cie_joint).relu()
    return 116 * bright + steep * ((root - bright) ** 3 + (gray - above - joint) / 12.92)


def scale_lab(lab: Tensor) -> Tensor:
    """CIELAB, shape (B, 3, H, W), to what the networks see: all channels in [-1, 1]."""
    return lab / lab.new_tensor([50, AB_RANGE, AB_RANGE])[:, None, None] - lab.new_tensor([1, 0, 0])[:, None, None]


def unscale_lab(scaled: Tensor) -> Tensor:
    """The inverse of ``scale_lab``."""
    return (scaled + scaled.new_tensor([1, 0, 0])[:, None, None]) * scaled.new_tensor([50, AB_RANGE, AB_RANGE])[:, None, None]


def scaled_lab_to_rgb(scaled: Tensor, clip: bool = True) -> Tensor:
    """What the networks see or predict, (B, 3, H, W), to RGB; clipped to [0, 1], or left outside."""
    return lab_to_rgb(unscale_lab(scaled.float()), clip)


def gray_to_scaled_lab(gray: Tensor) -> Tensor:
    """Gray as the networks see it, (B, 1, H, W) in [-1, 1], to its scaled CIELAB, (B, 3, H, W): no color, a = b = 0."""
    lightness = gray_to_lightness((gray + 1) / 2)
    return scale_lab(torch.cat([lightness, torch.zeros_like(lightness), torch.zeros_like(lightness)], dim=1))
