"""Conditions are those of scikit-image and, for XDoG, of the formula in SciPy; one convention holds for all of them."""

import json
import math

import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import skimage.color
import skimage.feature
import skimage.filters
import torch
import torch.nn.functional as F

from nstlib import edges
from nstlib.anime import AnimeFrames
from nstlib.assets import asset_path
from nstlib.edges import Condition, canny, canny_steps, grayscale, mixed, sobel, xdog
from nstlib.images import ImageError, load_image

BACKGROUNDS = ("club", "lecturehall", "meadow", "uni")
OPERATORS = {name: operator for name, operator in edges.OPERATORS.items() if name != "given"}  # that takes four channels
CONDITIONS = [Condition(name) for name in OPERATORS]
DIFFERENTIABLE = [grayscale, sobel, lambda image: sobel(image, sigma=1.0), xdog]
NAMES = ["grayscale", "sobel", "blurred sobel", "xdog"]


@pytest.fixture(scope="module")
def frames():
    """Real frames at 64 and 128 pixels, each of shape (1, 3, H, W); not to be changed in place."""
    return [AnimeFrames(split, size, 2)[i][None] for split in ("train", "scenes") for size in (64, 128) for i in range(2)]


@pytest.fixture(scope="module")
def batch():
    """Three real frames in one batch."""
    return torch.stack([AnimeFrames("shots", (48, 64), 3)[i] for i in range(3)])


def luma(image):
    """Shape (H, W), by scikit-image, in double precision."""
    return skimage.color.rgb2gray(image[0].permute(1, 2, 0).double().numpy())


def noise(height=20, width=30, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def halves():
    """Black on the left, white on the right."""
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8:] = 1
    return image


# --- grayscale -------------------------------------------------------------------------------------------------------


def test_grayscale_is_skimages(frames):
    for image in (*frames, noise()):
        np.testing.assert_allclose(grayscale(image)[0, 0], luma(image), rtol=0, atol=1e-6)
        np.testing.assert_allclose(grayscale(image.double())[0, 0], luma(image), rtol=0, atol=1e-12)


# --- Canny -----------------------------------------------------------------------------------------------------------


# without blur, frames of 256 levels leave many faint neighbors equal, and the last bit decides which is the ridge
@pytest.mark.parametrize(
    ("sigma", "low", "high"),
    [
        *((sigma, 0.1, 0.2) for sigma in (0, 0.1, 0.5, 1, 1.4, 2, 3.7)),
        *((sigma, low, high) for sigma in (0, 1, 2) for low, high in ((0.3, 0.3), (0.5, 1.5), (0.1, 9))),
        *((sigma, 0.01, 0.02) for sigma in (0.5, 1, 2)),
    ],
)
def test_canny_is_skimages_to_the_pixel(frames, sigma, low, high):
    for image in frames:
        expected = skimage.feature.canny(luma(image), sigma, low, high)
        assert np.array_equal(canny(image.double(), sigma, low, high)[0, 0] == 0, expected)
        assert ((canny(image, sigma, low, high)[0, 0] == 0).numpy() != expected).sum() <= 1  # single precision


def test_cannys_defaults_are_skimages(frames):
    for image in frames:
        lines = canny(image.double())[0, 0].numpy() == 0
        assert np.array_equal(lines, skimage.feature.canny(luma(image)))
        assert 0.02 < lines.mean() < 0.5


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize("sigma", [0, 1, 2])
def test_canny_is_skimages_on_backgrounds(name, sigma):
    # without blur and resizing, many neighbors are equal, and the last bit decides
    image = load_image(asset_path(name))[..., 240:, :640]
    expected = skimage.feature.canny(luma(image), sigma)
    wrong = ((canny(image, sigma)[0, 0] == 0).numpy() != expected).sum()
    assert wrong <= (1e-3 * expected.sum() if sigma == 0 else 1)
    assert expected.sum() > 1000


def test_canny_is_skimages_on_noise():
    for seed in range(3):
        image = noise(seed=seed).double()
        for sigma in (0, 1, 2):
            expected = skimage.feature.canny(luma(image), sigma)
            assert np.array_equal(canny(image, sigma)[0, 0] == 0, expected)


def test_canny_draws_a_step_as_one_line():
    lines = canny(halves(), sigma=1.0)[0, 0] == 0
    assert set(lines[1:-1].sum(dim=1).tolist()) <= {1, 2}  # of the two columns at the step, equally steep, one or both
    assert not lines[:, :6].any()
    assert not lines[:, 10:].any()


def test_cannys_thresholds_are_in_units_of_sobels_kernel():
    # the kernel 1-2-1 gives a step from black to white the magnitude 4
    assert (canny(halves(), 0, 0, 3.9) == 0).any()
    assert (canny(halves(), 0, 0, 4.1) == 1).all()


def test_hysteresis_keeps_weak_lines_that_hang_on_a_strong_one():
    image = torch.zeros(1, 3, 16, 40)
    image[..., 8:, :20] = torch.linspace(1, 0.1, 20)  # one edge, fading from strong to weak
    image[..., 8:, 30:] = 0.1  # and one that is weak alone
    lines = canny(image, sigma=0, low=0.2, high=2)[0, 0] == 0
    assert lines[:, 1:19].any(dim=0).all()
    assert not lines[:, 32:38].any()
    both = canny(image, sigma=0, low=0.2, high=0.3)[0, 0] == 0
    assert both[:, 32:38].any(dim=0).all()


def test_hysteresis_does_not_reach_from_image_to_image():
    strong, weak = halves(), halves() * 0.1
    assert (canny(weak, 0, 0.2, 2) == 1).all()
    result = canny(torch.cat([weak, strong, weak]), 0, 0.2, 2)
    assert (result[1] == 0).any()
    assert (result[[0, 2]] == 1).all()


def test_cannys_steps_lead_from_the_luma_to_its_lines(frames):
    for image in (*frames, noise()):
        steps = canny_steps(image)
        assert list(steps) == ["smoothed", "magnitude", "weak", "strong", "lines"]
        assert {tuple(step.shape) for step in steps.values()} == {(1, 1, *image.shape[2:])}
        assert torch.equal(steps["lines"], canny(image))
        magnitude, weak, strong, ink = (steps[name] for name in ("magnitude", "weak", "strong", "lines"))
        assert steps["smoothed"].min() >= 0
        assert steps["smoothed"].max() <= 1 + 1e-6
        assert magnitude.max() <= 4 * 2**0.5
        assert magnitude[weak == 1].min() >= 0.1
        assert magnitude[strong == 1].min() >= 0.2
        assert set(weak.unique().tolist()) == {0, 1}
        assert (strong <= 1 - ink).all()
        assert (1 - ink <= weak).all()


def test_cannys_smoothed_luma_is_scipys_gaussian_inside_the_image():
    image = noise(40, 50)
    smoothed = canny_steps(image, sigma=2)["smoothed"][0, 0]
    expected = scipy.ndimage.gaussian_filter(luma(image), 2, mode="constant")
    np.testing.assert_allclose(smoothed[8:-8, 8:-8], expected[8:-8, 8:-8], rtol=0, atol=1e-6)


def test_canny_carries_no_gradient():
    image = noise().requires_grad_()
    assert not canny(image).requires_grad
    assert image.grad is None


@pytest.mark.parametrize("size", [(64, 64), (200, 320), (600, 640)], ids=str)
@pytest.mark.parametrize("operator", [canny, sobel, xdog], ids=["canny", "sobel", "xdog"])
def test_big_batches_are_taken_in_pieces_without_a_trace(operator, size, monkeypatch):
    several = -(-(2**18 + 1) // (size[0] * size[1]))  # one more than a piece holds
    images = torch.cat([noise(*size, seed).requires_grad_() for seed in range(max(2, several))])
    shapes, whole = [], edges.luma_bt709
    monkeypatch.setattr(edges, "luma_bt709", lambda image: shapes.append(image.shape) or whole(image))
    found = operator(images)
    assert len(shapes) == 2
    monkeypatch.setattr(edges, "_in_pieces", lambda lines, images: lines(images))
    assert torch.equal(found, operator(images))
    assert found.requires_grad == (operator is not canny)


# --- the gradient ----------------------------------------------------------------------------------------------------


def test_gradient_is_scipys_sobel_downwards_and_to_the_right():
    gray = grayscale(noise().double())
    for axis, found in enumerate(edges.gradient(gray)):
        np.testing.assert_allclose(found[0, 0], scipy.ndimage.sobel(gray[0, 0].numpy(), axis, mode="nearest"), atol=1e-12)
    down, right = edges.gradient(grayscale(halves()))
    torch.testing.assert_close(right[..., 7:9], torch.full((1, 1, 16, 2), 4.0))
    assert down.abs().max() < 1e-6


# --- Sobel -----------------------------------------------------------------------------------------------------------


def test_sobel_is_skimages(frames):
    for image in (*frames, noise()):
        expected = 1 - skimage.filters.sobel(luma(image))
        np.testing.assert_allclose(sobel(image)[0, 0], expected, rtol=0, atol=2e-6)
        np.testing.assert_allclose(sobel(image.double())[0, 0], expected, rtol=0, atol=1.01e-6)


@pytest.mark.parametrize("sigma", [0.5, 1, 2.5])
def test_sobel_after_a_blur_is_skimages(frames, sigma):
    for image in frames:
        expected = 1 - skimage.filters.sobel(scipy.ndimage.gaussian_filter(luma(image), sigma, mode="nearest"))
        np.testing.assert_allclose(sobel(image, sigma)[0, 0], expected, rtol=0, atol=3e-6)


def test_sobels_darkest_lines_are_as_documented():
    assert 1 - sobel(halves()).min().item() == pytest.approx(1 / math.sqrt(2), abs=1e-6)
    # the magnitude is convex, so that its maximum lies among all patterns of black and white
    patterns = torch.tensor([[(i >> bit) & 1 for bit in range(9)] for i in range(512)], dtype=torch.float32)
    most = 1 - sobel(patterns.view(512, 1, 3, 3).expand(-1, 3, -1, -1))[:, :, 1, 1].min().item()
    assert most == pytest.approx(math.sqrt(20 / 32), abs=1e-6)
    assert most < 0.791


def test_sobel_above_a_threshold_is_black_and_all_else_white(frames):
    for image in frames:
        strength, lines = 1 - sobel(image, sigma=0.5), sobel(image, sigma=0.5, threshold=0.1)
        assert set(lines.unique().tolist()) == {0, 1}
        assert torch.equal(lines == 0, strength > 0.1)


@pytest.mark.parametrize("threshold", [-0.1, math.inf, math.nan])
def test_no_threshold_of_sobels(threshold):
    with pytest.raises(ValueError, match=f"threshold .*{threshold}") as caught:
        sobel(halves(), threshold=threshold)
    assert not isinstance(caught.value, ImageError)


def test_mixed_lines_are_of_all_kinds(batch):
    images = torch.cat([noise(48, 64, seed) for seed in range(12)])
    kinds = set()
    for image, lines in zip(images, mixed(images), strict=True):
        found = [operator for operator in (canny, sobel, xdog) if torch.allclose(operator(image[None])[0], lines, atol=1e-6)]
        assert len(found) == 1
        kinds.update(found)
    assert len(kinds) == 3
    with pytest.raises(ImageError):
        mixed(batch[:, :1])


def test_sobels_lines_are_as_dark_as_the_edge_is_strong():
    darkness = [1 - sobel(halves() * strength).min().item() for strength in (0.25, 0.5, 1)]
    assert darkness == pytest.approx([darkness[2] / 4, darkness[2] / 2, darkness[2]], abs=1e-5)


# --- XDoG ------------------------------------------------------------------------------------------------------------


def plain_xdog(gray, sigma, k, p, epsilon, phi):
    """Winnemöller et al. 2012, Eq. (7), then Eq. (5)."""
    narrow, wide = (scipy.ndimage.gaussian_filter(gray, s, mode="nearest") for s in (sigma, k * sigma))
    u = (1 + p) * narrow - p * wide
    return np.array([[1 if v >= epsilon else 1 + np.tanh(phi * (v - epsilon)) for v in row] for row in u])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sigma": 1.4, "k": 2.0},
        {"p": 0.0, "epsilon": 0.5},
        {"p": 60.0, "epsilon": 0.3, "phi": 2.5},
        {"epsilon": -0.2, "phi": 0.5},
        {"phi": 0.0},
        {"epsilon": 1.5},
    ],
)
def test_xdog_is_the_formula(frames, settings):
    defaults = {"sigma": 0.8, "k": 1.6, "p": 20.0, "epsilon": 0.6, "phi": 10.0}
    for image in frames[::3]:
        expected = plain_xdog(luma(image), **{**defaults, **settings})
        np.testing.assert_allclose(xdog(image.double(), **settings)[0, 0], expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(xdog(image, **settings)[0, 0], expected, rtol=0, atol=2e-3)


def test_xdog_inks_the_dark_side_of_an_edge():
    image = 0.7 + 0.3 * halves()
    lines = xdog(image)[0, 0]
    assert (lines[:, 7] < 0.1).all()  # the darker side
    assert (lines[:, 8:] == 1).all()
    assert (lines[:, 0] == 1).all()


# --- one convention --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", CONDITIONS, ids=OPERATORS)
def test_a_batch_is_its_images(batch, condition):
    batch = batch.double()  # single precision adds up in another order for another batch
    together = condition(batch)
    assert together.shape == (3, 1, 48, 64)
    torch.testing.assert_close(together, torch.cat([condition(image[None]) for image in batch]), rtol=0, atol=1e-9)
    torch.testing.assert_close(condition(batch.flip(0)), together.flip(0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("condition", CONDITIONS, ids=OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_range_and_type(batch, condition, dtype):
    for images in (batch.to(dtype), noise().to(dtype), noise().round().to(dtype), torch.ones(1, 3, 8, 8, dtype=dtype)):
        result = condition(images)
        assert result.dtype == dtype
        assert result.device == images.device
        assert result.min() >= 0
        assert result.max() <= 1


@pytest.mark.parametrize("operator", [canny, sobel, xdog])
def test_lines_are_dark_on_white_paper(batch, operator):
    lines = operator(batch)
    assert lines.max() > 1 - 1e-5
    assert lines.min() < 0.7
    if operator is xdog:
        assert lines.mean() > 0.4
        return  # inks one side of an edge, and shadows
    assert lines.mean() > 0.5
    # darker where scikit-image finds edges than elsewhere
    edges = torch.stack([torch.from_numpy(skimage.feature.canny(luma(image[None]))) for image in batch])[:, None]
    assert lines[edges].mean() < lines[~edges].mean() - 0.1


def test_canny_knows_black_and_white_only(batch):
    assert canny(batch).unique().tolist() == [0, 1]


@pytest.mark.parametrize("sigma", [0, 1, 3])
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("operator", [canny, sobel])
def test_a_flat_image_is_white(operator, level, sigma):
    flat = torch.full((1, 3, 12, 17), level)
    torch.testing.assert_close(operator(flat, sigma), torch.ones(1, 1, 12, 17), rtol=0, atol=1e-5 if operator is sobel else 0)


def test_xdog_leaves_flat_paper_white_above_epsilon_and_inks_shadows():
    for sigma in (0.8, 3):
        for level, expected in ((1.0, 1), (0.7, 1), (0.5, 1 + math.tanh(-1)), (0.0, 1 + math.tanh(-6))):
            flat = torch.full((1, 3, 12, 17), level)
            torch.testing.assert_close(xdog(flat, sigma), torch.full((1, 1, 12, 17), float(expected)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("condition", CONDITIONS, ids=OPERATORS)
def test_the_smallest_images(condition):
    assert condition(noise(2, 2)).shape == (1, 1, 2, 2)
    assert condition(noise(2, 9)).shape == (1, 1, 2, 9)


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", DIFFERENTIABLE, ids=NAMES)
def test_gradients_are_finite_everywhere(batch, operator):
    flats = [torch.full((1, 3, 8, 8), level) for level in (0.0, 0.3, 0.6, 1.0)]
    for images in (batch, halves(), *flats):
        images = images.clone().requires_grad_()
        operator(images).square().sum().backward()
        assert torch.isfinite(images.grad).all()


@pytest.mark.parametrize("operator", DIFFERENTIABLE, ids=NAMES)
def test_gradients_reach_the_image(batch, operator):
    images = batch.clone().requires_grad_()
    operator(images).sum().backward()
    assert (images.grad != 0).float().mean() > 0.01


@pytest.mark.parametrize("operator", DIFFERENTIABLE, ids=NAMES)
def test_gradients_are_those_of_finite_differences(operator):
    image = (noise(5, 6, seed=3).double() * 0.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(operator, (image,))


# --- refusals --------------------------------------------------------------------------------------------------------


def with_pixel(value):
    image = noise()
    image[0, 1, 3, 4] = value
    return image


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize(
    ("image", "named"),
    [
        (with_pixel(1.01), r"\b1\.01\b"),
        (with_pixel(-0.01), r"-0\.01\b"),
        (noise() * 255, r"\b255\b"),
        (with_pixel(math.nan), "NaN"),
        (with_pixel(math.inf), "NaN or infinity"),
        (noise()[0], r"\(3, 20, 30\)"),
        (noise()[:, :1], r"\(1, 1, 20, 30\)"),
        (torch.zeros(1, 4, 8, 8), r"\(1, 4, 8, 8\)"),
        (noise()[:0], r"\(0, 3, 20, 30\)"),
        (noise()[..., :1], "1 x 20"),
        ((noise() * 255).to(torch.uint8), "uint8"),
        (noise().numpy(), "ndarray"),
        (None, "NoneType"),
    ],
    ids=["over", "under", "bytes' range", "nan", "inf", "3-d", "gray", "rgba", "none", "narrow", "bytes", "numpy", "None"],
)
def test_what_is_no_image_is_refused(operator, image, named):
    with pytest.raises(ImageError, match=named):
        operator(image)


@pytest.mark.parametrize(
    ("operator", "settings", "named"),
    [
        (canny, {"sigma": -1}, "sigma .*0, not -1"),
        (canny, {"sigma": math.nan}, "sigma .*nan"),
        (canny, {"sigma": math.inf}, "sigma .*inf"),
        (canny, {"low": 0.3, "high": 0.2}, r"low .* high, .*0\.3 .*0\.2"),
        (canny, {"low": 0.3}, r"low .* high, .*0\.3 .*0\.2"),
        (canny, {"low": -0.1}, r"low .* high, .*-0\.1 .*0\.2"),
        (canny, {"low": math.nan}, "low .*nan"),
        (canny, {"high": math.nan}, "high.*nan"),
        (sobel, {"sigma": -0.1}, r"sigma .*-0\.1"),
        (sobel, {"sigma": math.nan}, "sigma .*nan"),
        (xdog, {"sigma": 0}, "sigma .*above 0, not 0"),
        (xdog, {"sigma": -1}, "sigma .*above 0, not -1"),
        (xdog, {"sigma": math.nan}, "sigma .*nan"),
        (xdog, {"sigma": math.inf}, "sigma .*inf"),
        (xdog, {"k": 1}, " k .*above 1, not 1"),
        (xdog, {"k": 0.5}, r" k .*above 1, not 0\.5"),
        (xdog, {"k": math.nan}, " k .*nan"),
        (xdog, {"k": math.inf}, " k .*inf"),
        (xdog, {"p": -1}, " p .*0, not -1"),
        (xdog, {"p": math.nan}, " p .*nan"),
        (xdog, {"p": math.inf}, " p .*inf"),
        (xdog, {"epsilon": math.nan}, "epsilon .*nan"),
        (xdog, {"epsilon": math.inf}, "epsilon .*inf"),
        (xdog, {"phi": -1}, "phi .*0, not -1"),
        (xdog, {"phi": math.nan}, "phi .*nan"),
        (xdog, {"phi": math.inf}, "phi .*inf"),
    ],
)
def test_settings_out_of_their_range_are_refused(operator, settings, named):
    with pytest.raises(ValueError, match=named) as caught:
        operator(noise(), **settings)
    assert not isinstance(caught.value, ImageError)
    with pytest.raises(ValueError, match=named) as caught:
        Condition(operator.__name__, **settings)(noise())
    assert not isinstance(caught.value, ImageError)


# --- Condition -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "settings"),
    [
        ("grayscale", {}),
        ("canny", {"sigma": 2.0, "low": 0.05, "high": 0.3}),
        ("sobel", {"sigma": 1.5}),
        ("xdog", {"sigma": 1.0, "k": 2.0, "p": 10.0, "epsilon": 0.5, "phi": 5}),
    ],
)
def test_a_condition_is_its_operator_with_its_settings(batch, operator, settings):
    expected = OPERATORS[operator](batch, **settings)
    assert torch.equal(Condition(operator, **settings)(batch), expected)
    if settings:
        assert not torch.equal(Condition(operator)(batch), expected)


def test_the_default_condition_is_grayscale(batch):
    assert torch.equal(Condition()(batch), grayscale(batch))


@pytest.mark.parametrize("condition", CONDITIONS, ids=OPERATORS)
@pytest.mark.parametrize("side", [2, 4, 8])
def test_supersampling_is_the_mean_over_squares(batch, condition, side):
    full = condition(batch)
    small = Condition(condition.operator, supersample=side)(batch)
    assert small.shape == (3, 1, 48 // side, 64 // side)
    for y in range(0, small.shape[2], 3):
        for x in range(0, small.shape[3], 3):
            square = full[:, :, side * y : side * (y + 1), side * x : side * (x + 1)]
            torch.testing.assert_close(small[:, :, y, x], square.mean(dim=(2, 3)))
    assert small.min() >= 0
    assert small.max() <= 1


def test_supersampling_keeps_lines_that_a_small_picture_loses(batch):
    fine = Condition("canny", supersample=2)(batch)
    assert set(fine.unique().tolist()) <= {0, 0.25, 0.5, 0.75, 1}
    assert ((fine > 0) & (fine < 1)).float().mean() > 0


def test_downsample_takes_any_channels_and_by_one_keeps_the_image(batch):
    assert Condition().downsample(batch) is batch
    small = Condition(supersample=3).downsample(batch[..., :63])
    assert small.shape == (3, 3, 16, 21)
    torch.testing.assert_close(small[..., 0, 0], batch[..., :3, :3].mean(dim=(2, 3)))


@pytest.mark.parametrize(("height", "width", "side"), [(47, 64, 2), (48, 63, 2), (48, 64, 5), (8, 12, 16)])
def test_where_supersample_does_not_divide_the_size_the_edge_is_repeated(height, width, side):
    image = noise(height, width)
    padded = F.pad(image, (0, -width % side, 0, -height % side), mode="replicate")
    condition = Condition(supersample=side)
    assert condition.downsample(image).shape == (1, 3, math.ceil(height / side), math.ceil(width / side))
    torch.testing.assert_close(condition.downsample(image), condition.downsample(padded))
    torch.testing.assert_close(condition(image), condition(padded))


@pytest.mark.parametrize(
    "condition",
    [
        *CONDITIONS,
        Condition("canny", supersample=2, sigma=1.5, low=0.05),
        Condition("xdog", phi=3, epsilon=0.4),
        Condition(supersample=4),
    ],
    ids=lambda condition: str(condition.config()),
)
def test_the_configuration_makes_the_condition_again(batch, condition):
    again = Condition(**json.loads(json.dumps(condition.config())))
    assert again.config() == condition.config()
    assert (again.operator, again.supersample) == (condition.operator, condition.supersample)
    assert again.settings == condition.settings
    assert torch.equal(again(batch), condition(batch))


@pytest.mark.parametrize("operator", ["Canny", "", "prewitt", None, 1, canny])
def test_unknown_operators_are_refused(operator):
    with pytest.raises(ValueError, match=r"condition .*grayscale, canny, sobel, xdog, mixed"):
        Condition(operator)


@pytest.mark.parametrize(
    ("operator", "settings", "names"),
    [
        ("grayscale", {"sigma": 1.0}, "sigma"),
        ("sobel", {"low": 0.1, "high": 0.2}, "high, low"),
        ("canny", {"phi": 1.0}, "phi"),
        ("canny", {"image": 1.0}, "image"),
    ],
)
def test_unknown_settings_are_refused(operator, settings, names):
    with pytest.raises(ValueError, match=f"{operator} .*{names}$"):
        Condition(operator, **settings)


@pytest.mark.parametrize("value", ["1", None, [1], True, math.nan, math.inf, 1j, torch.ones(2)], ids=str)
@pytest.mark.parametrize(("operator", "name"), [("canny", "sigma"), ("canny", "high"), ("sobel", "sigma"), ("xdog", "epsilon")])
def test_settings_that_are_no_numbers_are_refused(operator, name, value):
    with pytest.raises(ValueError, match=f"^{operator}'s {name} "):
        Condition(operator, **{name: value})


@pytest.mark.parametrize("supersample", [0, -1, 1.0, 2.5, "2", None, True, math.nan])
def test_supersample_that_is_no_whole_number_is_refused(supersample):
    with pytest.raises(ValueError, match=f"^supersample .*{supersample!r}$"):
        Condition(supersample=supersample)


# --- mixed, bfloat16, drawings ---------------------------------------------------------------------------------------


def test_mixed_lines_do_not_depend_on_the_batch(batch):
    images = torch.cat([batch, *(noise(48, 64, seed) for seed in range(5))])
    together = mixed(images)
    for order in ([3, 1, 7], [7], [6, 5, 4, 3, 2, 1, 0]):
        torch.testing.assert_close(mixed(images[order]), together[order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("operator", [canny, sobel, xdog], ids=["canny", "sobel", "xdog"])
def test_half_precision_is_rounded_at_the_end_alone(batch, operator):
    half = batch.bfloat16()
    assert operator(half).dtype == torch.bfloat16
    assert torch.equal(operator(half), operator(half.float()).bfloat16())


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_black_bytes_are_refused_too(operator):
    with pytest.raises(ImageError, match="uint8"):
        operator(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_given_lines_are_the_first_of_four_channels(batch):
    lines = canny(batch)
    frames = torch.cat([lines, batch], dim=1)
    condition = Condition("given", supersample=2)
    assert torch.equal(edges.given(frames), lines)
    torch.testing.assert_close(condition(frames), Condition("canny", supersample=2)(batch))
    torch.testing.assert_close(condition.truth(frames), condition.downsample(batch))
    torch.testing.assert_close(Condition("canny").truth(batch), batch)
    with pytest.raises(ImageError, match="4"):
        condition(batch)


@pytest.mark.parametrize(
    "condition",
    [Condition("grayscale"), Condition("canny"), Condition("sobel", supersample=2), Condition("mixed")],
    ids=lambda c: c.operator,
)
def test_a_condition_that_comes_with_the_frames_is_not_found_again(condition, batch):
    along = torch.rand(batch[:, :1].shape, generator=torch.Generator().manual_seed(0))
    frames = torch.cat([along, batch], dim=1)
    assert torch.equal(condition(frames), condition.downsample(along))
    assert torch.equal(condition.truth(frames), condition.downsample(batch))


@pytest.mark.parametrize("operator", ["grayscale", "canny", "sobel", "xdog"])
def test_what_is_found_has_the_frames_own_size(operator, batch):
    settings = {"sigma": 1.5} if operator != "grayscale" else {}
    condition = Condition(operator, supersample=2, **settings)
    found = condition.find(batch)
    assert torch.equal(found, edges.OPERATORS[operator](batch, **settings))
    assert torch.equal(condition(batch), condition.downsample(found))


def figure(side=128):
    """A drawing's ink, (1, 1, side, side): a frame and a circle, one pixel wide."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    circle = ((y - side / 2).hypot(x - side / 2) - side / 4).abs() < 0.6
    square = torch.maximum((y - side / 2).abs(), (x - side / 2).abs()).round() == round(0.4 * side)
    return (circle | square).float()[None, None]


def photographed(ink):
    """Pencil on tinted paper in uneven light, with grain."""
    picture = (1 - 0.7 * ink.expand(-1, 3, -1, -1)) * torch.tensor([1.0, 0.96, 0.88])[:, None, None]
    light = torch.linspace(0.95, 0.55, ink.shape[2])[:, None]
    grain = 0.02 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    return (picture * light + grain).clamp(0, 1)


def colored(ink):
    return 1 - ink * torch.tensor([0.2, 0.9, 0.7])[:, None, None]


def thick(ink):
    return F.max_pool2d(ink, 3, 1, 1)


DRAWINGS = {
    "as it is": lambda ink: 1 - ink.expand(-1, 3, -1, -1),
    "photograph": photographed,
    "inverted": lambda ink: (0.1 + 0.9 * ink).expand(-1, 3, -1, -1),
    "color pencil": colored,
    "gray scan": lambda ink: (0.8 - 0.5 * ink).expand(-1, 3, -1, -1),
    "thick": lambda ink: 1 - thick(ink).expand(-1, 3, -1, -1),
    "thick photograph": lambda ink: photographed(thick(ink)),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_ink_is_dark_and_paper_is_nothing(name):
    """Not thinned: a pixel is as dark as it was drawn."""
    ink = thick(figure()) if "thick" in name else figure()
    found = edges.ink_on_paper(DRAWINGS[name](figure()))
    assert found.shape == (1, 3, 128, 128)
    assert found.min() >= 0
    assert found.max() <= 1
    lines = (found * ink).sum(dim=(0, 2, 3)) / ink.sum()
    if name == "color pencil":  # less than its own darkness, as paper's grain is taken away
        torch.testing.assert_close(lines, (torch.tensor([0.2, 0.9, 0.7]) - edges.FAINT) / (1 - edges.FAINT))
    else:
        assert lines.min() > 0.5
    assert (found * (1 - ink)).sum() / (1 - ink).sum() < 0.01


def test_ink_refuses_what_is_no_image():
    for wrong in (torch.ones(2, 3, 16, 16), torch.ones(1, 1, 16, 16), "page.png"):
        with pytest.raises(ImageError):
            edges.ink_on_paper(wrong)


@pytest.mark.parametrize("drawn", DRAWINGS.values(), ids=DRAWINGS)
def test_any_drawing_becomes_thin_black_lines_on_white(drawn):
    ink = figure()
    lines = edges.drawing_to_lines(drawn(ink))
    assert set(lines.unique().tolist()) == {0, 1}
    found, near = 1 - lines, F.max_pool2d(ink, 5, 1, 2)
    assert (found * near).sum() > 0.95 * found.sum(), "no lines where none are"
    covered = (F.max_pool2d(found, 5, 1, 2) * ink).sum() / ink.sum()
    assert covered > 0.95, "no line is lost"
    assert 0.6 < found.sum() / ink.sum() < 1.4, "one pixel wide"
    assert edges.is_drawing(drawn(ink))


@pytest.mark.parametrize("drawn", DRAWINGS.values(), ids=DRAWINGS)
def test_a_large_drawing_keeps_its_lines_however_small_it_becomes(drawn):
    lines = edges.drawing_to_lines(drawn(figure(512)), (64, 64))
    expected = F.adaptive_max_pool2d(figure(512), (64, 64))
    assert lines.shape == (1, 1, 64, 64)
    assert (F.max_pool2d(1 - lines, 3, 1, 1) * expected).sum() > 0.95 * expected.sum()


def test_lines_may_keep_their_thickness():
    lines = edges.drawing_to_lines(DRAWINGS["thick"](figure()), thin=False)
    assert torch.equal(1 - lines, thick(figure()))


def test_an_empty_page_stays_white():
    shaded = torch.linspace(0.95, 0.55, 90)[:, None].expand(1, 3, 90, 70)
    for page in (torch.ones(1, 3, 90, 70), torch.full((1, 3, 90, 70), 0.8), shaded):
        assert (1 - edges.drawing_to_lines(page)).mean() == 0
        assert not edges.is_drawing(page)


def test_ink_on_a_transparent_ground_is_a_drawing(tmp_path):
    pixels = np.zeros((128, 128, 4), np.uint8)
    pixels[..., 3] = 255 * figure()[0, 0].numpy()
    PIL.Image.fromarray(pixels).save(tmp_path / "ink.png")
    picture = load_image(tmp_path / "ink.png")
    assert edges.is_drawing(picture)
    assert torch.equal(edges.drawing_to_lines(picture), edges.drawing_to_lines(DRAWINGS["as it is"](figure())))


def test_photographs_paintings_and_frames_are_no_drawings():
    for name in ("washington", "scream", "toronto"):
        assert not edges.is_drawing(load_image(asset_path(name))), name
    shots = AnimeFrames("shots", 128, 12, seed=1)
    assert sum(edges.is_drawing(shots[i][None]) for i in range(12)) <= 1
