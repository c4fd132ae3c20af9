"""Images in and out: the one place where bad input is met.

An image is a float32 tensor of shape (1, 3, H, W), RGB, in [0, 1].
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
import torch
import torch.nn.functional as F
from torch import Tensor

from nstlib.arguments import shown
from nstlib.files import atomic_write

MAX_PIXELS = 100_000_000  # 400 MB as a float tensor per channel; anything above is taken for a decompression bomb
MIN_SIDE = 2

Source = str | os.PathLike[str] | bytes | PIL.Image.Image | Tensor  # all that is taken for an image

# PostScript is a program, not a picture: Pillow would hand it to an interpreter. An IPTC file is an envelope in which
# Pillow opens whatever it finds, PostScript too.
_NOT_READ = {"EPS", "IPTC"}

# What is written, and Pillow's settings for it.
_WRITTEN: dict[str, dict[str, Any]] = {
    ".png": {},
    ".jpg": {"quality": 95},
    ".jpeg": {"quality": 95},
    ".webp": {"quality": 95},
    ".tiff": {},
    ".tif": {},
}


class ImageError(ValueError):
    """An image that cannot be used; the message says which and why."""


def load_image(source: str | os.PathLike[str] | bytes | PIL.Image.Image, size: int | None = None) -> Tensor:
    """Read any image that Pillow reads.

    Transparency is laid over white; palettes, CMYK, 16-bit samples and color profiles (ICC) are converted to sRGB; the camera's
    rotation (EXIF) is applied; of an animation, the first frame is taken. Floating-point files must hold values in [0, 1] or
    [0, 255].

    Args:
        source: a path, the bytes of an image file, or a PIL image.
        size: length of the longer side after resizing, in pixels; None keeps the image's own.

    Returns:
        Shape (1, 3, H, W), RGB in [0, 1], float32.

    Raises:
        ImageError: missing, not an image, damaged, truncated, too small (under 2 pixels a side) or too large
            (over 100 million pixels), or ``size`` is no such length.
    """
    array, name = _read(source, _to_array)
    tensor = torch.from_numpy(array).permute(2, 0, 1)[None].contiguous()
    try:
        return tensor if size is None else resize(tensor, size)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None


def load_alpha(source: str | os.PathLike[str] | bytes | PIL.Image.Image) -> Tensor | None:
    """The transparency of any image that ``load_image`` reads, to give a result the same (``save_image(alpha=...)``).

    Returns:
        Shape (1, 1, H, W), in [0, 1]: 0 is transparent; None if no pixel is.

    Raises:
        ImageError: as ``load_image``.
    """
    array, _ = _read(source, _to_alpha)
    return None if (array == 1).all() else torch.from_numpy(array)[None, None]


def as_image(source: Source, name: str) -> Tensor:
    """Return ``source`` as an image: a tensor is checked, anything else is read by ``load_image``.

    Raises:
        ImageError: it cannot be; the message begins with ``name``.
    """
    try:
        return check_image(source, name).detach().float().clone() if isinstance(source, Tensor) else load_image(source)
    except ImageError as error:
        message = str(error)
        raise ImageError(message if message.startswith(name) else f"{name}: {message}") from error


def save_image(image: Tensor, path: str | os.PathLike[str], alpha: Tensor | None = None) -> None:
    """Write an image as 8-bit PNG, JPEG, WebP or TIFF, whichever the path's ending says.

    Values are clipped to [0, 1] and rounded to the nearest of 256 levels. The file is written whole or not at all.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
        alpha: shape (1, 1, H, W), in [0, 1]; 0 is transparent. JPEG has no transparency.

    Raises:
        ImageError: not such tensors, transparency for a JPEG, or the path cannot be written.
    """
    path = check_target(path)
    picture = PIL.Image.fromarray(to_uint8(image))
    if alpha is not None:
        if path.suffix.lower() in (".jpg", ".jpeg"):
            raise ImageError(f"{str(path)!r}: JPEG has no transparency; PNG and WebP have")
        check_images(alpha, "alpha", channels=1, batch=1)
        if alpha.shape[2:] != image.shape[2:]:
            raise ImageError(f"alpha has {tuple(alpha.shape[2:])} pixels, image {tuple(image.shape[2:])}")
        picture.putalpha(PIL.Image.fromarray(to_uint8(alpha.expand(-1, 3, -1, -1))[..., 0]))
    try:
        with atomic_write(path) as temporary:
            picture.save(temporary, **_WRITTEN[path.suffix.lower()])
    except (OSError, ValueError) as error:  # ValueError: more pixels a side than WebP has, a null character in the name
        raise ImageError(f"{str(path)!r} cannot be written: {error}") from error


def check_target(path: str | os.PathLike[str]) -> Path:
    """Look whether ``save_image`` could write to ``path``, before long work begins.

    Returns:
        The path.

    Raises:
        ImageError: its ending is of no format that is written, or its folder does not exist or cannot be written to.
    """
    if not isinstance(path, str | os.PathLike):
        raise ImageError(f"an image is written to a path, not to {shown(path)}")
    path = Path(path)
    if path.suffix.lower() not in _WRITTEN:
        raise ImageError(f"{str(path)!r}: the name must end in one of {', '.join(_WRITTEN)}")
    check_folder_of(path)
    return path


def check_folder_of(path: Path) -> None:
    """Look whether a file can be written to ``path``.

    Raises:
        ImageError: its folder does not exist or cannot be written to.
    """
    try:
        writable = os.access(path.parent, os.W_OK)
        reason = "its folder cannot be written to" if path.parent.is_dir() else "there is no such folder"
    except (OSError, ValueError) as error:  # a name too long, a null character in it
        writable, reason = False, str(error)
    if not writable or not path.parent.is_dir():
        raise ImageError(f"{str(path)!r} cannot be written: {reason}")


def check_file(path: str | os.PathLike[str], name: str) -> None:
    """Look whether ``path`` is a file with something in it, before a decoder does.

    Raises:
        ImageError: it is not; the message begins with ``name``.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{name}: there is no such file") from None
    except (OSError, ValueError) as error:  # not allowed to look, a name too long, a null character in it
        raise ImageError(f"{name}: cannot be read ({error})") from None
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{name}: not a file")
    if not status.st_size:
        raise ImageError(f"{name}: the file is empty")


def check_image(image: Tensor, name: str = "image") -> Tensor:
    """Return ``image`` if it is one: a floating-point tensor of shape (1, 3, H, W), finite, in [0, 1].

    Raises:
        ImageError: it is not; the message begins with ``name``.
    """
    return check_images(image, name, batch=1)


def check_images(images: Tensor, name: str = "images", channels: int = 3, batch: int | None = None) -> Tensor:
    """Return ``images`` if they are images: a floating-point tensor of shape (B, channels, H, W), finite, in [0, 1].

    Raises:
        ImageError: they are not; the message begins with ``name``.
    """
    shape = f"({batch or 'B'}, {channels}, H, W)"
    if not isinstance(images, Tensor):
        raise ImageError(f"{name}: expected a tensor of shape {shape}, got {type(images).__name__}")
    if not _in_memory(images):
        raise ImageError(f"{name}: expected a tensor with its values in memory, got layout {images.layout} on {images.device}")
    if images.ndim != 4 or images.shape[1] != channels or not images.shape[0] or (batch and images.shape[0] != batch):
        raise ImageError(f"{name}: expected shape {shape}, got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ImageError(f"{name}: expected floating-point values in [0, 1], got {images.dtype}")
    if min(images.shape[2:]) < MIN_SIDE:
        raise ImageError(f"{name}: {images.shape[3]} x {images.shape[2]} pixels is too small")
    low, high = images.aminmax()
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise ImageError(f"{name}: holds NaN or infinity")
    if low < 0 or high > 1:
        raise ImageError(f"{name}: values run from {low:.3g} to {high:.3g}; expected [0, 1]")
    return images


def resize(image: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize with an antialiased bicubic filter.

    Args:
        image: shape (B, C, H, W), values in [0, 1].
        size: length of the longer side, which keeps the aspect ratio; or exactly (height, width).

    Returns:
        Shape (B, C, height, width), clipped to [0, 1].

    Raises:
        ImageError: ``size`` is not in whole pixels, a side would be under 2 pixels, or the result over 100 million pixels.
    """
    height, width = image.shape[2:]
    if _is_whole(size):
        scale = min(size, MAX_PIXELS) / max(height, width)
        target = (size, max(0, round(width * scale))) if height >= width else (max(0, round(height * scale)), size)
    elif isinstance(size, tuple) and len(size) == 2 and all(map(_is_whole, size)):
        target = size
    else:
        raise ImageError(f"size must be a whole number of pixels or (height, width), not {shown(size)}")
    if min(target) < MIN_SIDE or target[0] * target[1] > MAX_PIXELS:
        raise ImageError(f"cannot resize {width} x {height} to {target[1]} x {target[0]} pixels")
    if target == (height, width):
        return image
    # bicubic overshoots at hard edges
    return F.interpolate(image, target, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def shape_with(image: Tensor, shorter: int) -> tuple[int, int]:
    """Height and width of an image (B, C, H, W) once its shorter side has ``shorter`` pixels."""
    height, width = image.shape[2:]
    factor = shorter / min(height, width)
    return round(height * factor), round(width * factor)


def to_uint8(image: Tensor) -> np.ndarray:
    """An image (1, 3, H, W) as NumPy, matplotlib and Pillow have it: (H, W, 3), 0-255, clipped and rounded."""
    if isinstance(image, Tensor) and image.is_floating_point() and _in_memory(image):
        image = image.detach().cpu().clamp(0, 1)  # NaN stays NaN, and is refused next
    return (check_image(image)[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def _in_memory(tensor: Tensor) -> bool:
    """Whether a tensor has values, one beside the other: no sparse tensor, none on the meta device."""
    return tensor.layout == torch.strided and not tensor.is_meta


def _read(
    source: str | os.PathLike[str] | bytes | PIL.Image.Image, convert: Callable[[PIL.Image.Image, str], np.ndarray]
) -> tuple[np.ndarray, str]:
    """What ``convert`` makes of an image, and the image's name for messages.

    Raises:
        ImageError: missing, not an image, damaged, truncated.
    """
    if isinstance(source, PIL.Image.Image):
        name = "PIL image"
    elif isinstance(source, bytes | bytearray):
        name = f"image of {len(source)} bytes"
        if not source:
            raise ImageError(f"{name}: empty")
    elif isinstance(source, str | os.PathLike):
        name = repr(os.fspath(source))
        check_file(source, name)
    else:
        raise ImageError(f"an image is read from a path, bytes or a PIL image, not from {type(source).__name__}")

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's hints about odd metadata; what matters is raised below
            if isinstance(source, PIL.Image.Image):
                array = convert(source, name)
            else:
                formats = [f for f in _readable_formats() if f not in _NOT_READ]
                opened = io.BytesIO(source) if isinstance(source, bytes | bytearray) else source
                with PIL.Image.open(opened, formats=formats) as image:
                    array = convert(image, name)
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageError(f"{name}: not an image in a format that can be read") from None
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}") from None
    except Exception as error:
        # a damaged file can raise nearly anything from inside a decoder: struct.error, zlib.error, SyntaxError, ...
        raise ImageError(f"{name}: damaged or cut short ({type(error).__name__}: {error})") from error
    return array, name


def _is_whole(number: object) -> TypeGuard[int]:
    return isinstance(number, int) and not isinstance(number, bool)


def _readable_formats() -> list[str]:
    PIL.Image.init()
    return list(PIL.Image.OPEN)


def _to_array(image: PIL.Image.Image, name: str) -> np.ndarray:
    """(H, W, 3), float32, in [0, 1]."""
    if image.format in _NOT_READ:  # opened by the caller, but perhaps not run yet
        raise ImageError(f"{name}: {image.format} is not read")
    _check_size(image, name)
    tiles = getattr(image, "tile", [])  # only what was read from a file has some
    if image.format == "TIFF" and tiles:
        boxes = [extents for _, extents, *_ in tiles]
        if sum((right - left) * (bottom - top) for left, top, right, bottom in boxes) < image.width * image.height:
            raise ImageError(f"{name}: parts of the picture are missing")  # Pillow would leave them black
    image.load()
    _check_size(image, name)  # an icon can hold a picture of another size than it says
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to refuse a sound picture
        image = PIL.ImageOps.exif_transpose(image)
    image = _to_srgb(image)

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.repeat(_gray_in_unit_range(image, name)[..., None], 3, axis=2)
    if image.mode == "La":
        image = image.convert("LA")  # all that Pillow can make of it
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def _to_alpha(image: PIL.Image.Image, name: str) -> np.ndarray:
    """(H, W), float32, in [0, 1]."""
    _to_array(image, name)  # refuses what cannot be read
    with contextlib.suppress(Exception):
        image = PIL.ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.ones((image.height, image.width), np.float32)
    return np.array(image.convert("RGBA").getchannel("A"), dtype=np.float32) / 255


def _to_srgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Colors as sRGB has them, if the file carries a color profile; a profile that cannot be used is passed over."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    try:
        source = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGB" if image.mode == "CMYK" else image.mode
        converted = PIL.ImageCms.profileToProfile(image, source, PIL.ImageCms.createProfile("sRGB"), outputMode=mode)
    except (OSError, PIL.ImageCms.PyCMSError):
        return image
    return image if converted is None else converted


def _check_size(image: PIL.Image.Image, name: str) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name}: {width} x {height} pixels is too small")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width} x {height} pixels is too large (over {MAX_PIXELS // 10**6} million)")


def _gray_in_unit_range(image: PIL.Image.Image, name: str) -> np.ndarray:
    """One-channel images of more than 8 bits: 16-bit integers (which Pillow may also give as "I"), or floats ("F")."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: holds NaN or infinity")
    low, high = values.min(), values.max()
    white = 65535 if image.mode != "F" else 1 if high <= 1 else 255
    if low < 0 or high > white:
        raise ImageError(f"{name}: values run from {low:.6g} to {high:.6g}; it is not clear which of them is white")
    gray = (values / white).astype(np.float32)
    if isinstance(image.info.get("transparency"), int):
        gray[values == image.info["transparency"]] = 1
    return gray
