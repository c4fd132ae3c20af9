"""Accuracy is the formula, written out slowly; PSNR and SSIM are those of scikit-image."""

import math
import re

import numpy as np
import pytest
import skimage.color
import skimage.metrics
import torch

from nstlib.anime import AnimeFrames
from nstlib.color import lab_to_rgb, rgb_to_lab
from nstlib.images import ImageError
from nstlib.metrics import PerceptualDistance, color_accuracy, edge_agreement, gray_baseline, mean_color, measure, psnr, ssim

NAMES = {"accuracy", "accuracy_5", "accuracy_ab", "accuracy_ab_5", "psnr", "ssim"}


@pytest.fixture(scope="module")
def target():
    """Three real frames; not to be changed in place."""
    frames = AnimeFrames("shots", 48, 3)
    return torch.stack([frames[i] for i in range(3)])


@pytest.fixture(scope="module")
def pred(target):
    """The same, each one more perturbed than the one before."""
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    return (target + noise * torch.tensor([0.01, 0.02, 0.04])[:, None, None, None]).clamp(0, 1)


def of_lab(*colors):
    """An image with a square of 2 x 2 pixels for each color in CIELAB."""
    lab = torch.tensor(colors, dtype=torch.float64).T[None, :, None].repeat_interleave(2, dim=3).expand(1, 3, 2, -1)
    rgb = lab_to_rgb(lab)
    torch.testing.assert_close(rgb_to_lab(rgb), lab, rtol=0, atol=1e-3)  # sRGB has these colors
    return rgb


def slow_accuracy(pred, target, t, channels):
    """The formula for two images, pixel by pixel."""
    pred, target = (skimage.color.rgb2lab(image.permute(1, 2, 0).double().numpy()) for image in (pred, target))
    right = 0
    for y in range(pred.shape[0]):
        for x in range(pred.shape[1]):
            lightness, a, b = (abs(round(pred[y, x, c]) - round(target[y, x, c])) for c in range(3))
            right += (channels == "ab" or lightness <= t) and a <= 2.2 * t + 1e-9 and b <= 2.2 * t + 1e-9
    return right / pred[..., 0].size


# --- accuracy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", ["lab", "ab"])
@pytest.mark.parametrize("threshold", [0, 1, 2, 3.5, 5])
def test_accuracy_is_the_formula(pred, target, threshold, channels):
    expected = [slow_accuracy(p, t, threshold, channels) for p, t in zip(pred, target, strict=True)]
    found = color_accuracy(pred, target, threshold, channels)
    assert found.shape == (3,)
    # single precision may round a value just at .5 the other way: at most one pixel
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.01 / pred[0, 0].numel())
    assert min(expected) > 0
    assert min(expected) < 1


def test_the_default_is_two_percent_of_all_three_channels(pred, target):
    assert torch.equal(color_accuracy(pred, target), color_accuracy(pred, target, 2.0, "lab"))
    assert not torch.equal(color_accuracy(pred, target), color_accuracy(pred, target, 2.0, "ab"))


def accuracy_of(found, true, threshold, channels="lab"):
    return color_accuracy(of_lab(found), of_lab(true), threshold, channels).item()


# 0.90909 is 2 / 2.2, rounded: the limit is meant to be 2
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("channel", [1, 2])
@pytest.mark.parametrize(
    ("threshold", "most"), [(5, 11), (2, 4), (2.5, 5), (1, 2), (0.45, 0), (0.5, 1), (4.99, 10), (10, 22), (0.90909, 2)]
)
def test_the_limit_of_a_and_b_belongs_to_the_right_ones(threshold, most, channel, side):
    base = [60.0, 2.0, 3.0]
    within, beyond = list(base), list(base)
    within[channel] += side * most
    beyond[channel] += side * (most + 1)
    assert accuracy_of(within, base, threshold) == 1
    assert accuracy_of(beyond, base, threshold) == 0
    assert accuracy_of(base, within, threshold, "ab") == 1
    assert accuracy_of(base, beyond, threshold, "ab") == 0


@pytest.mark.parametrize(("threshold", "most"), [(2, 2), (5, 5), (2.5, 2), (1, 1), (0.5, 0), (1.99, 1)])
def test_the_limit_of_lightness_belongs_to_the_right_ones(threshold, most):
    assert accuracy_of((60 + most, 2, 3), (60, 2, 3), threshold) == 1
    assert accuracy_of((60 + most + 1, 2, 3), (60, 2, 3), threshold) == 0
    assert accuracy_of((60 - most - 1, 2, 3), (60, 2, 3), threshold) == 0


@pytest.mark.parametrize("threshold", [0, 2, 5])
def test_accuracy_in_a_and_b_does_not_look_at_lightness(threshold):
    assert accuracy_of((70, 5, 5), (40, 5, 5), threshold, "ab") == 1
    assert accuracy_of((70, 5, 5), (40, 5, 5), threshold, "lab") == 0


@pytest.mark.parametrize(
    ("found", "true", "right"),
    [
        (11.4, 0.0, True),  # 11 from 0, though 11.4 apart
        (11.4, -0.4, True),  # 11 from 0, though 11.8 apart
        (11.6, 0.4, False),  # 12 from 0
        (11.6, 0.6, True),  # 12 from 1
        (-11.4, 0.4, True),
        (-11.6, -0.4, False),
    ],
)
def test_values_are_rounded_before_they_are_compared(found, true, right):
    assert accuracy_of((60, found, 3), (60, true, 3), 5) == right
    assert accuracy_of((60, 3, found), (60, 3, true), 5) == right


def test_a_pixel_must_be_right_in_every_channel():
    true = of_lab(*[(60, 2, 3)] * 5)
    found = of_lab((60, 2, 3), (70, 2, 3), (60, 20, 3), (60, 2, 20), (70, 20, 20))
    assert color_accuracy(found, true, 2).item() == pytest.approx(1 / 5)
    assert color_accuracy(found, true, 2, "ab").item() == pytest.approx(2 / 5)


def test_a_larger_threshold_is_no_stricter(pred, target):
    for channels in ("lab", "ab"):
        curve = torch.stack([color_accuracy(pred, target, t, channels) for t in (0, 0.3, 0.5, 1, 1.7, 2, 5, 20, 100)])
        assert (curve.diff(dim=0) >= 0).all()
        assert (curve[0] < curve[-1]).all()
        assert (curve[-1] == 1).all()
    assert (color_accuracy(pred, target, 2, "ab") >= color_accuracy(pred, target, 2)).all()


def test_threshold_zero_asks_for_the_same_rounded_color(pred, target):
    equal = rgb_to_lab(pred).round() == rgb_to_lab(target).round()
    torch.testing.assert_close(color_accuracy(pred, target, 0), equal.all(dim=1).float().mean(dim=(1, 2)))
    assert (color_accuracy(pred, target, 0) > 0).all()


def test_equal_images_are_right(target):
    for threshold in (0, 2):
        assert torch.equal(color_accuracy(target, target, threshold), torch.ones(3))


def test_more_noise_is_less_right(pred, target):
    for values in measure(pred, target).values():
        assert (values.diff() < 0).all()


# --- PSNR and SSIM ---------------------------------------------------------------------------------------------------


def pairs(*images):
    return zip(*(image.permute(0, 2, 3, 1).double().numpy() for image in images), strict=True)


def test_psnr_is_skimages(pred, target):
    expected = [skimage.metrics.peak_signal_noise_ratio(t, p, data_range=1.0) for p, t in pairs(pred, target)]
    np.testing.assert_allclose(psnr(pred, target), expected, rtol=1e-4)


def test_psnr_of_a_known_error():
    half = torch.full((1, 3, 4, 4), 0.5)
    assert psnr(half + 0.1, half).item() == pytest.approx(20, abs=1e-4)


def test_psnr_of_equal_images_is_infinite(pred, target):
    assert torch.equal(psnr(target, target), torch.full((3,), math.inf))
    mixed = psnr(torch.cat([target[:1], pred[1:]]), target)
    assert mixed[0] == math.inf
    assert torch.isfinite(mixed[1:]).all()


def test_ssim_is_skimages(pred, target):
    # scikit-image, as Wang's own code, leaves out the five pixels at the border, where the window would look beyond
    expected = [
        skimage.metrics.structural_similarity(
            t, p, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for p, t in pairs(pred, target)
    ]
    np.testing.assert_allclose(ssim(pred, target), expected, rtol=0, atol=1e-4)


def test_ssim_of_equal_images_is_one(target):
    torch.testing.assert_close(ssim(target, target), torch.ones(3))


def test_ssim_needs_its_window(target):
    for height, width in ((11, 11), (11, 20), (20, 11)):
        torch.testing.assert_close(ssim(target[..., :height, :width], target[..., :height, :width]), torch.ones(3))
    for height, width in ((10, 20), (20, 10)):
        with pytest.raises(ImageError, match=rf"\b11 .*{width} x {height}"):
            ssim(target[..., :height, :width], target[..., :height, :width])


# --- all together ----------------------------------------------------------------------------------------------------


def test_measure_holds_each_metric(pred, target):
    measured = measure(pred, target)
    assert set(measured) == NAMES
    assert all(values.shape == (3,) for values in measured.values())
    assert torch.equal(measured["accuracy"], color_accuracy(pred, target, 2))
    assert torch.equal(measured["accuracy_5"], color_accuracy(pred, target, 5))
    assert torch.equal(measured["accuracy_ab"], color_accuracy(pred, target, 2, "ab"))
    assert torch.equal(measured["accuracy_ab_5"], color_accuracy(pred, target, 5, "ab"))
    assert torch.equal(measured["psnr"], psnr(pred, target))
    assert torch.equal(measured["ssim"], ssim(pred, target))


def test_an_images_values_do_not_depend_on_its_batch(pred, target):
    together = measure(pred, target)
    for i in range(3):
        alone = measure(pred[i : i + 1], target[i : i + 1])
        for name in NAMES:
            torch.testing.assert_close(alone[name], together[name][i : i + 1], rtol=1e-5, atol=1e-6)


def test_double_precision_changes_little(pred, target):
    for name, values in measure(pred.double(), target.double()).items():
        torch.testing.assert_close(values.float(), measure(pred, target)[name], rtol=1e-4, atol=1e-3)


def test_gray_baseline_has_the_lightness_and_no_color(target):
    gray = gray_baseline(target)
    assert gray.shape == target.shape
    assert gray.min() >= 0
    assert gray.max() <= 1
    lab, true = rgb_to_lab(gray), rgb_to_lab(target)
    assert lab[:, 1:].abs().max() < 0.02
    torch.testing.assert_close(lab[:, :1], true[:, :1], rtol=0, atol=0.01)
    assert (gray.amax(dim=1) - gray.amin(dim=1)).max() < 1e-3  # R = G = B
    assert true[:, 1:].abs().max() > 10  # the frames are not gray themselves


def test_gray_baseline_is_right_where_there_is_little_color(target):
    found = color_accuracy(gray_baseline(target), target, 2)
    rounded = rgb_to_lab(target).round()
    torch.testing.assert_close(found, (rounded[:, 1:].abs() <= 4).all(dim=1).float().mean(dim=(1, 2)), rtol=0, atol=2e-3)


def test_mean_color_is_that_of_all_pixels_in_cielab(target):
    mean = mean_color(target)
    assert mean.shape == (1, 3, 1, 1)
    lab = skimage.color.rgb2lab(target.permute(0, 2, 3, 1).double().numpy())
    np.testing.assert_allclose(mean.flatten(), skimage.color.lab2rgb(lab.reshape(-1, 3).mean(axis=0)), rtol=0, atol=1e-4)
    one = torch.tensor([0.2, 0.7, 0.4])[None, :, None, None]
    torch.testing.assert_close(mean_color(one.expand(2, 3, 8, 8)), one, rtol=0, atol=1e-4)
    with pytest.raises(ImageError, match="NaN"):
        mean_color(with_pixel(math.nan))


# --- refusals --------------------------------------------------------------------------------------------------------

GRAY = torch.full((1, 3, 16, 16), 0.5)
METRICS = [color_accuracy, psnr, ssim, measure]


def with_pixel(value):
    image = GRAY.clone()
    image[0, 1, 3, 4] = value
    return image


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("image", "named"),
    [
        (with_pixel(1.01), r"\b1\.01\b"),
        (with_pixel(-0.01), r"-0\.01\b"),
        (with_pixel(math.nan), "NaN"),
        (with_pixel(math.inf), "NaN or infinity"),
        (GRAY[0], r"\(3, 16, 16\)"),
        (GRAY[:, :1], r"\(1, 1, 16, 16\)"),
        (torch.zeros(1, 4, 16, 16), r"\(1, 4, 16, 16\)"),
        (GRAY[:0], r"\(0, 3, 16, 16\)"),
        (GRAY.to(torch.uint8), "uint8"),
        (GRAY.numpy(), "ndarray"),
    ],
    ids=["over", "under", "nan", "inf", "3-d", "gray", "rgba", "none", "bytes", "numpy"],
)
def test_what_is_no_image_is_refused_by_name(metric, image, named):
    with pytest.raises(ImageError, match=f"^pred: .*{named}"):
        metric(image, GRAY)
    with pytest.raises(ImageError, match=f"^target: .*{named}"):
        metric(GRAY, image)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 3, 16, 17), (1, 3, 17, 16)])
def test_images_of_different_shapes_are_refused(metric, shape):
    with pytest.raises(ImageError, match=rf"pred .*{re.escape(str(shape))}.*\(1, 3, 16, 16\)"):
        metric(torch.zeros(shape), GRAY)


@pytest.mark.parametrize("threshold", [-1, -1e-9, math.nan, math.inf, None, "2", True])
def test_invalid_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match=r"^threshold ") as caught:
        color_accuracy(GRAY, GRAY, threshold)
    assert not isinstance(caught.value, ImageError)


@pytest.mark.parametrize("channels", ["LAB", "rgb", "a", "", None])
def test_invalid_channels_are_refused(channels):
    with pytest.raises(ValueError, match=r"^channels .*lab, ab") as caught:
        color_accuracy(GRAY, GRAY, 2, channels)
    assert not isinstance(caught.value, ImageError)


def test_gray_baseline_refuses_what_is_no_image():
    with pytest.raises(ImageError, match="NaN"):
        gray_baseline(with_pixel(math.nan))


# --- edges, and what VGG sees ----------------------------------------------------------------------------------------


def bars(*columns, width=40):
    """White, with a black bar, four pixels wide, from each of these columns on."""
    image = torch.ones(1, 3, 32, width)
    for x in columns:
        image[..., x : x + 4] = 0
    return image


def agreement(pred, target):
    return [round(float(value), 3) for value in edge_agreement(pred, target).values()]


def test_edges_that_agree_and_edges_that_do_not():
    assert agreement(bars(10), bars(10)) == [1, 1, 1]
    assert agreement(bars(11), bars(10)) == [0, 0, 0]  # a pixel off is off
    assert agreement(bars(22), bars(6)) == [0, 0, 0]
    assert agreement(bars(10, 24), bars(10)) == [0.5, 1, 0.667]
    assert agreement(bars(10), bars(10, 24)) == [1, 0.5, 0.667]
    assert agreement(bars(), bars()) == [1, 1, 1]  # no line, and none missed
    assert agreement(bars(), bars(10)) == [0, 0, 0]


def test_edges_do_not_depend_on_color(target):
    """Where lightness stays, lines stay."""
    gray = target.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert float(edge_agreement(gray, target)["edge_f1"].min()) > 0.8
    assert float(edge_agreement(target.flip(3), target)["edge_f1"].max()) < 0.5


@pytest.fixture(scope="module")
def distance():
    return PerceptualDistance()


def test_perceptual_distance_grows_with_the_noise(distance, pred, target):
    values = distance(pred, target)
    assert values.shape == (3,)
    assert (values[1:] > values[:-1]).all()  # each frame is more perturbed than the one before
    torch.testing.assert_close(distance(target, target), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(distance(target, pred), values)


def test_perceptual_distance_is_the_formula(distance, pred, target):
    features = [distance.extractor(image) for image in (pred[:1], target[:1])]
    expected = 0
    for layer in distance.LAYERS:
        a, b = (f[layer][0].double().numpy() for f in features)
        a, b = (f / np.maximum(np.sqrt((f**2).sum(0)), 1e-12) for f in (a, b))
        expected += ((a - b) ** 2).sum(0).mean() / len(distance.LAYERS)
    assert float(distance(pred[:1], target[:1])) == pytest.approx(expected, rel=1e-4)


def test_edge_agreement_and_perceptual_distance_refuse_bad_pairs(distance, target):
    for compare in (edge_agreement, distance):
        with pytest.raises(ImageError, match=r"\(1, 3, 48, 48\).*\(3, 3, 48, 48\)"):
            compare(target[:1], target)
        with pytest.raises(ImageError, match="NaN"):
            compare(torch.full_like(target, math.nan), target)
