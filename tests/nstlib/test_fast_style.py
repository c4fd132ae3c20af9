"""A network that learns one painting."""

import pytest
import torch
from safetensors.torch import load_file

from nstlib import ImageError, PerceptualLoss, load_image
from nstlib.assets import DATA, asset_path
from nstlib.fast_style import (
    CONTENT_LAYER,
    METADATA,
    STYLE_LAYERS,
    FastStyle,
    FastStyleRecipe,
    RandomCrops,
    StyleNetwork,
    relative_loss,
)
from nstlib.images import resize
from nstlib.losses import content_loss, gram_matrix, style_loss
from nstlib.run_folder import ModelError
from nstlib.weights import write_network

TINY = FastStyleRecipe(epochs=2, batch_size=2, width=4, blocks=1)


@pytest.fixture(scope="module")
def scream():
    return load_image(DATA / "scream.jpg", size=96)


@pytest.fixture
def crops(photo):
    return RandomCrops([photo], 32, 8)


# pieces


def test_pieces_are_squares_of_the_pictures(photo):
    crops = RandomCrops([photo, photo.flip(2)], 24, 40)
    assert len(crops) == 40
    pieces = torch.stack([crops[i] for i in range(40)])
    assert pieces.shape == (40, 3, 24, 24)
    assert 0 <= pieces.min() <= pieces.max() <= 1
    assert torch.equal(crops[5], RandomCrops([photo, photo.flip(2)], 24, 6)[5])
    assert not torch.equal(crops[5], RandomCrops([photo, photo.flip(2)], 24, 6, seed=1)[5])
    assert len({float(piece.sum()) for piece in pieces}) == 40


@pytest.mark.parametrize(("arguments", "error"), [(([],), ValueError), ((["missing.png"],), ImageError)])
def test_pieces_of_nothing_are_refused(arguments, error):
    with pytest.raises(error, match="picture"):
        RandomCrops(*arguments)


# the network


@pytest.mark.parametrize("shape", [(16, 16), (33, 47), (40, 64)])
def test_any_size_comes_back_as_it_was(shape):
    painted = StyleNetwork(4, 1)(torch.rand(2, 3, *shape))
    assert painted.shape == (2, 3, *shape)
    assert 0 <= painted.min() <= painted.max() <= 1


def test_the_size_of_the_network_that_ships():
    assert sum(parameter.numel() for parameter in StyleNetwork(32, 5).parameters()) < 2e6  # bytes, in 8 bits


# the loss


def test_losses_are_relative(scream, photo):
    images = torch.rand(2, 3, 48, 48)
    loss = relative_loss(scream)
    features, painting = loss.extractor(images), loss.extractor(scream)
    content, style = loss.parts(images, images, scream)
    assert content.item() == 0
    expected = 0.0
    for layer in STYLE_LAYERS:
        target = gram_matrix(painting[layer])
        zero = style_loss(torch.zeros_like(target), target)
        expected += sum(style_loss(gram, target).item() for gram in gram_matrix(features[layer]).split(1)) / 2 / zero.item() / 4
    assert style.item() == pytest.approx(expected, rel=0.02)
    seen = painting[CONTENT_LAYER].float()
    assert loss.content[CONTENT_LAYER] * content_loss(seen, torch.zeros_like(seen)).item() / seen.numel() == pytest.approx(1)


def test_parts_of_the_perceptual_loss_add_up_and_take_another_style(photo, scream):
    loss = PerceptualLoss({"relu2_2": 1e-3}, {"relu1_2": 1e-3})
    image = torch.rand_like(photo)
    content, style = loss.parts(image, photo)
    assert loss(image, photo).item() == pytest.approx((content + style).item())
    again, other = loss.parts(image, photo, scream)
    assert again.item() == content.item()
    assert other.item() != pytest.approx(style.item())
    _, none = loss.parts(image, photo, image)
    assert none.item() == pytest.approx(0, abs=1e-6)


# training


def test_it_learns_the_painting(scream, photo, fabric):
    recipe = FastStyleRecipe(epochs=4, batch_size=2, width=8, blocks=1, generator_lr=1e-2)
    fast = FastStyle(scream, 32, recipe=recipe)
    history = fast.fit(RandomCrops([photo], 32, 24), fabric=fabric, progress=False)
    assert set(history[0]) == {"content", "style", "tv", "seconds"}
    assert history[-1]["style"] < history[0]["style"]
    painted = fast.stylize(photo)
    assert painted.shape == photo.shape
    loss = relative_loss(fast.style)
    assert loss.parts(painted, photo, fast.style)[1] < loss.parts(photo, photo, fast.style)[1]


def test_it_goes_on_after_an_interruption_to_the_same_bits(scream, crops, fabric, tmp_path):
    whole = FastStyle(scream, 32, recipe=TINY)
    whole.fit(crops, fabric=fabric, progress=False)
    cut = FastStyle(scream, 32, recipe=TINY)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.fit(crops, folder=tmp_path, fabric=fabric, progress=False, callback=stop)
    again = FastStyle(scream, 32, recipe=TINY)
    again.fit(crops, folder=tmp_path, fabric=fabric, progress=False)
    for name, value in whole.generator.state_dict().items():
        assert torch.equal(value, again.generator.state_dict()[name]), name


def test_saved_and_loaded_it_paints_alike(scream, photo, tmp_path):
    fast = FastStyle(scream, 32, recipe=TINY)
    fast.save(tmp_path / "fast.safetensors")
    loaded = FastStyle.load(tmp_path / "fast.safetensors")
    assert loaded.config() == fast.config()
    assert (loaded.stylize(photo) - fast.stylize(photo)).abs().max() < 0.05
    assert (loaded.style - fast.style).abs().max() < 0.01
    assert loaded.history == fast.history
    saved = load_file(tmp_path / "fast.safetensors")
    assert saved["style"].dtype == torch.uint8, "a painting of four dimensions is no convolution"
    convolutions = [name for name, value in fast.generator.state_dict().items() if value.ndim == 4]
    assert all(saved[name].dtype == torch.int8 for name in convolutions)


def test_what_cannot_be_loaded_is_said(tmp_path):
    (tmp_path / "note.safetensors").write_text("no")
    for name in ("note.safetensors", "missing.safetensors"):
        with pytest.raises(ModelError, match=name):
            FastStyle.load(tmp_path / name)
    with pytest.raises(ModelError, match=rf"colorizer-canny.*{METADATA}"):  # the entry that it lacks
        FastStyle.load(DATA / "colorizer-canny.safetensors")
    with pytest.raises(ModelError, match="nowhere"):
        FastStyle(torch.rand(1, 3, 32, 32), 32, recipe=TINY).save(tmp_path / "nowhere" / "fast.safetensors")


@pytest.mark.parametrize("change", ["style", "layers.0.weight", "size", "recipe"])
def test_a_file_that_lacks_something_is_no_network_that_learned_a_painting(scream, tmp_path, change):
    fast, path = FastStyle(scream, 32, recipe=TINY), tmp_path / "fast.safetensors"
    tensors, config = {**fast.generator.state_dict(), "style": fast.style}, {**fast.config(), "history": []}
    (tensors if change in tensors else config).pop(change)
    write_network(path, tensors, METADATA, config)
    with pytest.raises(ModelError, match=rf"(?s)fast\.safetensors.*learned a painting.*{change}"):
        FastStyle.load(path)


def test_the_network_that_ships_paints_nearer_to_its_painting(photo):
    fast = FastStyle.load(asset_path("fast-style-scream"))
    assert len(fast.history) == fast.recipe.epochs
    assert fast.history[-1]["style"] < fast.history[0]["style"]
    painted = fast.stylize(photo)
    assert painted.shape == photo.shape
    style = resize(fast.style, 96)
    loss = relative_loss(style)
    (content, near), (_, far), (other, _) = (loss.parts(one, photo, style) for one in (painted, photo, painted.flip(3)))
    assert near < 0.7 * far
    assert content < 0.9 * other, "what the photograph shows is still there"


def test_wrong_arguments_are_named(scream):
    with pytest.raises(ValueError, match="size"):
        FastStyle(scream, 8)
    with pytest.raises(ValueError, match="recipe"):
        FastStyle(scream, recipe="laptop")
    with pytest.raises(ValueError, match="blocks"):
        FastStyleRecipe(blocks=-1)
    with pytest.raises(ImageError, match="style"):
        FastStyle("missing.png")
