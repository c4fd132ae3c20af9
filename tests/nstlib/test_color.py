"""Luma and CIELAB are those of scikit-image, in both directions, and differentiable everywhere."""

import numpy as np
import pytest
import skimage.color
import torch

from nstlib.color import (
    AB_RANGE,
    BT601,
    BT709,
    gray_to_lightness,
    lab_to_rgb,
    luma_bt601,
    luma_bt709,
    rgb_to_lab,
    scale_lab,
    scaled_lab_to_rgb,
    unscale_lab,
)


def to_tensor(array, dtype=torch.float64):
    return torch.from_numpy(array).permute(2, 0, 1)[None].to(dtype)


def to_numpy(tensor):
    return tensor[0].permute(1, 2, 0).detach().numpy()


def cube(levels=17):
    """All colors on a grid, black, white and the six pure ones among them; shape (levels, levels**2, 3)."""
    steps = np.linspace(0, 1, levels)
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(levels, levels**2, 3)


def noise(seed=0):
    return np.random.default_rng(seed).random((24, 31, 3))


def wild_lab(seed=0):
    """CIELAB with many colors that sRGB does not have."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(0, 100, (24, 31)), *rng.uniform(-AB_RANGE, AB_RANGE, (2, 24, 31))], axis=-1)


# --- luma ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rgb", [cube(), noise()], ids=["cube", "noise"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize(
    ("luma", "expected"),
    [(luma_bt601, lambda rgb: skimage.color.rgb2yiq(rgb)[..., 0]), (luma_bt709, skimage.color.rgb2gray)],
    ids=["BT.601", "BT.709"],
)
def test_luma_is_skimages(luma, expected, rgb, dtype, error):
    found = luma(to_tensor(rgb, dtype))
    assert found.shape == (1, 1, *rgb.shape[:2])
    np.testing.assert_allclose(found[0, 0], expected(rgb), rtol=0, atol=error)


@pytest.mark.parametrize(("luma", "weights"), [(luma_bt601, BT601), (luma_bt709, BT709)], ids=["BT.601", "BT.709"])
def test_luma_of_pure_colors_is_their_weights(luma, weights):
    pure = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)  # red, green, blue: a batch of three pixels
    assert luma(pure).flatten().tolist() == pytest.approx(list(weights), abs=1e-15)
    assert luma(torch.ones(1, 3, 2, 2, dtype=torch.float64)).flatten().tolist() == pytest.approx([1.0] * 4, abs=1e-12)
    assert luma(torch.zeros(1, 3, 2, 2)).abs().max() == 0


def test_the_two_standards_differ():
    assert (luma_bt601(to_tensor(noise())) - luma_bt709(to_tensor(noise()))).abs().max() > 0.05


# --- CIELAB ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rgb", [cube(), noise(), noise() * 0.02], ids=["cube", "noise", "nearly black"])
@pytest.mark.parametrize(("dtype", "lab_error", "rgb_error"), [(torch.float64, 1e-10, 1e-12), (torch.float32, 2e-4, 2e-5)])
def test_both_ways_as_skimage(rgb, dtype, lab_error, rgb_error):
    lab = skimage.color.rgb2lab(rgb, illuminant="D65", observer="2")
    np.testing.assert_allclose(to_numpy(rgb_to_lab(to_tensor(rgb, dtype))), lab, rtol=0, atol=lab_error)
    np.testing.assert_allclose(to_numpy(lab_to_rgb(to_tensor(lab, dtype))), skimage.color.lab2rgb(lab), rtol=0, atol=rgb_error)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_colors_that_srgb_does_not_have_are_clipped_as_in_skimage():
    lab = wild_lab()
    rgb = to_numpy(lab_to_rgb(to_tensor(lab)))
    np.testing.assert_allclose(rgb, skimage.color.lab2rgb(lab), rtol=0, atol=1e-12)
    assert rgb.min() == 0
    assert rgb.max() == 1
    assert ((rgb == 0) | (rgb == 1)).any(axis=-1).mean() > 0.5  # else this has tested little


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((1, 1, 1), (100, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_known_colors(rgb, lab):
    # values for sRGB and D65 as in Bruce Lindbloom's calculator, to within the digits of the matrix
    found = rgb_to_lab(torch.tensor(rgb, dtype=torch.float64)[None, :, None, None])
    np.testing.assert_allclose(found.flatten(), lab, rtol=0, atol=0.03)


def test_to_lab_and_back_is_the_same():
    rgb = to_tensor(cube(), torch.float32)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(rgb)), rgb, rtol=0, atol=2e-5)
    lab = to_tensor(skimage.color.rgb2lab(cube(9)), torch.float32)
    torch.testing.assert_close(rgb_to_lab(lab_to_rgb(lab)), lab, rtol=0, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lightness_of_grays_is_that_of_cielab(dtype):
    gray = torch.linspace(0, 1, 256 * 257, dtype=dtype).view(1, 1, 256, 257)  # all 8-bit levels, and others between
    lightness = gray_to_lightness(gray)
    assert lightness.dtype == dtype
    torch.testing.assert_close(lightness, rgb_to_lab(gray.expand(-1, 3, -1, -1))[:, :1], rtol=0, atol=1e-3)
    assert (lightness.min().item(), lightness.max().item()) == pytest.approx((0, 100), abs=1e-4)
    batch = gray.view(4, 1, 64, 257)
    torch.testing.assert_close(gray_to_lightness(batch).view(1, 1, 256, 257), lightness)


def test_lightness_of_grays_rises_everywhere():
    joints = torch.tensor([0.04045, 1.055 * (6 / 29) ** 1.25 - 0.055], dtype=torch.float64)
    gray = torch.cat([torch.linspace(0, 1, 999, dtype=torch.float64), joints])[None, None, None].requires_grad_()
    gray_to_lightness(gray).sum().backward()
    assert torch.isfinite(gray.grad).all()
    assert (gray.grad > 50).all()
    off_joints = torch.tensor([0.0, 0.02, 0.06, 0.2, 0.5, 1], dtype=torch.float64)[None, None, None].requires_grad_()
    assert torch.autograd.gradcheck(gray_to_lightness, (off_joints,))


def test_scaled_colors_fill_the_networks_range():
    ends = torch.tensor([[0.0, -110, 110], [50, 0, 0], [100, 110, -110]])[:, :, None, None]
    expected = torch.tensor([[-1.0, -1, 1], [0, 0, 0], [1, 1, -1]])[:, :, None, None]
    assert torch.equal(scale_lab(ends), expected)
    assert torch.equal(unscale_lab(expected), ends)
    scaled = scale_lab(rgb_to_lab(to_tensor(cube())))
    assert scaled.abs().max() <= 1 + 1e-9
    lightness, a, b = scaled[0]
    assert (lightness.min().item(), lightness.max().item()) == pytest.approx((-1, 1), abs=1e-6)
    assert a.min() < -0.75
    assert a.max() > 0.85
    assert b.min() < -0.95
    assert b.max() > 0.85


def test_the_range_of_a_and_b_is_as_documented():
    ab = skimage.color.rgb2lab(cube(33))[..., 1:]  # the extremes lie at corners of the cube
    assert ab.min() >= -108
    assert ab.max() <= 99
    assert np.abs(ab).max() < AB_RANGE


def test_unscale_is_the_inverse_of_scale():
    lab = to_tensor(wild_lab())
    torch.testing.assert_close(unscale_lab(scale_lab(lab)), lab, rtol=1e-12, atol=1e-12)
    scaled = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(scale_lab(unscale_lab(scaled)), scaled)


def test_scaled_colors_come_back_as_rgb():
    rgb = to_tensor(cube(), torch.float32)
    torch.testing.assert_close(scaled_lab_to_rgb(scale_lab(rgb_to_lab(rgb))), rgb, rtol=0, atol=2e-5)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_scaled_colors_that_srgb_does_not_have_are_clipped_or_left():
    lab = wild_lab()
    scaled = to_tensor(lab / [50, 110, 110] - [1, 0, 0], torch.float32)
    clipped, left = scaled_lab_to_rgb(scaled), scaled_lab_to_rgb(scaled, clip=False)
    np.testing.assert_allclose(to_numpy(clipped), skimage.color.lab2rgb(lab), rtol=0, atol=2e-5)
    torch.testing.assert_close(left.clamp(0, 1), clipped, rtol=0, atol=1e-6)
    assert left.min() < -0.1
    assert left.max() > 1.1


def test_scaled_half_precision_is_converted_in_single():
    scaled = (torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1).bfloat16()
    assert torch.equal(scaled_lab_to_rgb(scaled), scaled_lab_to_rgb(scaled.float()))


CONVERSIONS = [rgb_to_lab, lab_to_rgb, scale_lab, unscale_lab]
LUMAS = [luma_bt601, luma_bt709]


@pytest.mark.parametrize("convert", CONVERSIONS + LUMAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_type_device_and_shape_are_kept(convert, dtype):
    x = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=dtype)
    result = convert(x)
    assert result.dtype == dtype
    assert result.device == x.device
    assert result.shape == (3, 1 if convert in LUMAS else 3, 5, 7)
    # values reach 100; in single precision, a processor's vector instructions may round a power unlike its scalar ones
    bounds = {"atol": 5e-5, "rtol": 1.3e-6} if dtype == torch.float32 else {}
    torch.testing.assert_close(result, torch.cat([convert(one[None]) for one in x]), **bounds)
    assert convert(x.to("meta")).device.type == "meta"  # a device that computes nothing, but would refuse another's constants


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(dtype):
    rgb = to_tensor(cube(9), dtype).requires_grad_()
    rgb_to_lab(rgb).square().sum().backward()
    assert torch.isfinite(rgb.grad).all()
    lab = torch.cat([to_tensor(wild_lab(), dtype), to_tensor(skimage.color.rgb2lab(noise()), dtype)]).requires_grad_()
    lab_to_rgb(lab).square().sum().backward()
    assert torch.isfinite(lab.grad).all()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_gradients_at_black_and_white(level):
    rgb = torch.full((1, 3, 2, 2), level, requires_grad=True)
    rgb_to_lab(rgb)[:, 0].sum().backward()
    assert torch.isfinite(rgb.grad).all()
    assert (rgb.grad > 0).all()  # more light is lighter
    lab = torch.tensor([100 * level, 0, 0])[None, :, None, None].clone().requires_grad_()
    lab_to_rgb(lab).sum().backward()
    assert torch.isfinite(lab.grad).all()


@pytest.mark.parametrize("convert", CONVERSIONS + LUMAS)
def test_gradients_are_those_of_finite_differences(convert):
    x = (to_tensor(noise()[:3, :3]) * 0.8 + 0.1).requires_grad_()  # within sRGB and off the joints of the formulas
    if convert is lab_to_rgb:
        x = rgb_to_lab(x).detach().requires_grad_()
    assert torch.autograd.gradcheck(convert, (x,))


def test_a_loss_on_scaled_colors_reaches_the_pixels():
    # as the perceptual loss of what the generator puts out needs
    fake = (torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.5).requires_grad_()
    scaled_lab_to_rgb(fake).sum().backward()
    assert torch.isfinite(fake.grad).all()
    assert fake.grad.abs().sum() > 0
