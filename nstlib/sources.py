"""The images that a style transfer starts from: content, styles and masks, read and checked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nstlib.arguments import proportions, shown
from nstlib.color import luma_bt601
from nstlib.images import ImageError, Source, as_image, resize

SHORTEST_SIDE = 32  # pixels; relu5_1 then still has 2 x 2 positions
INITS = ("content", "style", "noise")


@dataclass(frozen=True)
class Sources:
    """What is painted, and how it is to look. Made by ``read_sources``."""

    content: Tensor  # (1, 3, H, W), RGB in [0, 1]
    styles: list[Tensor]  # each (1, 3, H', W')
    blend: list[float]  # proportions of the styles, sum 1
    masks: list[Tensor] | None  # one a style, each (1, 1, H'', W''), in [0, 1]
    preserve_color: bool

    def target(self, size: int) -> Tensor:
        """What the content loss compares with: the content, its longer side ``size`` pixels, in gray if its colors are kept."""
        content = resize(self.content, size)
        return gray(content) if self.preserve_color else content

    def first_image(self, init: str | Tensor, shape: Sequence[int], seed: int) -> Tensor:
        """What the transfer starts as: "content", "style", "noise" (of ``shape``, from ``seed``), or an image."""
        if isinstance(init, Tensor):
            return gray(init) if self.preserve_color else init
        if init == "content":
            return gray(self.content) if self.preserve_color else self.content
        if init == "style":
            return self.styles[0]
        return torch.rand(tuple(shape), dtype=torch.float32, generator=torch.Generator().manual_seed(seed)).to(
            self.content.device
        )

    def finished(self, image: Tensor) -> Tensor:
        """The image as shown. With ``preserve_color`` the content's colors under the image's luma (Y of YIQ; I and Q stay)."""
        if not self.preserve_color:
            return image
        content = resize(self.content, (image.shape[2], image.shape[3]))
        return (content + gray(image) - gray(content)).clamp(0, 1)


def read_sources(
    content: Source,
    style: Source | Sequence[Source],
    style_blend: Sequence[float] | None,
    masks: Sequence[Source | np.ndarray] | None,
    preserve_color: bool,
    device: torch.device,
) -> Sources:
    """Read and check the images of a transfer; arguments as in ``StyleTransfer``.

    Raises:
        nstlib.ImageError: an image cannot be used.
        ValueError: ``style_blend`` or ``masks`` cannot; the message names it.
    """
    content_image = as_image(content, "content").to(device)
    if style_blend is not None and masks is not None:
        raise ValueError("style_blend and masks exclude each other: a blend of styles is the same everywhere")
    given: list[Any] = list(style) if isinstance(style, list | tuple) else [style]
    if not given:
        raise ValueError("style is an empty list")
    names = ["style"] if len(given) == 1 else [f"style[{i}]" for i in range(len(given))]
    styles = [as_image(s, name).to(device) for s, name in zip(given, names, strict=True)]
    if not isinstance(preserve_color, bool):
        raise ValueError(f"preserve_color must be True or False, not {shown(preserve_color)}")
    if preserve_color:
        styles = [_match_luma(s, content_image) for s in styles]
    return Sources(
        content=content_image,
        styles=styles,
        blend=_check_blend(style_blend, len(styles)),
        masks=None if masks is None else _check_masks(masks, len(styles), device),
        preserve_color=preserve_color,
    )


def read_init(init: str | Source, device: torch.device) -> str | Tensor:
    """What a transfer starts as: one of its names, or an image (1, 3, H, W).

    Raises:
        nstlib.ImageError: it is neither.
    """
    if isinstance(init, str) and init in INITS:
        return init
    try:
        return as_image(init, "init").to(device)
    except ImageError as error:
        raise ImageError(f"{error}; init is {', '.join(INITS)} or an image") from None


def style_size(style: Tensor, size: float) -> int:
    """The longer side in pixels at which a style (1, 3, H, W) is matched: ``size``, or more if it is long and narrow."""
    longer, shorter = max(style.shape[2:]), min(style.shape[2:])
    return max(round(size), math.ceil(SHORTEST_SIDE * longer / shorter))


def gray(image: Tensor) -> Tensor:
    """Luma (BT.601) in all three channels: (1, 3, H, W) to the same shape."""
    return luma_bt601(image).expand_as(image)


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of shapes and values, to tell whether two transfers have the same images."""
    sha256 = hashlib.sha256()
    for tensor in tensors:
        sha256.update(str(tuple(tensor.shape)).encode())
        sha256.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()


def _match_luma(style: Tensor, content: Tensor) -> Tensor:
    """The style in gray, with the mean and spread of the content's luma (arXiv 1606.05897, section 3)."""
    style, content = gray(style), gray(content)
    return ((style - style.mean()) / style.std().clamp_min(1e-6) * content.std() + content.mean()).clamp(0, 1)


def _check_blend(blend: Sequence[float] | None, styles: int) -> list[float]:
    blend = blend if blend is not None else [1.0] * styles
    if not isinstance(blend, list | tuple):
        raise ValueError(f"style_blend must be a list, one number a style, not {shown(blend)}")
    if len(blend) != styles:
        raise ValueError(f"style_blend has {len(blend)} numbers for {styles} styles")
    return list(proportions(dict(enumerate(blend)), "style_blend").values())


def _mask_values(mask: Source | np.ndarray, name: str) -> Tensor:
    """A mask as a tensor; an array of bytes has 255 where it is white."""
    if isinstance(mask, np.ndarray):
        if mask.dtype.kind not in "biuf":
            raise ValueError(f"{name} is an array of {mask.dtype}; expected numbers")
        mask = torch.from_numpy(np.ascontiguousarray(mask))
    if not isinstance(mask, Tensor):
        return luma_bt601(as_image(mask, name))
    return mask / 255 if mask.dtype == torch.uint8 else mask


def _check_masks(masks: Sequence[Source | np.ndarray], styles: int, device: torch.device) -> list[Tensor]:
    if not isinstance(masks, list | tuple):
        raise ValueError(f"masks must be a list, one a style, not {type(masks).__name__}")
    if len(masks) != styles:
        raise ValueError(f"masks: {len(masks)} for {styles} styles; each style needs its own")
    checked = []
    for i, mask in enumerate(masks):
        values = _mask_values(mask, f"masks[{i}]")
        if values.ndim not in (2, 4) or (values.ndim == 4 and values.shape[:2] != (1, 1)):
            raise ValueError(f"masks[{i}] must have the shape (H, W) or (1, 1, H, W), not {tuple(values.shape)}")
        values = values.detach().float().reshape(1, 1, *values.shape[-2:]).to(device)
        if not values.numel() or not torch.isfinite(values).all() or values.min() < 0 or values.max() > 1 or values.max() == 0:
            raise ValueError(f"masks[{i}] must lie in [0, 1], or in 0 to 255 as uint8, and not be empty")
        checked.append(values)
    return checked
