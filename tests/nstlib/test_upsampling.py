"""Colors from a small size: they follow the gray, keep its luma, and are nearer to the truth than interpolated ones."""

import math

import pytest
import torch

from nstlib.anime import AnimeFrames
from nstlib.color import luma_bt709
from nstlib.images import ImageError, resize
from nstlib.metrics import color_accuracy
from nstlib.upsampling import guided_upsample

RED = torch.tensor([0.2, -0.04, 0.0])[:, None, None]
RED = RED - luma_bt709(RED[None])[0]  # chroma: no luma of its own


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def interpolated(colors, gray):
    colors = resize(colors, tuple(gray.shape[2:]))
    return (colors + gray - luma_bt709(colors)).clamp(0, 1)


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (64, 48), (100, 9), (5, 7)])
def test_the_result_has_the_grays_size_and_luma(size):
    colors, gray = 0.4 + 0.2 * noise(2, 3, 16, 12), 0.4 + 0.2 * noise(2, 1, *size, seed=1)
    result = guided_upsample(colors, gray)
    assert result.shape == (2, 3, *size)
    torch.testing.assert_close(luma_bt709(result), gray)


def test_at_their_own_size_colors_stay_as_they_are():
    colors = noise(1, 3, 20, 30)
    torch.testing.assert_close(guided_upsample(colors, luma_bt709(colors)), colors)


def test_without_chroma_the_result_is_the_gray():
    gray = noise(1, 1, 40, 60)
    torch.testing.assert_close(guided_upsample(noise(1, 1, 10, 15).expand(-1, 3, -1, -1), gray), gray.expand(-1, 3, -1, -1))


def test_chroma_that_goes_with_gray_is_found_again():
    x = torch.linspace(0, 6 * math.pi, 96)
    gray = (0.5 + 0.2 * torch.sin(x) * torch.sin(x[:, None]))[None, None]
    truth = gray + gray * RED
    small = resize(truth, 24)
    assert (guided_upsample(small, gray) - truth).abs().max() < 0.01


def test_colors_do_not_bleed_over_an_edge():
    gray = torch.full((1, 1, 64, 64), 0.3)
    gray[..., 28:] = 0.7
    truth = gray + (gray > 0.5) * RED
    small = resize(truth, 16)
    guided, plain = (((f(small, gray) - truth).abs().amax(dim=1)) for f in (guided_upsample, interpolated))
    assert guided.max() < plain.max() / 2
    assert guided.mean() < plain.mean() / 3


def test_frames_have_fewer_wrong_colors_than_interpolated_ones():
    frames = AnimeFrames("validation", 512, 4)
    truth = torch.stack([frames[i] for i in range(4)])
    small, gray = resize(truth, 256), luma_bt709(truth)
    for t in (2, 5):
        guided, plain = (1 - color_accuracy(f(small, gray), truth, t).mean() for f in (guided_upsample, interpolated))
        assert guided < 0.6 * plain


def test_a_batch_is_its_images():
    colors, gray = noise(3, 3, 12, 16), noise(3, 1, 40, 50)
    alone = [guided_upsample(colors[i : i + 1], gray[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(guided_upsample(colors, gray), torch.cat(alone))


def test_extremes_stay_in_range_and_finite():
    """Colors at the ends of their range, gray that is flat or black and white."""
    colors = noise(1, 3, 8, 8).round()
    for gray in (torch.zeros(1, 1, 50, 50), torch.ones(1, 1, 50, 50), noise(1, 1, 50, 50).round()):
        result = guided_upsample(colors, gray)
        assert torch.isfinite(result).all()
        assert 0 <= result.min() <= result.max() <= 1


def test_any_floating_point_type_and_gradients_are_taken():
    colors, gray = noise(1, 3, 8, 8), noise(1, 1, 20, 20)
    expected = guided_upsample(colors, gray)
    torch.testing.assert_close(guided_upsample(colors, gray.double()), expected)
    torch.testing.assert_close(guided_upsample(colors.double(), gray).float(), expected)
    colors.requires_grad_()
    guided_upsample(colors, gray).sum().backward()
    assert torch.isfinite(colors.grad).all()
    assert torch.equal(gray, noise(1, 1, 20, 20)), "the arguments are left as they are"


@pytest.mark.parametrize(
    ("colors", "gray", "named"),
    [
        (torch.ones(1, 1, 8, 8), torch.ones(1, 1, 16, 16), "colors"),
        (torch.full((1, 3, 8, 8), math.nan), torch.ones(1, 1, 16, 16), "colors"),
        (torch.ones(1, 3, 8, 8), torch.ones(1, 3, 16, 16), "gray"),
        (torch.ones(1, 3, 8, 8), torch.full((1, 1, 16, 16), 255.0), "gray"),
        (torch.ones(2, 3, 8, 8), torch.ones(1, 1, 16, 16), "gray"),
        ("colors", torch.ones(1, 1, 16, 16), "colors"),
    ],
)
def test_what_is_no_image_is_refused(colors, gray, named):
    with pytest.raises(ImageError, match=f"^{named}"):
        guided_upsample(colors, gray)
