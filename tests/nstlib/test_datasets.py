"""Datasets are checked item by item, and told apart."""

import warnings

import pytest
import torch

from nstlib.datasets import SAMPLE, CheckedFrames, digest, warn_if_gray
from nstlib.images import ImageError


def frames(count=12, height=16, width=20, seed=0):
    return list(torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)))


def test_frames_come_in_single_precision_and_without_autograd():
    checked = CheckedFrames([frame.double().requires_grad_() for frame in frames()])
    assert len(checked) == 12
    assert checked[0].dtype == torch.float32
    assert not checked[0].requires_grad
    assert checked.batch([1, 3]).shape == (2, 3, 16, 20)
    assert torch.equal(checked.batch([1, 3])[1], frames()[3])


def test_an_empty_dataset_is_refused():
    with pytest.raises(ImageError):
        CheckedFrames([])


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ((torch.rand(3, 16, 20), 1), "tuple"),
        (torch.rand(3, 16, 16), r"\(3, 16, 16\).*\(3, 16, 20\)"),
        (torch.rand(1, 3, 16, 20), r"\(1, 3, 16, 20\)"),
        (torch.rand(1, 16, 20), r"\(1, 16, 20\)"),
        ((torch.rand(3, 16, 20) * 255).byte(), "uint8"),
        (torch.rand(3, 16, 20).numpy(), "ndarray"),
        (None, "NoneType"),
    ],
    ids=["label", "size", "batch", "gray", "bytes", "numpy", "None"],
)
def test_an_item_that_is_no_frame_is_named(item, named):
    dataset = frames()
    dataset[5] = item
    with pytest.raises(ImageError, match=f"frame 5 .*{named}") as caught:
        CheckedFrames(dataset)[5]
    assert len(str(caught.value)) < 500
    if not isinstance(item, torch.Tensor) or item.shape != (3, 16, 16):
        with pytest.raises(ImageError, match="frame 0 "):
            CheckedFrames([item])


def test_the_shorter_side_may_be_asked_for():
    assert len(CheckedFrames(frames(), 16)) == 12
    with pytest.raises(ImageError, match=r"\b16\b.*\b20\b"):
        CheckedFrames(frames(), 20)


def test_line_art_beside_the_colors():
    four = [torch.rand(4, 16, 16)] * 2
    assert CheckedFrames(four, channels=4).batch([0, 1]).shape == (2, 4, 16, 16)
    with pytest.raises(ImageError, match=r"\(3, H, W\)"):
        CheckedFrames(four)
    with pytest.raises(ImageError, match=r"\(4, H, W\)"):
        CheckedFrames(frames(), channels=4)


def test_the_sample_is_spread_over_the_dataset():
    dataset = frames(3 * SAMPLE)
    assert torch.equal(CheckedFrames(dataset).sample(), torch.stack(dataset[::3]))
    assert len(CheckedFrames(dataset[:3]).sample()) == 3


def test_digests_tell_datasets_apart():
    one = digest(CheckedFrames(frames()))
    assert digest(CheckedFrames(frames())) == one
    assert digest(CheckedFrames([frame.double() for frame in frames()])) == one
    assert digest(CheckedFrames(frames(seed=1))) != one
    assert digest(CheckedFrames(frames()[::-1])) != one


def test_frames_that_are_new_each_time_are_not_told_apart():
    class Random:
        def __len__(self):
            return 12

        def __getitem__(self, index):
            return torch.rand(3, 16, 16)

    assert digest(CheckedFrames(Random())) == digest(CheckedFrames(Random()))


@pytest.mark.parametrize("line_art", [False, True])
def test_gray_frames_warn(line_art):
    """Line-art beside them does not count."""

    def checked(dataset):
        if not line_art:
            return CheckedFrames(dataset)
        return CheckedFrames([torch.cat([1 - frame[:1], frame]) for frame in dataset], channels=4)

    gray = [frame[:1].expand(3, -1, -1) for frame in frames()]
    with pytest.warns(RuntimeWarning):
        warn_if_gray(checked(gray))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_gray(checked(frames()))
        warn_if_gray(checked([*frames(2), *gray]))
