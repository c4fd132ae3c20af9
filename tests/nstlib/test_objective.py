"""StyleObjective and its weights, on shallow layers and small images: the formulas are the same at any depth and size."""

import math

import pytest
import torch

import nstlib
from nstlib.assets import DATA
from nstlib.images import resize
from nstlib.objective import LossWeights, StyleObjective, cut
from nstlib.statistics import CONTENT_LAYERS, STYLE_LAYERS, TARGETS
from nstlib.vgg import FeatureExtractor

LAYERS = {"content_layers": {"relu2_1": 1}, "style_layers": {"relu1_1": 3, "relu2_1": 1}}


@pytest.fixture(scope="module")
def extractor():
    return FeatureExtractor(layers=["relu2_1", "relu1_1"], pooling="average")


@pytest.fixture(scope="module")
def content():
    return nstlib.load_image(DATA / "washington.jpg", 56)


@pytest.fixture(scope="module")
def style():
    return nstlib.load_image(DATA / "scream.jpg", 56)


@pytest.fixture(scope="module")
def other():
    return nstlib.load_image(DATA / "toronto.png", 48)


@pytest.fixture(scope="module")
def image(content):
    """Any image of the content's size."""
    return torch.rand(content.shape, generator=torch.Generator().manual_seed(0))


def left_half(height=20, width=30):
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1
    return mask


# the losses


def test_losses_are_equations_1_to_3(extractor, content, style, image):
    """Put together from the public functions, with relative weights."""
    losses = StyleObjective(extractor, content, [style], LossWeights(2, 3, 5, **LAYERS))(image)
    fx, fp, fa = extractor(image), extractor(content), extractor(style)
    expected_content = nstlib.content_loss(fx["relu2_1"], fp["relu2_1"]) / fp["relu2_1"].square().sum()
    expected_style = 0
    for layer, share in (("relu1_1", 0.75), ("relu2_1", 0.25)):
        gram, target = nstlib.gram_matrix(fx[layer]), nstlib.gram_matrix(fa[layer])
        expected_style += share * nstlib.style_loss(gram, target) / nstlib.style_loss(torch.zeros_like(target), target)
    expected_tv = nstlib.total_variation(image) / image.numel()
    assert losses["content"].item() == pytest.approx(expected_content.item(), rel=1e-4)
    assert losses["style"].item() == pytest.approx(expected_style.item(), rel=1e-4)
    assert losses["tv"].item() == pytest.approx(expected_tv.item(), rel=1e-4)
    total = 2 * losses["content"] + 3 * losses["style"] + 5 * losses["tv"]
    assert losses["total"].item() == pytest.approx(total.item(), rel=1e-5)


@pytest.mark.parametrize("statistic", list(TARGETS))
def test_each_image_has_no_loss_against_itself(extractor, content, style, statistic):
    weights = LossWeights(**LAYERS)
    assert StyleObjective(extractor, content, [style], weights)(content)["content"].item() == pytest.approx(0, abs=1e-6)
    losses = StyleObjective(extractor, content, [content], weights, statistic=statistic)(content)
    assert losses["style"].item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("statistic", list(TARGETS))
def test_losses_are_relative(extractor, content, style, statistic):
    """Of an extractor that sees nothing they are 1."""
    objective = StyleObjective(extractor, content, [style], LossWeights(**LAYERS), statistic=statistic)
    objective.extractor = lambda image: {layer: torch.zeros_like(f) for layer, f in extractor(image).items()}
    losses = objective(content)
    assert losses["content"].item() == pytest.approx(1)
    assert losses["style"].item() == pytest.approx(1)


def test_gradient_reaches_the_image_alone(extractor, content, style, image):
    leaf = image.clone().requires_grad_(True)
    objective = StyleObjective(extractor, content, [style], LossWeights(**LAYERS))
    objective(leaf)["total"].backward()
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad.abs().max() > 0
    assert not any(target.requires_grad for target in objective.content_targets.values())
    assert not any(target.gram.requires_grad for region in objective.regions for target in region.targets.values())


def test_weights_may_be_replaced(extractor, content, style, image):
    objective = StyleObjective(extractor, content, [style], LossWeights(1, 8, 10, **LAYERS))
    objective(image)
    new = LossWeights(2, 3, 5, LAYERS["content_layers"], {"relu1_1": 1, "relu2_1": 1})
    objective.weights = new
    expected = StyleObjective(extractor, content, [style], new)(image)
    assert {name: loss.item() for name, loss in objective(image).items()} == pytest.approx(
        {name: loss.item() for name, loss in expected.items()}
    )


def test_the_papers_layers_are_the_default():
    weights = LossWeights()
    assert weights.layers == [*CONTENT_LAYERS, *STYLE_LAYERS]
    assert list(weights.style_layers.values()) == pytest.approx([0.2] * 5)
    assert LossWeights(content_layers={"relu1_1": 2}, style_layers={"relu1_1": 1}).layers == ["relu1_1"]


# several styles


@pytest.mark.parametrize("statistic", list(TARGETS))
def test_a_blend_has_the_blended_moments_of_its_styles(extractor, content, style, other, statistic):
    weights, moments_of = LossWeights(**LAYERS), TARGETS[statistic].moments
    for blend, (first, second) in (([0.75, 0.25], (0.75, 0.25)), (None, (0.5, 0.5))):
        (region,) = StyleObjective(extractor, content, [style, other], weights, blend, statistic=statistic).regions
        assert region.share == 1
        for layer, target in region.targets.items():
            one, two = (moments_of(extractor(image)[layer], None) for image in (style, other))
            blended = [first * a + second * b for a, b in zip(one, two, strict=True)]
            assert target.loss(*blended).item() == pytest.approx(0, abs=1e-3)
            assert target.loss(*one).item() > 1e-2


def test_regions_have_their_own_style_and_share(extractor, content, style, other, image):
    mask = left_half()
    mask[..., 10:, :] = 0  # a quarter of the content
    objective = StyleObjective(extractor, content, [style, other], LossWeights(**LAYERS), masks=[mask, 1 - mask])
    assert [region.share for region in objective.regions] == pytest.approx([0.25, 0.75], abs=0.02)
    expected = 0.0
    for source, where in ((style, mask), (other, 1 - mask)):
        expected += StyleObjective(extractor, content, [source], LossWeights(**LAYERS), masks=[where])(image)["style"].item()
    assert objective(image)["style"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("statistic", list(TARGETS))
def test_a_mask_of_ones_is_no_mask(extractor, content, style, image, statistic):
    weights = LossWeights(**LAYERS)
    masked = StyleObjective(extractor, content, [style], weights, masks=[torch.ones(1, 1, 7, 9)], statistic=statistic)
    plain = StyleObjective(extractor, content, [style], weights, statistic=statistic)
    assert masked(image)["style"].item() == pytest.approx(plain(image)["style"].item(), rel=1e-4)


@pytest.mark.parametrize("statistic", list(TARGETS))
def test_under_no_mask_there_is_no_style_gradient(extractor, content, style, image, statistic):
    weights = LossWeights(0, 1, 0, **LAYERS)
    leaf = image.clone().requires_grad_(True)
    StyleObjective(extractor, content, [style], weights, masks=[left_half()], statistic=statistic)(leaf)["style"].backward()
    half = leaf.shape[3] // 2
    assert leaf.grad[..., : half - 8].abs().max() > 0
    assert leaf.grad[..., half + 8 :].abs().max() == 0


@pytest.mark.parametrize("statistic", list(TARGETS))
def test_flat_images_do_not_divide_by_zero(extractor, statistic):
    black = torch.zeros(1, 3, 48, 48).requires_grad_(True)
    losses = StyleObjective(extractor, black.detach(), [black.detach()], LossWeights(**LAYERS), statistic=statistic)(black)
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    losses["total"].backward()
    assert torch.isfinite(black.grad).all()


def test_styles_may_differ_in_size(extractor, content, style, image):
    large = resize(style, 100)
    losses = StyleObjective(extractor, content, [style, large], LossWeights(**LAYERS))(image)
    assert torch.isfinite(losses["total"])


def test_the_gaussian_statistic_is_the_wasserstein_distance(extractor, content, style, image):
    losses = StyleObjective(extractor, content, [style], LossWeights(**LAYERS), statistic="gaussian")(image)
    fx, fa, expected = extractor(image), extractor(style), 0.0

    def mean_and_covariance(features):
        mean = nstlib.feature_mean(features)
        return mean, nstlib.feature_covariance(mean, nstlib.gram_matrix(features))

    for layer, share in (("relu1_1", 0.75), ("relu2_1", 0.25)):
        mean, covariance = mean_and_covariance(fa[layer])
        target = mean, nstlib.matrix_root(covariance)
        zero = nstlib.wasserstein_loss(torch.zeros_like(mean), torch.zeros_like(covariance), *target)
        expected += share * float(nstlib.wasserstein_loss(*mean_and_covariance(fx[layer]), *target) / zero)
    assert losses["style"].item() == pytest.approx(expected, rel=1e-4)


def test_an_unknown_statistic(extractor, content, style):
    with pytest.raises(ValueError, match="statistic must be one of gram, gaussian"):
        StyleObjective(extractor, content, [style], LossWeights(**LAYERS), statistic="median")


# large images


@pytest.mark.parametrize(("height", "width", "side", "margin"), [(200, 130, 64, 32), (64, 64, 64, 16), (65, 47, 32, 16)])
def test_tiles_fill_the_image_once_and_see_their_surroundings(height, width, side, margin):
    seen = torch.zeros(height, width)
    for tile in cut(height, width, side, margin):
        seen[tile.inner] += 1
        for inner, outer, length in zip(tile.inner, tile.outer, (height, width), strict=True):
            assert inner.start % 16 == outer.start % 16 == 0
            assert outer.start == max(0, inner.start - margin)
            assert outer.stop == min(length, inner.stop + margin)
    assert (seen == 1).all()


def test_an_image_no_larger_than_a_tile_is_one():
    for height, width in ((64, 40), (79, 64)):  # 15 pixels more are too few for a tile
        (tile,) = cut(height, width, 64, 32)
        assert tile.inner == tile.outer == (slice(0, height), slice(0, width))


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("statistic", list(TARGETS))
@pytest.mark.parametrize("masked", [False, True])
def test_tiles_give_the_losses_and_the_gradient_of_the_whole(content, style, other, statistic, masked, pooling):
    weights = LossWeights(2, 3, 5, {"relu1_2": 1, "relu2_2": 2}, {"relu1_1": 3, "relu3_1": 1})
    extractor = FeatureExtractor(layers=weights.layers, pooling=pooling, precision=torch.float64).double()
    content, style, other = (resize(x, size).double() for x, size in ((content, 151), (style, 130), (other, 100)))
    mask = left_half().double()
    settings = {"masks": [mask, 1 - mask]} if masked else {"blend": [0.7, 0.3]}
    image = torch.rand(content.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def losses_and_gradient(tile):
        objective = StyleObjective(extractor, content, [style, other], weights, statistic=statistic, tile=tile, **settings)
        leaf = image.clone().requires_grad_(True)
        losses = objective(leaf)
        losses["total"].backward()
        return len(objective.tiles), {name: loss.item() for name, loss in losses.items()}, leaf.grad

    one, expected, gradient = losses_and_gradient(1024)
    several, losses, found = losses_and_gradient(64)
    assert one == 1
    assert several == 6
    assert losses == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(found, gradient, rtol=1e-6, atol=1e-8 * gradient.abs().max().item())


# weights that cannot be


@pytest.mark.parametrize("name", ["content", "style", "tv"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, "much", None])
def test_bad_weights(name, value):
    with pytest.raises(ValueError, match=f"{name}_weight"):
        LossWeights(**{name: value})


def test_all_weights_0():
    with pytest.raises(ValueError, match=r"content_weight.*style_weight.*tv_weight"):
        LossWeights(0, 0, 0)


@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
@pytest.mark.parametrize("value", [{}, {"relu1_1": 0}, {"relu1_1": -1}, {"relu1_1": math.nan}, ["relu2_1"], "relu2_1"])
def test_bad_layers(name, value):
    with pytest.raises(ValueError, match=name):
        LossWeights(**{name: value})
