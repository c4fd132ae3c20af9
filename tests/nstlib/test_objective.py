"""StyleObjective and its weights, on shallow layers and small images: the formulas are the same at any depth and size."""

import math

import pytest
import torch

import nstlib
from nstlib.assets import DATA
from nstlib.images import resize
from nstlib.objective import CONTENT_LAYERS, STYLE_LAYERS, LossWeights, StyleObjective
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


def test_each_image_has_no_loss_against_itself(extractor, content, style):
    weights = LossWeights(**LAYERS)
    assert StyleObjective(extractor, content, [style], weights)(content)["content"].item() == pytest.approx(0, abs=1e-6)
    assert StyleObjective(extractor, content, [content], weights)(content)["style"].item() == pytest.approx(0, abs=1e-6)


def test_losses_are_relative(extractor, content, style):
    """Of an extractor that sees nothing they are 1."""
    objective = StyleObjective(extractor, content, [style], LossWeights(**LAYERS))
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
    assert not any(gram.requires_grad for region in objective.regions for gram in region.grams.values())


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


def test_blending_styles_blends_their_gram_matrices(extractor, content, style, other):
    weights = LossWeights(**LAYERS)
    single = [StyleObjective(extractor, content, [s], weights).regions[0].grams for s in (style, other)]
    for blend, shares in (([0.75, 0.25], (0.75, 0.25)), (None, (0.5, 0.5))):
        (region,) = StyleObjective(extractor, content, [style, other], weights, blend).regions
        for layer, gram in region.grams.items():
            torch.testing.assert_close(gram, shares[0] * single[0][layer] + shares[1] * single[1][layer])


def test_a_blend_has_the_gradient_of_the_blended_losses(extractor, content, style, other, image):
    """With E_l of all-zero features the blend's own, in both."""
    weights = LossWeights(0, 1, 0, **LAYERS)
    blended = StyleObjective(extractor, content, [style, other], weights, [0.75, 0.25])
    zero = blended.regions[0].zero

    def gradient(loss):
        leaf = image.clone().requires_grad_(True)
        return torch.autograd.grad(loss(leaf), leaf)[0]

    def separate(leaf):
        features = extractor(leaf)
        return sum(
            share * weight / zero[layer] * nstlib.style_loss(nstlib.gram_matrix(features[layer]), target[layer])
            for share, target in ((0.75, blended.style_grams(style)), (0.25, blended.style_grams(other)))
            for layer, weight in weights.style_layers.items()
        )

    expected = gradient(separate)
    torch.testing.assert_close(gradient(lambda leaf: blended(leaf)["style"]), expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_regions_have_their_own_style_and_share(extractor, content, style, other, image):
    mask = left_half()
    mask[..., 10:, :] = 0  # a quarter of the content
    objective = StyleObjective(extractor, content, [style, other], LossWeights(**LAYERS), masks=[mask, 1 - mask])
    assert [region.share for region in objective.regions] == pytest.approx([0.25, 0.75], abs=0.02)
    for region, source in zip(objective.regions, (style, other), strict=True):
        for layer, gram in objective.style_grams(source).items():
            torch.testing.assert_close(region.grams[layer], gram)
    expected = 0.0
    for source, where in ((style, mask), (other, 1 - mask)):
        expected += StyleObjective(extractor, content, [source], LossWeights(**LAYERS), masks=[where])(image)["style"].item()
    assert objective(image)["style"].item() == pytest.approx(expected, rel=1e-4)


def test_a_mask_of_ones_is_no_mask(extractor, content, style, image):
    weights = LossWeights(**LAYERS)
    masked = StyleObjective(extractor, content, [style], weights, masks=[torch.ones(1, 1, 7, 9)])
    plain = StyleObjective(extractor, content, [style], weights)
    assert masked(image)["style"].item() == pytest.approx(plain(image)["style"].item(), rel=1e-4)


def test_under_no_mask_there_is_no_style_gradient(extractor, content, style, image):
    weights = LossWeights(0, 1, 0, **LAYERS)
    leaf = image.clone().requires_grad_(True)
    StyleObjective(extractor, content, [style], weights, masks=[left_half()])(leaf)["style"].backward()
    half = leaf.shape[3] // 2
    assert leaf.grad[..., : half - 8].abs().max() > 0
    assert leaf.grad[..., half + 8 :].abs().max() == 0


def test_flat_images_do_not_divide_by_zero(extractor):
    black = torch.zeros(1, 3, 48, 48)
    losses = StyleObjective(extractor, black, [black], LossWeights(**LAYERS))(black)
    assert all(math.isfinite(loss.item()) for loss in losses.values())


def test_styles_may_differ_in_size(extractor, content, style, image):
    large = resize(style, 100)
    losses = StyleObjective(extractor, content, [style, large], LossWeights(**LAYERS))(image)
    assert torch.isfinite(losses["total"])


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
