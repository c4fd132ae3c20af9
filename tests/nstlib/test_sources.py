"""The images of a transfer: read, checked, made gray where colors are kept, put together again."""

import math

import numpy as np
import PIL.Image
import pytest
import torch

import nstlib
from nstlib.assets import DATA
from nstlib.color import luma_bt601
from nstlib.images import resize
from nstlib.sources import digest, gray, read_init, read_sources, style_size

CPU = torch.device("cpu")


def noise(seed=0, height=40, width=48):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def read(content=None, style=None, style_blend=None, masks=None, preserve_color=False):
    content, style = (noise(i) if given is None else given for i, given in enumerate((content, style)))
    return read_sources(content, style, style_blend, masks, preserve_color, CPU)


# what is read


def test_reads_paths_and_tensors_one_style_or_several():
    one = read(DATA / "washington.jpg", DATA / "scream.jpg")
    assert one.content.shape[:2] == one.styles[0].shape[:2] == (1, 3)
    assert (len(one.styles), one.blend, one.masks) == (1, [1.0], None)
    several = read(style=(noise(1), DATA / "toronto.png", noise(2)))
    assert several.blend == pytest.approx([1 / 3] * 3)
    assert torch.equal(several.styles[2], noise(2))


def test_only_proportions_of_a_blend_count():
    assert read(style=[noise(1), noise(2)], style_blend=[3, 1]).blend == pytest.approx([0.75, 0.25])
    assert read(style=[noise(1), noise(2)], style_blend=(0, 2.0)).blend == [0, 1]


def test_masks_may_have_two_dimensions_or_four_and_any_size():
    masks = read(style=[noise(1), noise(2)], masks=[torch.ones(5, 7), torch.ones(1, 1, 30, 9, dtype=torch.uint8)]).masks
    assert [tuple(mask.shape) for mask in masks] == [(1, 1, 5, 7), (1, 1, 30, 9)]
    assert all(mask.dtype == torch.float32 for mask in masks)


def test_target_has_the_longer_side_asked_for():
    sources = read()
    assert sources.target(24).shape == (1, 3, 20, 24)
    torch.testing.assert_close(sources.target(24), resize(noise(0), 24))


# what a transfer starts as


def test_first_image():
    sources, shape = read(), (1, 3, 10, 12)
    assert torch.equal(sources.first_image("content", shape, 0), sources.content)
    assert torch.equal(sources.first_image("style", shape, 0), sources.styles[0])
    start = sources.first_image("noise", shape, 3)
    assert start.shape == shape
    assert start.min() >= 0
    assert start.max() <= 1
    assert torch.equal(start, sources.first_image("noise", shape, 3))
    assert not torch.equal(start, sources.first_image("noise", shape, 4))


def test_noise_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    read().first_image("noise", (1, 3, 8, 8), 0)
    assert torch.equal(torch.rand(3), expected)


# colors that are kept


def test_without_preserve_color_images_are_as_they_are():
    sources = read()
    assert torch.equal(sources.content, noise(0))
    assert torch.equal(sources.styles[0], noise(1))
    assert torch.equal(sources.finished(noise(2)), noise(2))


def test_with_preserve_color_a_transfer_sees_gray_alone():
    sources = read(preserve_color=True)
    for image in (sources.target(24), *sources.styles, sources.first_image("content", (), 0)):
        torch.testing.assert_close(image, gray(image))
    assert torch.equal(sources.content, noise(0)), "its colors are needed in the end"


def test_with_preserve_color_the_style_has_the_contents_brightness():
    """Mean and spread of luma, where nothing is clipped."""
    content, style = 0.4 + 0.2 * noise(0), 0.9 * noise(1)
    (matched,) = read(content, style, preserve_color=True).styles
    luma = luma_bt601(content)
    assert matched.mean().item() == pytest.approx(luma.mean().item(), abs=1e-3)
    assert matched[:, :1].std().item() == pytest.approx(luma.std().item(), rel=0.01)


def test_finished_has_the_images_luma_under_the_contents_colors():
    content = 0.4 + 0.2 * noise(0)
    image = gray(0.45 + 0.1 * noise(1, 20, 24))
    finished = read(content, preserve_color=True).finished(image)
    small = resize(content, (20, 24))
    torch.testing.assert_close(luma_bt601(finished), luma_bt601(image))
    torch.testing.assert_close(finished - luma_bt601(finished), small - luma_bt601(small), atol=1e-5, rtol=0)


def test_finished_can_be_shown():
    finished = read(preserve_color=True).finished(noise(2))
    assert finished.min() >= 0
    assert finished.max() <= 1


def test_gray_is_luma_three_times():
    image = noise(0)
    expected = image.mul(torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1)
    for channel in gray(image).unbind(dim=1):
        torch.testing.assert_close(channel, expected)


# digests


def test_digest_tells_values_and_shapes_apart():
    image = noise(0)
    assert digest([image]) == digest([image.clone()])
    others = [[image + 1e-6], [image.reshape(1, 3, 48, 40)], [image, image], []]
    assert len({digest(tensors) for tensors in [[image], *others]}) == 5


def test_digest_is_of_values_not_of_memory():
    image = noise(0)
    assert digest([image.to(memory_format=torch.channels_last)]) == digest([image])
    assert digest([image.double()]) == digest([image])


# what cannot be used


@pytest.mark.parametrize(
    ("content", "style", "name"),
    [
        ("missing.jpg", None, r"content.*missing\.jpg"),
        (None, "missing.jpg", r"style.*missing\.jpg"),
        (None, [noise(1), b"broken"], r"style\[1\].* 6 "),
        (torch.full((1, 3, 40, 40), math.nan), None, "content.*NaN"),
        (torch.full((1, 3, 40, 40), 7.0), None, "content.*7"),
        (noise(0)[0], None, "content.*3, 40, 48"),
    ],
)
def test_bad_images_are_named(content, style, name):
    with pytest.raises(nstlib.ImageError, match=name):
        read(content, style)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"style": []}, "style"),
        ({"style_blend": [1, 2]}, "style_blend.* 2 .* 1 "),
        ({"style_blend": [math.nan]}, "style_blend"),
        ({"style_blend": [-1]}, "style_blend"),
        ({"style_blend": [0]}, "style_blend"),
        ({"style_blend": 0.5}, "style_blend.*0.5"),
        ({"masks": []}, "masks.* 0 .* 1 "),
        ({"masks": [torch.zeros(8, 8)]}, r"masks\[0\]"),
        ({"masks": [torch.full((8, 8), 2.0)]}, r"masks\[0\]"),
        ({"masks": [torch.full((8, 8), math.nan)]}, r"masks\[0\]"),
        ({"masks": [torch.ones(0, 8)]}, r"masks\[0\]"),
        ({"masks": [torch.ones(3, 8, 8)]}, r"masks\[0\]"),
        ({"masks": [torch.ones(2, 1, 8, 8)]}, r"masks\[0\]"),
        ({"masks": ["left"]}, r"masks\[0\]"),
        ({"masks": torch.ones(1, 1, 8, 8)}, "masks.*Tensor"),
        ({"style": [noise(1), noise(2)], "masks": [torch.ones(8, 8), -torch.ones(8, 8)]}, r"masks\[1\]"),
    ],
)
def test_bad_arguments_are_named(settings, name):
    with pytest.raises(ValueError, match=name):
        read(**settings)


# masks, long and narrow styles, and what a transfer starts as


def test_masks_come_from_tensors_arrays_files_and_pictures(tmp_path):
    white = torch.zeros(20, 30)
    white[:10] = 1
    pixels = (white.numpy() * 255).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "mask.png")
    given = [
        white,
        white[None, None].double(),
        white.clone().requires_grad_(),
        white.byte() * 255,
        white.numpy(),
        white.numpy().astype(float)[::-1][::-1],
        pixels,
        PIL.Image.fromarray(pixels),
        PIL.Image.fromarray(pixels).convert("RGB"),
        (tmp_path / "mask.png").read_bytes(),
        tmp_path / "mask.png",
        str(tmp_path / "mask.png"),
    ]
    for mask in given:
        (found,) = read(masks=[mask]).masks
        torch.testing.assert_close(found, white[None, None])
        assert not found.requires_grad


@pytest.mark.parametrize("mask", ["/no/such/mask.png", b"no picture", np.zeros((4, 4), np.uint8), np.full((9, 9), 3.0), None])
def test_invalid_masks_are_named(mask):
    with pytest.raises(ValueError, match=r"masks\[1\]") as caught:
        read(style=[noise(1), noise(2)], masks=[torch.ones(4, 4), mask])
    assert len(str(caught.value)) < 500


def test_a_blend_together_with_masks_is_refused():
    two = {"style": [noise(1), noise(2)], "masks": [torch.ones(8, 8), torch.ones(8, 8)]}
    assert read(**two).masks is not None
    with pytest.raises(ValueError, match=r"style_blend.*masks"):
        read(**two, style_blend=[1, 0])


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [(40, 48, 512, 512), (60, 900, 512, 512), (60, 900, 160, 480), (900, 60, 160, 480), (32, 32, 20.4, 32), (40, 48, 95.6, 96)],
)
def test_a_style_is_never_matched_too_narrow(height, width, size, expected):
    style = noise(0, height, width)
    assert style_size(style, size) == expected
    assert min(resize(style, style_size(style, size)).shape[2:]) >= 32


def test_a_transfer_starts_as_what_is_named_or_as_any_image():
    for name in ("content", "style", "noise"):
        assert read_init(name, CPU) == name
    assert torch.equal(read_init(noise(3), CPU), noise(3))
    assert torch.equal(read_init(DATA / "toronto.png", CPU), nstlib.load_image(DATA / "toronto.png"))
    sources = read()
    assert torch.equal(sources.first_image(noise(3, 50, 50), (1, 3, 8, 8), 0), noise(3, 50, 50))
    in_gray = read(preserve_color=True).first_image(noise(3), (1, 3, 8, 8), 0)
    torch.testing.assert_close(in_gray, gray(noise(3)))


@pytest.mark.parametrize("init", ["nothing", b"\x00" * 9999, torch.rand(3, 999, 9), torch.rand(1, 3, 999, 9) * 255, 7, None])
def test_what_a_transfer_cannot_start_as_is_named_without_its_data(init):
    with pytest.raises(nstlib.ImageError, match=r"init.*content, style, noise") as caught:
        read_init(init, CPU)
    assert len(str(caught.value)) < 500


def test_images_with_a_gradient_in_double_precision_or_of_inference_mode_are_taken():
    with torch.inference_mode():
        inferred = noise(1)
    sources = read(noise(0).double().requires_grad_(), inferred)
    for image in (sources.content, *sources.styles):
        assert (image.dtype, image.requires_grad) == (torch.float32, False)
