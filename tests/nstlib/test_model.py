"""What every model can do: color, be measured, be saved and loaded, also from files with float16 weights."""

import contextlib
import dataclasses
import json
import math
import warnings

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nstlib import AnimeFrames, Colorizer, ColorizerRecipe, Condition, CycleGAN, CycleRecipe, ImageError, ModelError, asset_path
from nstlib.color import lab_to_rgb, luma_bt709, rgb_to_lab, scale_lab, unscale_lab
from nstlib.edges import canny
from nstlib.images import load_image, resize, to_uint8
from nstlib.metrics import color_accuracy
from nstlib.model import METADATA, ColorizationModel
from nstlib.upsampling import guided_upsample
from nstlib.weights import SCALE

COLORIZER = ColorizerRecipe(width=4, epochs=1, batch_size=4, dropout=0.5)
CYCLE = CycleRecipe(width=4, fold=1, epochs=1, batch_size=4, pool=8)
OLD_METADATA = "nstlib.Colorizer"  # the key in files of the first version
MEASURES = {"accuracy", "accuracy_5", "accuracy_ab", "accuracy_ab_5", "psnr", "ssim"}


def colorizer(condition="canny", seed=0, **changes):
    return Colorizer(condition, 16, recipe=dataclasses.replace(COLORIZER, **changes), seed=seed)


def cyclegan(condition="canny", seed=0, **changes):
    return CycleGAN(condition, 16, recipe=dataclasses.replace(CYCLE, **changes), seed=seed)


BOTH = pytest.mark.parametrize("build", [colorizer, cyclegan])


@pytest.fixture
def exactly(monkeypatch):
    """Single precision even where the device is faster in another."""
    monkeypatch.setattr("nstlib.model.fast_precision", lambda device: torch.float32)


# what a model is


def test_the_models_are_siblings():
    assert isinstance(colorizer(), ColorizationModel)
    assert isinstance(cyclegan(), ColorizationModel)
    assert not isinstance(cyclegan(), Colorizer)
    assert not isinstance(colorizer(), CycleGAN)


@BOTH
def test_initial_weights_follow_from_the_seed_alone(build):
    torch.manual_seed(1)
    first = build(seed=3)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    second, other = build(seed=3), build(seed=4)
    assert torch.equal(torch.rand(1), expected), "nor do the caller's random numbers follow from them"
    for network in ("generator", "discriminator"):
        a, b, c = ([p.flatten() for p in getattr(model, network).parameters()] for model in (first, second, other))
        assert torch.equal(torch.cat(a), torch.cat(b))
        assert not torch.equal(torch.cat(a), torch.cat(c))


@BOTH
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"condition": "crayon"}, "crayon"),
        ({"size": 4}, "size"),
        ({"size": 16.0}, "size"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_wrong_arguments_are_named(build, settings, name):
    with pytest.raises(ValueError, match=name):
        type(build())(**settings)


def test_a_recipe_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="CycleRecipe"):
        CycleGAN(recipe=COLORIZER)
    with pytest.raises(ValueError, match="ColorizerRecipe"):
        Colorizer(recipe=CYCLE)
    with pytest.raises(ValueError, match=r"recipe.*fast"):
        Colorizer(recipe="fast")


@BOTH
def test_frames_are_as_much_larger_as_the_condition_wants(build):
    model = build(Condition("canny", supersample=2))
    assert (model.size, model.frame_size) == (16, 32)
    condition, colors = model.inputs(torch.rand(2, 3, 32, 48))
    assert condition.shape == (2, 1, 16, 24)
    assert colors.shape == (2, 3, 16, 24)


def test_inputs_are_scaled_to_one(batch):
    model = colorizer("grayscale")
    condition, colors = model.inputs(batch)
    assert condition.shape == (4, 1, 16, 16)
    assert condition.min() >= -1
    assert condition.max() <= 1
    assert torch.allclose(unscale_lab(colors), rgb_to_lab(batch), atol=1e-3)
    assert torch.equal(condition, model.condition(batch) * 2 - 1)
    assert torch.allclose(colors, scale_lab(rgb_to_lab(batch)))


# colorizing


@BOTH
@pytest.mark.parametrize("shape", [(16, 16), (17, 30), (64, 8)])
def test_colorize_gives_rgb_of_the_same_size(build, shape):
    colorized = build().colorize(torch.rand(2, 1, *shape))
    assert colorized.shape == (2, 3, *shape)
    assert colorized.dtype == torch.float32
    assert colorized.is_contiguous()
    assert colorized.min() >= 0
    assert colorized.max() <= 1


@BOTH
def test_colorize_is_the_networks_output_in_rgb(build, exactly):
    model, condition = build(), torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        expected = lab_to_rgb(unscale_lab(model.generator.eval()(condition * 2 - 1))).clamp(0, 1)
    assert torch.allclose(model.colorize(condition), expected, atol=1e-5)


def test_colorize_has_no_noise():
    """Dropout is for training, and one frame's colors do not depend on the others."""
    model, condition = colorizer(), torch.rand(3, 1, 16, 16)
    model.generator.train()
    together = model.colorize(condition)
    assert torch.equal(together, model.colorize(condition))
    assert torch.allclose(together[1:2], model.colorize(condition[1:2]), atol=0.02)


@BOTH
@pytest.mark.parametrize(
    "condition",
    [
        torch.rand(1, 3, 16, 16),
        torch.rand(16, 16),
        torch.full((1, 1, 16, 16), 2.0),
        torch.full((1, 1, 16, 16), math.nan),
        "gray",
    ],
    ids=["rgb", "no batch", "out of range", "nan", "text"],
)
def test_colorize_refuses_what_is_no_condition(build, condition):
    with pytest.raises(ImageError, match="condition"):
        build().colorize(condition)


# measuring


@BOTH
def test_evaluate_is_the_same_in_any_batch(build):
    model = build(Condition("canny", supersample=2))
    frames = AnimeFrames("shots", 32, 6)
    whole, single = model.evaluate(frames), model.evaluate(frames, batch_size=1)
    assert set(whole) == MEASURES
    for name in whole:
        assert whole[name].shape == (6,)
        assert torch.allclose(whole[name], single[name], atol=2e-2)
    shown = model.compare(frames, [4, 1])
    assert set(shown) == {"condition", "truth", "colorized", "accuracy"}
    assert shown["condition"].shape == (2, 1, 16, 16)
    assert shown["truth"].shape == shown["colorized"].shape == (2, 3, 16, 16)
    assert torch.allclose(shown["accuracy"], whole["accuracy"][[4, 1]], atol=2e-2)


def test_evaluate_needs_frames():
    with pytest.raises(ImageError):
        colorizer().evaluate([])
    with pytest.raises(ImageError, match="255"):
        colorizer().evaluate([torch.full((3, 16, 16), 255.0)])


# files


@BOTH
def test_save_and_load(tmp_path, exactly, build):
    """Through any model's ``load``; 8 bits round the convolutions."""
    model = build(Condition("canny", supersample=2, sigma=1.5), seed=4)
    model.fit(AnimeFrames("train", 32, 8), progress=False)
    model.save(tmp_path / "m.safetensors")
    condition = noise(16, 20)[:, :1]
    for reader in (Colorizer, CycleGAN, ColorizationModel):
        loaded = reader.load(tmp_path / "m.safetensors")
        assert type(loaded) is type(model)
        assert loaded.config() == model.config()
        assert loaded.recipe == model.recipe
        assert loaded.history == model.history
        assert (loaded.colorize(condition) - model.colorize(condition)).abs().mean() < 0.01
        again = reader.load(tmp_path / "m.safetensors")
        assert torch.equal(loaded.colorize(condition), again.colorize(condition))
    saved, state = load_file(tmp_path / "m.safetensors"), model.generator.state_dict()
    assert set(saved) == {*state, *(name + SCALE for name, value in state.items() if value.ndim == 4)}
    assert all(saved[name].dtype == (torch.int8 if value.ndim == 4 else value.dtype) for name, value in state.items())


@BOTH
def test_a_file_in_float16_of_an_earlier_version_loads(tmp_path, exactly, build):
    model, path = build(), tmp_path / "m.safetensors"
    state = model.generator.state_dict()
    tensors = {name: value.half().contiguous() if value.ndim == 4 else value for name, value in state.items()}
    save_file(tensors, path, {METADATA: json.dumps({**model.config(), "ink": None, "history": []})})
    model.generator.load_state_dict(tensors)  # as the file has them
    condition = torch.rand(2, 1, 16, 20)
    assert torch.equal(ColorizationModel.load(path).colorize(condition), model.colorize(condition))


@BOTH
def test_configuration_is_plain_and_tells_models_apart(build):
    model = build(Condition("canny", sigma=1.5))
    config = json.loads(json.dumps(model.config()))
    assert config["model"] == type(model).__name__
    assert Condition(**config["condition"]).config() == model.condition.config()
    assert type(model.recipe)(**config["recipe"]) == model.recipe
    assert (config["size"], config["seed"]) == (16, 0)


def test_load_says_which_file_cannot_be_read(tmp_path):
    file = tmp_path / "m.safetensors"
    with pytest.raises(ModelError, match=r"m\.safetensors"):
        Colorizer.load(file)
    for content in (b"", b"garbage" * 100):
        file.write_bytes(content)
        with pytest.raises(ModelError, match=r"m\.safetensors"):
            Colorizer.load(file)
    with pytest.raises(ModelError, match=tmp_path.name):
        Colorizer.load(tmp_path)


def test_load_refuses_what_is_no_model(tmp_path):
    file = tmp_path / "m.safetensors"
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match=METADATA):
        Colorizer.load(file)
    colorizer().save(file)
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        config = json.loads(opened.metadata()[METADATA])

    def write(tensors, **changes):
        save_file(tensors, file, {METADATA: json.dumps({**config, **changes})})

    write({name: value for name, value in tensors.items() if name != "output.bias"})
    with pytest.raises(ModelError, match=r"output\.bias"):
        Colorizer.load(file)
    for changes, name in (
        ({"size": "large"}, "size"),
        ({"model": "Painter"}, "Painter"),
        ({"recipe": {**config["recipe"], "speed": 3}}, "speed"),
        ({"recipe": {**config["recipe"], "epochs": 0}}, "epochs"),
        ({"condition": {"operator": "crayon"}}, "crayon"),
    ):
        write(tensors, **changes)
        with pytest.raises(ModelError, match=rf"m\.safetensors.*{name}"):
            Colorizer.load(file)
    write(tensors)
    assert Colorizer.load(file).config() == colorizer().config()


def test_save_says_where_it_cannot(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        colorizer().save(tmp_path / "nowhere" / "m.safetensors")


# files of the first version


@pytest.mark.parametrize("name", ["grayscale", "canny"])
def test_shipped_weights_load(name):
    model = Colorizer.load(asset_path(f"colorizer-{name}"))
    assert type(model) is Colorizer
    assert model.condition.operator == name
    assert len(model.history) == model.recipe.epochs
    low, high = model.collapse
    for entry in model.history:
        assert math.isfinite(entry["l1"])
        assert low < entry["discriminator"] < high
    assert model.history[-1]["l1"] < model.history[0]["l1"]


# pictures of any size


def noise(height, width, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


SHAPES = {"4:3": (48, 64), "1.85:1": (35, 64), "21:9": (27, 64), "A4": (65, 46), "square": (50, 50), "strip": (16, 99)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("condition", [Condition(), Condition("canny", supersample=2), Condition("xdog"), Condition("sobel")])
def test_pictures_of_any_shape_are_colored(shape, condition):
    picture = noise(*shape)
    assert colorizer(condition).colorize_image(picture).shape == (1, 3, *shape)
    if condition.operator != "grayscale":
        page = torch.ones(1, 3, *shape)
        page[..., 10:12, :] = 0
        assert colorizer(condition).colorize_drawing(page).shape == (1, 3, *shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_frames_of_any_shape_are_trained_on_and_measured(shape, fabric):
    frames = [noise(*shape, seed)[0] for seed in range(4)]
    frames = [torch.nn.functional.interpolate(f[None], scale_factor=32 / min(shape))[0] for f in frames]
    model = colorizer(Condition("canny", supersample=2))
    model.fit(frames, fabric=fabric, progress=False)
    assert len(model.evaluate(frames)["accuracy"]) == 4
    whole = {name: value.shape for name, value in model.compare(frames, [0, 1]).items()}
    assert whole["truth"] == whole["colorized"]


@pytest.mark.parametrize("size", [64, 100])
def test_a_grayscale_picture_keeps_its_luma(size):
    gray = 0.2 + 0.6 * noise(size, size + 20)[:, :1]
    colorized = colorizer("grayscale").colorize(gray)
    inside = ((colorized > 0.001) & (colorized < 0.999)).all(dim=1, keepdim=True)
    assert inside.float().mean() > 0.5
    assert (luma_bt709(colorized) - gray)[inside].abs().max() < 1e-3


def test_a_condition_of_the_trained_size_is_seen_as_it_is(exactly):
    model = colorizer("grayscale")
    gray = noise(16, 28)[:, :1]
    with torch.no_grad():
        expected = lab_to_rgb(unscale_lab(model.generator.eval()(gray * 2 - 1)))
    torch.testing.assert_close(model.colorize(gray), expected.clamp(0, 1), rtol=0, atol=1e-5)


def test_a_large_grayscale_picture_is_colored_small_and_upsampled_along_its_gray():
    model, gray = colorizer("grayscale"), noise(48, 80)[:, :1]
    colors = model.colorize(resize(gray, (16, 27)))
    torch.testing.assert_close(model.colorize(gray), guided_upsample(colors, gray), rtol=0, atol=0.02)
    picture = noise(48, 80)
    torch.testing.assert_close(model.colorize_image(picture), model.colorize(model.condition(picture)))


@pytest.mark.slow
def test_a_large_picture_is_colored_as_well_as_a_small_one():
    model = Colorizer.load(asset_path("colorizer-grayscale"))
    accuracy = []
    for size in ((72, 128), (576, 1024)):
        frames = AnimeFrames("shots", size, 6, seed=5)
        truth = torch.stack([frames[i] for i in range(6)])
        colorized = model.colorize(model.condition(truth))
        accuracy.append(color_accuracy(colorized, truth, 5).mean().item())
        inside = ((colorized > 0.001) & (colorized < 0.999)).all(dim=1, keepdim=True)
        assert (luma_bt709(colorized) - luma_bt709(truth))[inside].abs().mean() < 0.001
    assert accuracy[1] >= 0.75
    assert accuracy[1] > accuracy[0] - 0.2


# drawings


@pytest.mark.slow
def test_drawings_are_colored_nearly_as_well_as_lines_of_its_own(tmp_path):
    model = Colorizer.load(asset_path("colorizer-canny"))
    shots = AnimeFrames("shots", model.frame_size, 12, seed=1)
    frames = torch.stack([shots[i] for i in range(12)])
    truth, ink = model.condition.truth(frames), 1 - canny(frames)

    def accuracy(colorized):
        return color_accuracy(torch.cat(list(colorized)), truth, 5).mean().item()

    def photographed(lines):
        large = torch.nn.functional.interpolate(lines, scale_factor=4, mode="bilinear").expand(-1, 3, -1, -1)
        tinted = (1 - 0.85 * large) * torch.tensor([1, 0.96, 0.88])[:, None, None]
        grain = 0.03 * torch.randn(tinted.shape, generator=torch.Generator().manual_seed(0))
        return (tinted * torch.linspace(0.95, 0.55, large.shape[2])[:, None] + grain).clamp(0, 1)

    def transparent(lines):
        alpha = to_uint8(lines.expand(-1, 3, -1, -1))
        PIL.Image.fromarray(np.concatenate([0 * alpha, alpha[..., :1]], axis=2)).save(tmp_path / "ink.png")
        return load_image(tmp_path / "ink.png")

    own = accuracy([model.colorize(model.condition(frames))])
    drawn = {
        "thin": [1 - lines.expand(-1, 3, -1, -1) for lines in ink[:, None]],
        "inverted": [lines.expand(-1, 3, -1, -1) for lines in ink[:, None]],
        "transparent": [transparent(lines) for lines in ink[:, None]],
    }
    for name, drawings in drawn.items():
        assert accuracy(model.colorize(model.drawing_condition(drawing)) for drawing in drawings) > own - 0.08, name
    photographs = [photographed(lines) for lines in ink[:, None]]
    assert accuracy(model.colorize(model.drawing_condition(photograph)) for photograph in photographs) > own - 0.2
    again = accuracy(model.colorize(model.condition(drawing)) for drawing in drawn["thin"])
    assert again < own - 0.1, "lines of lines"
    with pytest.warns(RuntimeWarning):
        model.colorize_image(drawn["thin"][0])
    with pytest.warns(RuntimeWarning):
        model.colorize_image(photographs[0])
    assert model.colorize_drawing(photographs[0]).shape == photographs[0].shape


@pytest.mark.parametrize("side", [16, 96])
def test_a_drawings_ink_lies_over_its_colors(side):
    drawing = torch.ones(1, 3, side, side)
    drawing[..., 4:6, 2:-2] = drawing[..., 2:-2, 10:12] = torch.tensor([0.0, 0.1, 0.5])[:, None, None]
    model = colorizer("canny")
    colors = resize(model.colorize(model.drawing_condition(drawing)), (side, side))
    colorized = model.colorize_drawing(drawing)
    paper = drawing.amin(dim=1, keepdim=True) == 1
    assert torch.equal(colorized * paper, colors * paper)
    assert (colorized[:, 0][~paper[:, 0]] == 0).all()
    assert (colorized <= colors).all()


def test_ink_that_looks_like_nothing_trained_on_warns(frames, fabric):
    model = colorizer("canny")
    model.fit(frames, fabric=fabric, progress=False)
    assert 0 < model.ink[0] <= model.ink[1] < 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.colorize(model.condition(frames[0][None]))
        colorizer("canny").colorize(torch.zeros(1, 1, 16, 16))  # untrained: nothing is known
    for level in (0.0, 1.0):
        with pytest.warns(RuntimeWarning):
            model.colorize(torch.full((1, 1, 16, 16), level))


def test_ink_is_saved_and_known_of_the_shipped_colorizer(frames, fabric, tmp_path):
    model = colorizer("canny")
    model.fit(frames, fabric=fabric, progress=False)
    model.save(tmp_path / "model.safetensors")
    assert Colorizer.load(tmp_path / "model.safetensors").ink == model.ink
    assert Colorizer.load(asset_path("colorizer-canny")).ink is not None


def test_a_grayscale_model_takes_no_drawing_and_a_pairs_model_no_picture():
    with pytest.raises(ImageError):
        colorizer("grayscale").colorize_drawing(torch.ones(1, 3, 20, 20))
    with pytest.raises(ImageError):
        colorizer("given").colorize_image(torch.ones(1, 3, 20, 20))
    assert colorizer("given").colorize_drawing(torch.ones(1, 3, 20, 24)).shape == (1, 3, 20, 24)


@BOTH
def test_pairs_are_trained_on_and_measured(build, fabric):
    pairs = [torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    model = build("given")
    model.fit(pairs, validation=pairs, fabric=fabric, progress=False)
    assert "accuracy" in model.history[-1]
    with pytest.raises(ImageError, match="4"):
        build("given").fit([pair[1:] for pair in pairs], fabric=fabric, progress=False)


# the caller's dtype and autograd state


@BOTH
def test_any_dtype_and_autograd_state_are_taken_and_none_leaks(build, frames, fabric):
    model, gray = build(), noise(16, 20)[:, :1]
    expected = model.colorize(gray)
    for off in (contextlib.nullcontext, torch.no_grad, torch.inference_mode):
        with off():
            assert torch.equal(model.colorize(gray), expected)
    for given in (gray.double(), gray.clone().requires_grad_()):
        found = model.colorize(given)
        assert (found.dtype, found.requires_grad) == (torch.float32, False)
        torch.testing.assert_close(found, expected)
        (found * torch.ones(1, requires_grad=True)).sum().backward()
    wide = [frames[i].double() for i in range(8)]
    assert model.evaluate(wide)["accuracy"].dtype == torch.float32
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert len(build().fit(wide, fabric=fabric, progress=False)) == 1


# errors that help


def test_a_condition_of_another_class_is_not_saved(tmp_path):
    class Own(Condition):
        pass

    with pytest.raises(ModelError, match="Own"):
        colorizer(Own("canny")).save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_no_damaged_model(frames, fabric, tmp_path):
    colorizer().fit(frames, folder=tmp_path, fabric=fabric, progress=False)
    with pytest.raises(ModelError, match="checkpoint") as caught:
        Colorizer.load(tmp_path / "checkpoint.pt")
    assert "damaged" not in str(caught.value)
    assert "fit(folder=" in str(caught.value)


@pytest.mark.parametrize("data", [b"\x00" * 9999, torch.rand(99, 9), torch.rand(1, 1, 99, 99) * 255, None])
def test_data_never_appear_in_a_message(data):
    for call in (colorizer().colorize, colorizer().colorize_image, colorizer().colorize_drawing, colorizer().drawing_condition):
        with pytest.raises(ImageError) as caught:
            call(data)
        assert len(str(caught.value)) < 500


def test_items_that_are_no_frames_are_named(frames):
    items = [frames[i] for i in range(6)]
    for wrong in ((frames[0], 1), frames[0][:, :, :12]):
        with pytest.raises(ImageError, match="frame 3"):
            colorizer().evaluate([*items[:3], wrong, *items])


def test_ink_of_any_color_on_nothing_is_a_drawing():
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[20:22, 8:56] = pixels[8:56, 30:32] = (255, 255, 255, 255)
    white = PIL.Image.fromarray(pixels)
    pixels = pixels.copy()
    pixels[..., :3] = 0
    model = colorizer("canny")
    assert torch.equal(model.colorize_drawing(white), model.colorize_drawing(PIL.Image.fromarray(pixels)))


def test_arguments_of_measuring(frames):
    model = colorizer()
    for size in (0, -1):
        with pytest.raises(ValueError, match="batch_size"):
            model.evaluate(frames, batch_size=size)
    with pytest.raises(ValueError, match="indices"):
        model.compare(frames, [])
    with pytest.raises(ValueError, match="seed"):
        Colorizer(seed=2**64)
    with pytest.raises(ModelError, match="path"):
        Colorizer.load(None)


def test_a_recipe_of_numpy_numbers_is_saved(tmp_path):
    recipe = ColorizerRecipe(width=np.int64(4), generator_lr=np.float32(0.5))
    Colorizer(size=np.int64(16), recipe=recipe).save(tmp_path / "model.safetensors")
    assert Colorizer.load(tmp_path / "model.safetensors").recipe == recipe
