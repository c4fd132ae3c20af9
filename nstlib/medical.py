"""Patches of two medical images: what are weights trained on anime worth elsewhere? (The poster's last "future research".)

The images are those that come with scikit-image: colonic glands (immunohistochemistry, FHL2 in brown, nuclei in blue) and the
back of an eye (retina). What is colorized here is a guess at colors, trained on one image of each kind: it shows nothing that
the gray image did not, and is of no use for any diagnosis.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nstlib.arguments import choice, shown, whole_number
from nstlib.images import resize

IMAGES = ("immunohistochemistry", "retina")
TEST_SHARE = 0.35  # of an image's width, on the right
MARGIN = 32  # pixels between the last training column and the first test column
LARGEST = 128  # side in pixels of the largest patch that is cut
ON_RETINA = 0.15  # a patch counts as lying on the retina if its darkest corner's mean is above this, in [0, 1]


class MedicalPatches(Dataset[Tensor]):
    """Square patches of real color images, (3, size, size), RGB in [0, 1]: training patches from the left, test patches from
    the right of each image, with a margin between them that no patch touches.

    Patch ``i`` depends on ``split``, ``size``, ``seed`` and ``i`` only, so the first tenth of a dataset is a dataset of a tenth
    the length. Images take turns. Patches are mirrored and turned by right angles at random: tissue has no up. A patch larger
    than 128 pixels is one of 128 enlarged: larger ones do not fit into the test columns.

    Args:
        split: "train" or "test".
        size: side of the patches in pixels, 8 to 512.
        length: how many.
        seed: of their positions.
        images: which to take them from.

    Raises:
        ValueError: an argument is none of these.
    """

    def __init__(
        self, split: str = "train", size: int = 256, length: int = 1000, seed: int = 0, images: tuple[str, ...] = IMAGES
    ):
        choice(split, "split", ("train", "test"))
        whole_number(size, "size", 8, 512)
        whole_number(length, "length", 1)
        whole_number(seed, "seed", 0)
        if not images or set(images) - set(IMAGES):
            raise ValueError(f"images must be some of {', '.join(IMAGES)}, not {shown(images)}")
        self.split, self.size, self.length, self.seed, self.images = split, size, length, seed, tuple(images)
        self.cut = min(size, LARGEST)  # side of what is cut from the image

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        name, top, left, turns, mirrored = self.place(index)
        patch = picture(name)[:, top : top + self.cut, left : left + self.cut]
        patch = torch.rot90(patch, turns, (1, 2))
        patch = patch.flip(2) if mirrored else patch
        return resize(patch[None], (self.size, self.size))[0].clamp(0, 1).contiguous()

    def place(self, index: int) -> tuple[str, int, int, int, bool]:
        """Image, top, left, right angles turned, mirrored: of patch ``index``.

        Raises:
            IndexError: there are not so many.
        """
        if not -self.length <= index < self.length:
            raise IndexError(f"there are {self.length} patches, no patch {index}")
        index %= self.length
        name = self.images[index % len(self.images)]
        image = picture(name)
        rng = np.random.default_rng((self.seed, index, self.split == "test"))
        low, high = columns(name, self.split, self.cut)
        while True:
            top, left = int(rng.integers(image.shape[1] - self.cut + 1)), int(rng.integers(low, high + 1))
            if _on_tissue(name, image[:, top : top + self.cut, left : left + self.cut]):
                return name, top, left, int(rng.integers(4)), bool(rng.integers(2))


def columns(name: str, split: str, size: int) -> tuple[int, int]:
    """Where patches of a split may begin, from the left, in pixels: lowest and highest."""
    width = picture(name).shape[2]
    border = round(width * (1 - TEST_SHARE))
    return (0, border - MARGIN - size) if split == "train" else (border, width - size)


@cache
def picture(name: str) -> Tensor:
    """The image, (3, H, W), RGB in [0, 1], 512 pixels wide (the retina 705): at that scale a patch shows structures."""
    import skimage.data

    pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None].float() / 255
    return (resize(pixels, pixels.shape[2] // 2) if name == "retina" else pixels)[0]


def _on_tissue(name: str, patch: Tensor) -> bool:
    if name != "retina":
        return True
    corner = patch.shape[1] // 4
    corners = [patch[:, y, x] for y in (slice(corner), slice(-corner, None)) for x in (slice(corner), slice(-corner, None))]
    return min(float(c.mean()) for c in corners) > ON_RETINA
