"""The losses are the formulas: written out plainly, differentiated numerically, and compared with published code."""

import math
import re

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch
from torch import nn

from nstlib.losses import (
    PerceptualLoss,
    adversarial_loss,
    color_loss,
    content_loss,
    discriminator_loss,
    feature_covariance,
    feature_distance,
    feature_mean,
    gram_matrix,
    image_gradient_loss,
    matrix_root,
    style_loss,
    total_variation,
    wasserstein_loss,
)
from nstlib.vgg import FeatureExtractor

B, N, H, W = 2, 3, 4, 5
M = H * W


def features(seed, batch=B):
    return torch.randn(batch, N, H, W, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def f():
    return features(0)


@pytest.fixture
def p():
    return features(1)


@pytest.fixture
def mask():
    return torch.rand(1, 1, H, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


# --- the formulas, as loops ------------------------------------------------------------------------------------------


def test_content_loss_is_eq_1(f, p):
    expected = 0.0
    for b in range(B):
        for i in range(N):
            for y in range(H):
                for x in range(W):
                    expected += (f[b, i, y, x].item() - p[b, i, y, x].item()) ** 2
    assert content_loss(f, p).item() == pytest.approx(expected, rel=1e-12)


def looped_gram(f, weight):
    gram = torch.zeros(len(f), N, N, dtype=torch.float64)
    for b in range(len(f)):
        for i in range(N):
            for j in range(N):
                for y in range(H):
                    for x in range(W):
                        gram[b, i, j] += weight[y][x] * f[b, i, y, x] * f[b, j, y, x]
    return gram / sum(sum(row) for row in weight)


def test_gram_matrix_is_the_mean_product_of_two_filters(f):
    torch.testing.assert_close(gram_matrix(f), looped_gram(f, [[1.0] * W] * H), rtol=1e-12, atol=1e-12)


def test_gram_matrix_with_a_mask_is_the_weighted_mean(f, mask):
    torch.testing.assert_close(gram_matrix(f, mask), looped_gram(f, mask[0, 0].tolist()), rtol=1e-12, atol=1e-12)


def test_style_loss_is_eq_2_with_the_square(f, p):
    gram, target = gram_matrix(f), gram_matrix(p)
    expected = 0.0
    for b in range(B):
        for i in range(N):
            for j in range(N):
                expected += (gram[b, i, j].item() - target[b, i, j].item()) ** 2 / (4 * N**2)
    assert style_loss(gram, target).item() == pytest.approx(expected, rel=1e-12)


def test_style_loss_takes_one_target_for_all(f, p):
    one = gram_matrix(p[:1])
    assert style_loss(gram_matrix(f), one) == style_loss(gram_matrix(f), one.expand(B, N, N))


def mean_and_covariance(features, mask=None):
    mean = feature_mean(features, mask)
    return mean, feature_covariance(mean, gram_matrix(features, mask))


def test_mean_and_covariance_are_numpys(f):
    mean, covariance = mean_and_covariance(f)
    for b in range(B):
        rows = f[b].flatten(1).numpy()
        np.testing.assert_allclose(mean[b], rows.mean(1), atol=1e-12)
        np.testing.assert_allclose(covariance[b], np.cov(rows, bias=True), atol=1e-12)


def test_mean_and_covariance_with_a_mask_are_weighted(f, mask):
    mean, covariance = mean_and_covariance(f, mask)
    for b in range(B):
        rows, weights = f[b].flatten(1).numpy(), mask.flatten().numpy()
        np.testing.assert_allclose(mean[b], np.average(rows, axis=1, weights=weights), atol=1e-12)
        np.testing.assert_allclose(covariance[b], np.cov(rows, aweights=weights, ddof=0), atol=1e-12)


def wasserstein(f, p, mask=None):
    mean, covariance = mean_and_covariance(p)
    return wasserstein_loss(*mean_and_covariance(f, mask), mean, matrix_root(covariance))


def test_the_wasserstein_loss_is_the_frechet_distance(f, p):
    """Of scipy's matrix roots, as the Fréchet Inception Distance is usually computed."""
    expected = 0.0
    target_mean, target = (x[0].numpy() for x in mean_and_covariance(p[:1]))
    for mean, covariance in zip(*(x.numpy() for x in mean_and_covariance(f)), strict=True):
        root = scipy.linalg.sqrtm(covariance @ target).real
        expected += ((mean - target_mean) ** 2).sum() + np.trace(covariance + target - 2 * root)
    assert wasserstein(f, p[:1]).item() == pytest.approx(expected, rel=1e-9)


def test_the_wasserstein_loss_in_one_dimension(f, p):
    """(mu1 - mu2)^2 + (sigma1 - sigma2)^2."""
    one, two = f[:1, :1], p[:1, :1]
    expected = (one.mean() - two.mean()) ** 2 + (one.std(correction=0) - two.std(correction=0)) ** 2
    assert wasserstein(one, two).item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_wasserstein_loss_of_moved_and_stretched_features(f):
    """Nothing is nearer than the features themselves; all moved by d cost |d|^2, all doubled their mean square."""
    f = f[:1]
    assert wasserstein(f, f).item() == pytest.approx(0, abs=1e-9)
    assert wasserstein(f + 0.5, f).item() == pytest.approx(N * 0.25, rel=1e-9)
    assert wasserstein(2 * f, f).item() == pytest.approx(f.square().sum().item() / M, rel=1e-9)


def test_filters_that_never_fire_have_a_finite_gradient(f, p):
    f, p = f[:1].clone(), p[:1].clone()
    f[:, 1:], p[:, :2] = 0, 0
    (gradient,) = torch.autograd.grad(wasserstein(f.requires_grad_(), p), f)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("wrong", range(4))
def test_means_and_covariances_of_other_sizes(wrong):
    arguments = [torch.zeros(1, N), torch.eye(N)[None], torch.zeros(1, N), torch.eye(N)[None]]
    arguments[wrong] = torch.zeros(1, N + 1) if wrong % 2 == 0 else torch.eye(N + 1)[None]
    with pytest.raises(ValueError, match="means and covariances have different sizes"):
        wasserstein_loss(*arguments)


def test_total_variation_is_the_sum_of_squared_steps(f):
    expected = 0.0
    for b in range(B):
        for c in range(N):
            for y in range(H):
                for x in range(W):
                    if x + 1 < W:
                        expected += (f[b, c, y, x + 1].item() - f[b, c, y, x].item()) ** 2
                    if y + 1 < H:
                        expected += (f[b, c, y + 1, x].item() - f[b, c, y, x].item()) ** 2
    assert total_variation(f).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        lambda f, p, mask: content_loss(f, p),
        lambda f, p, mask: gram_matrix(f),
        lambda f, p, mask: gram_matrix(f, mask),
        lambda f, p, mask: style_loss(gram_matrix(f), gram_matrix(p)),
        lambda f, p, mask: style_loss(gram_matrix(f, mask), gram_matrix(p[:1])),
        lambda f, p, mask: wasserstein(f, features(1)[:1]),
        lambda f, p, mask: wasserstein(f, features(1)[:1], mask),
        lambda f, p, mask: total_variation(f),
    ],
    ids=["content", "gram", "gram with mask", "style", "style with mask", "Wasserstein", "Wasserstein with mask", "variation"],
)
def test_gradients_are_those_of_finite_differences(loss, f, p, mask):
    assert torch.autograd.gradcheck(loss, (f.requires_grad_(), p.requires_grad_(), mask))


def test_the_gradient_of_the_style_loss_is_gatys_eq_6(f, p):
    # dE/dF_ik = 1 / (N^2 M^2) (F^T (G - A))_ki with Gatys's sums G; theirs also sets it to 0 where relu cut F off
    f, p = f[:1].requires_grad_(), p[:1]
    style_loss(gram_matrix(f), gram_matrix(p)).backward()
    flat = f.detach().flatten(2)[0]
    difference = flat @ flat.T - p.flatten(2)[0] @ p.flatten(2)[0].T
    torch.testing.assert_close(f.grad.flatten(2)[0], difference @ flat / (N**2 * M**2), rtol=1e-10, atol=1e-12)


# --- the conventions of published code -------------------------------------------------------------------------------


def pytorch_tutorial_gram(x):
    """https://pytorch.org/tutorials/advanced/neural_style_tutorial.html"""
    a, b, c, d = x.size()
    flat = x.view(a * b, c * d)
    return torch.mm(flat, flat.t()).div(a * b * c * d)


def gatys_gram(x):
    """GramMatrix of https://github.com/leongatys/PytorchNeuralStyleTransfer"""
    b, c, h, w = x.size()
    flat = x.view(b, c, h * w)
    return torch.bmm(flat, flat.transpose(1, 2)).div_(h * w)


def test_relation_to_the_pytorch_tutorial():
    f, p = features(0, batch=1), features(1, batch=1)
    torch.testing.assert_close(gram_matrix(f)[0], pytorch_tutorial_gram(f) * N)
    torch.testing.assert_close(content_loss(f, p), nn.functional.mse_loss(f, p) * N * M)
    tutorial = nn.functional.mse_loss(pytorch_tutorial_gram(f), pytorch_tutorial_gram(p))
    torch.testing.assert_close(style_loss(gram_matrix(f), gram_matrix(p)), tutorial * N**2 / 4)


def test_relation_to_gatys_own_code():
    f, p = features(0, batch=1), features(1, batch=1)
    torch.testing.assert_close(gram_matrix(f), gatys_gram(f))
    torch.testing.assert_close(content_loss(f, p), nn.MSELoss()(f, p) * N * M)
    torch.testing.assert_close(style_loss(gram_matrix(f), gram_matrix(p)), nn.MSELoss()(gatys_gram(f), gatys_gram(p)) / 4)


def test_relation_to_gatys_paper(f, p):
    # Eq. 3 and 4: sums over positions, and 1 / (4 N^2 M^2) in the loss
    gram, target = (x.flatten(2) @ x.flatten(2).mT for x in (f, p))
    torch.testing.assert_close(style_loss(gram_matrix(f), gram_matrix(p)), (gram - target).square().sum() / (4 * N**2 * M**2))
    # Eq. 1 halves the content loss
    torch.testing.assert_close(content_loss(f, p), 2 * (0.5 * (f - p).square().sum()))


def test_the_poster_prints_eq_2_without_the_square_and_that_is_no_distance(p):
    def printed(gram, target):
        return (gram - target).sum() / (4 * N * M)

    target = gram_matrix(p[:1].abs())  # as after relu
    silent = torch.zeros_like(target)
    assert printed(target, target) == 0
    assert printed(silent, target) < 0  # below zero, and best where no filter fires at all: not at the style
    assert style_loss(silent, target) > style_loss(target, target) == 0
    # a matrix that is not the style's, but scores as if it were
    other = target.clone()
    other[0, 0, 0] += 1
    other[0, 1, 1] -= 1
    assert printed(other, target).item() == pytest.approx(0, abs=1e-15)
    assert style_loss(other, target) > 0
    # linear in G: the slope is the same everywhere, also at the style, and so there is no minimum in G
    for gram in (silent, target, other):
        gram = gram.clone().requires_grad_()
        printed(gram, target).backward()
        torch.testing.assert_close(gram.grad, torch.full_like(gram, 1 / (4 * N * M)))


# --- properties ------------------------------------------------------------------------------------------------------


def test_equal_features_have_no_loss(f):
    assert content_loss(f, f) == 0
    assert style_loss(gram_matrix(f), gram_matrix(f)) == 0
    assert total_variation(torch.full((1, 3, 4, 4), 0.3)) == 0


def test_gram_matrix_is_symmetric_and_positive_semi_definite(f, mask):
    for gram in (gram_matrix(f), gram_matrix(f, mask)):
        torch.testing.assert_close(gram, gram.mT)
        assert torch.linalg.eigvalsh(gram).min() > -1e-12


def test_gram_matrix_forgets_where(f):
    shuffled = f.flatten(2)[:, :, torch.randperm(M, generator=torch.Generator().manual_seed(0))].view_as(f)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(f))
    torch.testing.assert_close(gram_matrix(f.repeat(1, 1, 2, 3)), gram_matrix(f))


@pytest.mark.parametrize("shape", [(1, 1, H, W), (B, 1, H, W)])
def test_a_mask_of_ones_is_no_mask(f, shape):
    torch.testing.assert_close(gram_matrix(f, torch.ones(shape)), gram_matrix(f))
    torch.testing.assert_close(gram_matrix(f, torch.full(shape, 0.25)), gram_matrix(f))


def test_a_mask_of_a_region_is_the_gram_matrix_of_that_region(f):
    region = torch.zeros(1, 1, H, W)
    region[..., 1:3, 2:5] = 1
    torch.testing.assert_close(gram_matrix(f, region), gram_matrix(f[..., 1:3, 2:5]))


def test_each_image_can_have_its_own_mask(f):
    masks = torch.zeros(B, 1, H, W)
    masks[0, :, :2], masks[1, ..., 3:] = 1, 1
    expected = torch.cat([gram_matrix(f[:1, :, :2]), gram_matrix(f[1:, ..., 3:])])
    torch.testing.assert_close(gram_matrix(f, masks), expected)


def test_an_empty_mask_gives_zeros_and_no_gradient(f):
    gram = gram_matrix(f.requires_grad_(), torch.zeros(1, 1, H, W))
    assert torch.equal(gram, torch.zeros_like(gram))
    gram.sum().backward()
    assert torch.equal(f.grad, torch.zeros_like(f))


def test_the_memory_layout_does_not_matter(f):
    torch.testing.assert_close(gram_matrix(f.to(memory_format=torch.channels_last)), gram_matrix(f))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_close_and_gives_single(dtype):
    x, y = (torch.randn(1, 64, 32, 32, generator=torch.Generator().manual_seed(seed)).abs() for seed in (0, 1))
    mask = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    for loss in (
        lambda x, y: content_loss(x, y),
        lambda x, y: gram_matrix(x),
        lambda x, y: gram_matrix(x, mask),
        lambda x, y: style_loss(gram_matrix(x), gram_matrix(y * 2)),
    ):
        exact, close = loss(x, y), loss(x.to(dtype), y.to(dtype))
        assert close.dtype == torch.float32
        assert (close - exact).norm() < 1e-2 * exact.norm()


def test_double_precision_stays_double(f, p, mask):
    for result in (content_loss(f, p), gram_matrix(f), gram_matrix(f, mask), total_variation(f)):
        assert result.dtype == torch.float64


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, N, H, W), (B, 1, H, W), (B, N, H, 1), (B, N, W, H), (B, N, M)])
def test_content_loss_refuses_other_shapes(f, shape):
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        content_loss(f, torch.zeros(shape))


@pytest.mark.parametrize("shape", [(B, N, N + 1), (B, 1, 1), (N, N), (B + 1, N, N), (B, N, 1)])
def test_style_loss_refuses_other_shapes(f, shape):
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        style_loss(gram_matrix(f), torch.zeros(shape))


def test_style_loss_refuses_many_targets_for_one_image(f):
    with pytest.raises(ValueError, match=r"\(1, 3, 3\).*\(2, 3, 3\)"):
        style_loss(gram_matrix(f[:1]), gram_matrix(f))


@pytest.mark.parametrize("statistic", [gram_matrix, feature_mean])
@pytest.mark.parametrize("shape", [(H, W), (1, H, W), (1, 1, W, H), (1, 1, 1, 1), (1, N, H, W), (B + 1, 1, H, W), (1, 1, M, 1)])
def test_other_masks_are_refused(f, shape, statistic):
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        statistic(f, torch.ones(shape))


# --- Eq. (4) and (5), on logits --------------------------------------------------------------------------------------

SHAPES = [(), (1,), (7,), (2, 1, 5, 6), (3, 1, 1, 1)]
IN_DOUBLE = {"rel": 1e-12, "abs": 1e-12}


def logits(*shape, seed=0):
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(z):
    return 1 / (1 + np.exp(-z.numpy()))


@pytest.mark.parametrize("shape", SHAPES)
def test_adversarial_loss_is_eq_4(shape):
    fake = logits(*shape)
    found = adversarial_loss(fake)
    assert found.shape == ()
    assert found.item() == pytest.approx(-np.log(sigmoid(fake)).mean(), **IN_DOUBLE)


@pytest.mark.parametrize("shape", SHAPES)
def test_discriminator_loss_is_eq_5_negated(shape):
    real, fake = logits(*shape, seed=1), logits(2, *shape, seed=2)  # there may be more of one than of the other
    found = discriminator_loss(real, fake)
    assert found.shape == ()
    expected = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()
    assert found.item() == pytest.approx(expected, **IN_DOUBLE)


def test_relation_to_binary_cross_entropy():
    real, fake = logits(2, 1, 5, 6, seed=1), logits(2, 1, 5, 6, seed=2)
    entropy = nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    torch.testing.assert_close(adversarial_loss(fake), entropy(fake, ones))
    torch.testing.assert_close(discriminator_loss(real, fake), entropy(real, ones) + entropy(fake, zeros))


def test_a_discriminator_at_chance():
    assert discriminator_loss(torch.zeros(2, 1, 8, 8), torch.zeros(5)).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert adversarial_loss(torch.zeros(2, 1, 8, 8)).item() == pytest.approx(math.log(2), rel=1e-6)


def test_gradients_of_eq_4_and_5_are_those_of_finite_differences():
    real, fake = logits(2, 1, 3, 4, seed=1).requires_grad_(), logits(5, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(adversarial_loss, (fake,))
    assert torch.autograd.gradcheck(discriminator_loss, (real, fake))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_logits_neither_overflow_nor_lose_the_gradient(dtype):
    yes, no = (torch.full((4,), value, dtype=dtype, requires_grad=True) for value in (1000.0, -1000.0))
    assert (adversarial_loss(yes).item(), adversarial_loss(no).item()) == (0, 1000)
    assert (discriminator_loss(yes, no).item(), discriminator_loss(no, yes).item()) == (0, 2000)
    for fake, slope in ((yes, 0), (no, -1 / 4)):
        (gradient,) = torch.autograd.grad(adversarial_loss(fake), fake)
        assert gradient.tolist() == [slope] * 4
    for_real, for_fake = torch.autograd.grad(discriminator_loss(no, yes), (no, yes))
    assert for_real.tolist() == [-1 / 4] * 4
    assert for_fake.tolist() == [1 / 4] * 4


def test_the_generator_learns_from_a_discriminator_that_is_sure():
    # log(1 - D), as Eq. (4) is without Goodfellow's change of sign, has no slope there
    fake = torch.full((1,), -30.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(adversarial_loss(fake), fake)
    (saturated,) = torch.autograd.grad(-discriminator_loss(torch.zeros(1), fake), fake)
    assert slope.item() == pytest.approx(-1, abs=1e-12)
    assert abs(saturated.item()) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_summed_in_single(dtype):
    real, fake = (logits(2, 1, 64, 64, seed=seed).to(dtype) for seed in (1, 2))
    assert torch.equal(adversarial_loss(fake), adversarial_loss(fake.float()))
    assert torch.equal(discriminator_loss(real, fake), discriminator_loss(real.float(), fake.float()))
    assert adversarial_loss(fake).dtype == torch.float32
    assert discriminator_loss(real.double(), fake.double()).dtype == torch.float64


# --- the image-gradient loss -----------------------------------------------------------------------------------------


def gray_images(seed, batch=2, height=6, width=9):
    return torch.rand(batch, 1, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def step_image(before=0.0, after=1.0):
    image = torch.full((1, 1, 12, 16), before, dtype=torch.float64)
    image[..., 8:] = after
    return image


def test_image_gradient_loss_is_the_mean_distance_of_the_differences_of_neighbors():
    fake, real = gray_images(0).repeat(1, 3, 1, 1), torch.cat([gray_images(seed) for seed in (1, 2, 3)], dim=1)
    distances = [np.abs(np.diff(fake.numpy(), axis=axis) - np.diff(real.numpy(), axis=axis)).mean() for axis in (2, 3)]
    assert image_gradient_loss(fake, real).item() == pytest.approx(np.mean(distances), rel=1e-12)


def test_a_step_of_height_1_has_the_gradient_1():
    # at 1 of 15 places, and in one of the two directions
    flat = torch.full_like(step_image(), 0.3)
    assert image_gradient_loss(step_image(), flat).item() == pytest.approx(1 / 15 / 2, rel=1e-12)
    assert image_gradient_loss(step_image().mT, flat.mT).item() == pytest.approx(1 / 15 / 2, rel=1e-12)


def test_the_image_gradient_loss_sees_a_checkerboard_and_the_color_loss_does_not():
    board = torch.tensor([[0.0, 1], [1, 0]], dtype=torch.float64).repeat(3, 4)[None, None]
    gray = torch.full_like(board, 0.5)
    assert image_gradient_loss(board, gray) == 1
    assert color_loss(board, gray) == 0


@pytest.mark.parametrize("side", [1, 2, 3])
def test_color_loss_is_the_l1_distance_of_means_over_squares(side):
    fake, real = gray_images(0), gray_images(1)
    rows, columns = 6 // side * side, 9 // side * side
    means = [
        image[:, 0, :rows, :columns].numpy().reshape(2, rows // side, side, columns // side, side).mean((2, 4))
        for image in (fake, real)
    ]
    assert color_loss(fake, real, side).item() == pytest.approx(np.abs(means[0] - means[1]).mean(), rel=1e-12)


def test_feature_distance_is_a_share_of_the_targets_activation():
    features, target = gray_images(0), gray_images(1)
    expected = np.abs(features.numpy() - target.numpy()).sum() / target.numpy().sum()
    assert feature_distance(features, target).item() == pytest.approx(expected, rel=1e-12)
    assert feature_distance(1000 * features, 1000 * target).item() == pytest.approx(expected, rel=1e-12)
    assert feature_distance(torch.zeros_like(target), target) == 1
    assert feature_distance(torch.zeros_like(target), torch.zeros_like(target)) == 0, "a layer that never fires"


def test_an_inverted_edge_is_not_the_same():
    up, down = step_image(0.0, 1.0), step_image(1.0, 0.0)
    assert image_gradient_loss(down, up).item() == pytest.approx(2 / 15 / 2, rel=1e-12)
    assert image_gradient_loss(down, up) > image_gradient_loss(torch.zeros_like(up), up)


def test_equal_images_and_images_a_constant_apart_have_no_image_gradient_loss():
    image = gray_images(0)
    assert image_gradient_loss(image, image) == 0
    assert image_gradient_loss(image + 3, image).item() == pytest.approx(0, abs=1e-12)
    assert image_gradient_loss(image, image.flip(3)) > 0.01


def test_the_gradient_of_the_image_gradient_loss_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(image_gradient_loss, (gray_images(0).requires_grad_(), gray_images(1).requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_image_gradient_loss_is_taken_in_single_precision(dtype):
    fake, real = gray_images(0).to(dtype), gray_images(1).to(dtype)
    found = image_gradient_loss(fake, real)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(image_gradient_loss(fake.double(), real.double()).item(), rel=1e-5)


@pytest.mark.parametrize("loss", [image_gradient_loss, color_loss, feature_distance])
@pytest.mark.parametrize("shape", [(1, 1, 6, 9), (2, 1, 6, 8), (2, 1, 9, 6), (2, 6, 9), (2, 2, 6, 9)])
def test_losses_of_two_images_refuse_other_shapes(loss, shape):
    with pytest.raises(ValueError, match=rf"\(2, 1, 6, 9\).*{re.escape(str(shape))}"):
        loss(gray_images(0), torch.zeros(shape))


# --- PerceptualLoss --------------------------------------------------------------------------------------------------

CONTENT, STYLE = {"relu2_2": 1.0}, {"relu1_2": 1e-3, "relu2_2": 1e-4}


@pytest.fixture(scope="module")
def perceptual():
    return PerceptualLoss(CONTENT, STYLE)


@pytest.fixture(scope="module")
def pair(photo):
    """Two different images of the same size."""
    return photo[..., :48, :48], photo[..., :48, 48:]


def test_perceptual_loss_is_the_weighted_sum(perceptual, pair):
    a, b = (FeatureExtractor(layers=["relu1_2", "relu2_2"])(image) for image in pair)
    expected = sum(weight * content_loss(a[layer], b[layer]) / a[layer].numel() for layer, weight in CONTENT.items())
    expected += sum(weight * style_loss(gram_matrix(a[layer]), gram_matrix(b[layer])) for layer, weight in STYLE.items())
    torch.testing.assert_close(perceptual(*pair), expected, rtol=1e-4, atol=0)


def test_perceptual_loss_is_zero_for_the_same_image_and_positive_for_another(perceptual, pair):
    a, b = pair
    assert perceptual(a, a) == 0
    assert perceptual(a, b) > 0
    assert perceptual(a, b).shape == ()


def test_with_l1_distances_perceptual_loss_is_their_weighted_sum(pair):
    loss = PerceptualLoss({"relu1_2": 0.5, "relu2_2": 2.0}, distance="l1")
    batch = torch.cat([pair[0], pair[1]]), torch.cat([pair[1], pair[1]])
    features, targets = (loss.extractor(images) for images in batch)
    expected = 0.5 * feature_distance(features["relu1_2"], targets["relu1_2"])
    expected = expected + 2 * feature_distance(features["relu2_2"], targets["relu2_2"])
    torch.testing.assert_close(loss(*batch), expected)
    with pytest.raises(ValueError, match="distance must be one of squared, l1"):
        PerceptualLoss({"relu1_2": 1.0}, distance="l2")


@pytest.mark.parametrize(("content", "style"), [(CONTENT, None), ({}, STYLE)])
def test_content_alone_and_style_alone(perceptual, pair, content, style):
    loss = PerceptualLoss(content, style)(*pair)
    assert 0 < loss < perceptual(*pair)


def test_gradients_reach_the_image_only(perceptual, pair):
    image, target = (x.clone().requires_grad_() for x in pair)
    perceptual(image, target).backward()
    assert image.grad.abs().sum() > 0
    assert torch.isfinite(image.grad).all()
    assert target.grad is None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in perceptual.parameters())


def test_the_loss_of_a_batch_is_the_mean(perceptual, pair):
    a, b = pair
    batch = perceptual(torch.cat([a, b, a]), torch.cat([b, b, a]))
    torch.testing.assert_close(batch, perceptual(a, b) / 3, rtol=1e-4, atol=0)


def test_repeating_an_image_in_the_batch_does_not_change_the_loss(perceptual, pair):
    a, b = (x.repeat(3, 1, 1, 1) for x in pair)
    torch.testing.assert_close(perceptual(a, b), perceptual(*pair), rtol=1e-4, atol=0)


def test_a_step_down_the_gradient_lowers_the_loss(perceptual, pair):
    image, target = pair[0].clone().requires_grad_(), pair[1]
    before = perceptual(image, target)
    before.backward()
    step = 1e-3 * image.grad / image.grad.norm()
    assert perceptual(image.detach() - step, target) < before


def test_random_weights_are_enough_for_a_loss(pair):
    a, b = pair
    loss = PerceptualLoss({"relu1_1": 1}, weights=None)
    assert loss(a, a) == 0 < loss(a, b)


def test_weights_that_can_be_numbers_become_numbers():
    loss = PerceptualLoss({"relu1_1": "2"}, {"relu1_2": torch.tensor(3.0)}, weights=None)
    assert (loss.content, loss.style) == ({"relu1_1": 2.0}, {"relu1_2": 3.0})
    assert torch.isfinite(loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"content": {}}, "^layers "),
        ({"content": {}, "style": {}}, "^layers "),
        ({"content": {"relu9_9": 1}}, "relu9_9"),
        ({"content": {"relu1_1": -1}}, r"^content\['relu1_1'\] .*-1"),
        ({"content": {}, "style": {"relu1_1": math.nan}}, r"^style\['relu1_1'\] .*nan"),
        ({"content": {"relu1_1": "much"}}, r"^content\['relu1_1'\] .*'much'"),
        ({"content": {"relu1_1": 1}, "arch": "vgg11"}, "^arch .*'vgg11'"),
        ({"content": {"relu1_1": 1}, "pooling": "median"}, "^pooling .*'median'"),
    ],
)
def test_perceptual_loss_refuses_bad_arguments(arguments, named):
    with pytest.raises(ValueError, match=named):
        PerceptualLoss(**{"weights": None, **arguments})


def test_perceptual_loss_refuses_images_of_different_shapes(perceptual, pair):
    with pytest.raises(ValueError, match=r"\(1, 3, 48, 48\).*\(1, 3, 48, 47\)"):
        perceptual(pair[0], pair[1][..., 1:])
    with pytest.raises(ValueError, match=r"\(1, 3, 48, 48\).*\(2, 3, 48, 48\)"):
        perceptual(pair[0], pair[1].repeat(2, 1, 1, 1))


@pytest.mark.parametrize("content", [["relu2_2"], "relu2_2", None])
def test_perceptual_loss_wants_a_mapping(content):
    with pytest.raises(ValueError, match=r"^content "):
        PerceptualLoss(content, weights=None)


@pytest.mark.parametrize("images", [torch.zeros(0, 3, 16, 16), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)])
def test_perceptual_loss_refuses_integers_and_nothing(images):
    with pytest.raises(ValueError, match=rf"\b{len(images)} of {images.dtype}"):
        PerceptualLoss({"relu1_1": 1}, weights=None)(images, images)


@pytest.mark.parametrize(("scale", "shift"), [(255, 0), (2, -1)], ids=["0 to 255", "-1 to 1"])
def test_targets_in_another_range_are_refused(scale, shift):
    loss = PerceptualLoss({"relu1_1": 1}, weights=None)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert loss(images * 1.2 - 0.1, images).isfinite(), "what is trained may stray"
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        loss(images, images * scale + shift)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_integers_are_refused(dtype):
    images = torch.zeros(1, 3, 8, 8)
    for pair in ((images.to(dtype), images), (images, images.to(dtype))):
        with pytest.raises(ValueError, match="floating-point"):
            PerceptualLoss({"relu1_1": 1}, weights=None)(*pair)
