"""Medical patches: no pixel is both in training and in test, a margin lies between, and they are the same every time."""

import pytest
import torch

from nstlib.images import resize
from nstlib.medical import IMAGES, LARGEST, MARGIN, MedicalPatches, columns, picture


@pytest.mark.parametrize("size", [8, 64, 128, 256])
def test_no_patch_crosses_the_margin(size):
    reach = {}
    for split in ("train", "test"):
        patches = MedicalPatches(split, size, 400, seed=3)
        for name in IMAGES:
            lefts = [left for i in range(400) for image, _, left, _, _ in [patches.place(i)] if image == name]
            assert len(lefts) == 200  # images take turns
            reach[split, name] = min(lefts), max(lefts) + min(size, LARGEST)
    for name in IMAGES:
        assert reach["train", name][1] + MARGIN <= reach["test", name][0]
        assert reach["test", name][1] <= picture(name).shape[2]
        assert columns(name, "train", patches.cut)[1] >= patches.cut  # there is room for more than one


def test_a_patch_is_cut_from_the_picture():
    patches = MedicalPatches("train", 32, 20)
    for i in range(20):
        name, top, left, turns, mirrored = patches.place(i)
        patch = patches[i]
        assert patch.shape == (3, 32, 32)
        back = torch.rot90(patch.flip(2) if mirrored else patch, -turns, (1, 2))
        assert torch.equal(back, picture(name)[:, top : top + 32, left : left + 32])


@pytest.mark.parametrize("size", [129, 256, 512])
def test_a_large_patch_is_the_largest_that_fits_enlarged(size):
    large, cut = MedicalPatches("test", size, 12, seed=1), MedicalPatches("test", LARGEST, 12, seed=1)
    for i in range(12):
        assert large.place(i) == cut.place(i)
        assert large[i].shape == (3, size, size)
        assert (large[i].min() >= 0) & (large[i].max() <= 1)
        expected = resize(cut[i][None], (size, size))[0].clamp(0, 1)
        torch.testing.assert_close(large[i], expected, rtol=0, atol=1e-5)
        back = torch.nn.functional.interpolate(large[i][None], (LARGEST, LARGEST), mode="area")[0]
        assert (back - cut[i]).abs().mean() < 0.02


def test_a_tenth_of_the_patches_is_the_first_tenth():
    few, many = MedicalPatches("train", 32, 10), MedicalPatches("train", 32, 100)
    assert all(few.place(i) == many.place(i) for i in range(10))
    assert few.place(3) != MedicalPatches("train", 32, 10, seed=1).place(3)
    assert few.place(-1) == few.place(9)


def test_patches_show_tissue():
    patches = MedicalPatches("test", 64, 100, images=("retina",))
    assert all(float(patch.mean()) > 0.15 for patch in (patches[i] for i in range(100)))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"split": "validation"}, "split"),
        ({"size": 7}, "size"),
        ({"size": 513}, "size"),
        ({"size": 64.0}, "size"),
        ({"size": (64, 64)}, "size"),
        ({"length": 0}, "length"),
        ({"length": 2.5}, "length"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"images": ()}, "images"),
        ({"images": ("brick",)}, "images"),
    ],
)
def test_wrong_arguments_are_refused(arguments, named):
    with pytest.raises(ValueError, match=f"^{named} "):
        MedicalPatches(**arguments)


@pytest.mark.parametrize("index", [5, -6])
def test_a_patch_beyond_the_last_is_an_index_error(index):
    with pytest.raises(IndexError, match=rf"\b5\b.* {index}$"):
        MedicalPatches(length=5)[index]
