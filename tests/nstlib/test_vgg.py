"""The extractor is VGG as published: the same features as torchvision's network, from the same weights."""

import io
import re
from email.message import Message
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from nstlib.assets import DATA, AssetError
from nstlib.images import ImageError
from nstlib.vgg import CONVOLUTIONS_PER_BLOCK, PREPROCESSING, FeatureExtractor, layer_names

EMBEDDED = DATA / "vgg16.safetensors"


def torchvision_features(arch, tensors):
    """torchvision's own network, with these weights, as a function: prepared image -> name of layer -> features."""
    with torch.device("meta"):  # nothing is allocated or drawn for the classifier
        net = getattr(models, arch)(weights=None, init_weights=False).features
    net = net.to_empty(device="cpu")
    net.load_state_dict({key.removeprefix("features."): value.float() for key, value in tensors.items()})

    @torch.no_grad()
    def run(x):
        features = {}
        for name, module in zip(layer_names(arch), net, strict=True):
            x = module(x.clone())  # torchvision's ReLU works in place
            features[name] = x
        return features

    return run


def relative(a, b):
    return ((a.float() - b.float()).norm() / b.float().norm()).item()


@pytest.fixture(scope="module")
def all_layers():
    return FeatureExtractor(layers=layer_names())


@pytest.fixture(scope="module")
def random_vgg19():
    """Random weights as torchvision names them."""
    generator = torch.Generator().manual_seed(0)
    tensors, channels, index = {}, 3, 0
    for count, width in zip(CONVOLUTIONS_PER_BLOCK["vgg19"], (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            tensors[f"features.{index}.weight"] = (
                torch.randn(width, channels, 3, 3, generator=generator) * (2 / 9 / channels) ** 0.5
            )
            tensors[f"features.{index}.bias"] = torch.randn(width, generator=generator) * 0.1
            channels, index = width, index + 2
        index += 1
    return tensors


@pytest.fixture
def first_layer():
    """What a file must hold for conv1_1."""
    return {"features.0.weight": torch.randn(64, 3, 3, 3), "features.0.bias": torch.randn(64)}


@pytest.fixture
def weights_file(tmp_path):
    def write(tensors, metadata=None):
        save_file(tensors, tmp_path / "weights.safetensors", metadata)
        return tmp_path / "weights.safetensors"

    return write


# --- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "convolutions"), [("vgg16", 13), ("vgg19", 16)])
def test_layer_names_are_those_of_the_papers(arch, convolutions):
    names = layer_names(arch)
    assert names[:6] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1"]
    assert names[-1] == "pool5"
    assert sum(name.startswith("conv") for name in names) == convolutions
    assert len(names) == len(set(names)) == 2 * convolutions + 5
    assert ("relu4_4" in names) == (arch == "vgg19")


@pytest.mark.parametrize("arch", ["vgg11", "VGG16", "", None])
def test_an_unknown_network_is_refused(arch):
    with pytest.raises(ValueError, match=r"arch .*vgg16, vgg19"):
        layer_names(arch)
    with pytest.raises(ValueError, match=r"arch .*vgg16, vgg19"):
        FeatureExtractor(arch, None)


@pytest.mark.parametrize("layers", [["relu9_9"], ["relu1_1", "relu4_4"], "Relu1_1", [], (), [3], [None]], ids=str)
def test_unknown_layers_are_refused(layers):
    with pytest.raises(ValueError, match=r"layers .*conv1_1"):
        FeatureExtractor("vgg16", None, layers)


@pytest.mark.parametrize("pooling", ["mean", "MAX", None])
def test_unknown_pooling_is_refused(pooling):
    with pytest.raises(ValueError, match=r"pooling .*max, average"):
        FeatureExtractor(weights=None, layers=["pool1"], pooling=pooling)


def test_features_come_in_the_order_asked_for_with_vggs_sizes(all_layers, photo):
    extractor = FeatureExtractor(layers=("relu3_1", "pool1", "conv1_2"))
    assert list(extractor(photo)) == ["relu3_1", "pool1", "conv1_2"]
    shapes = {name: tuple(x.shape) for name, x in all_layers(photo).items()}
    assert list(shapes) == layer_names()
    assert shapes["conv1_1"] == (1, 64, 54, 96)
    assert shapes["pool1"] == (1, 64, 27, 48)
    assert shapes["relu2_2"] == (1, 128, 27, 48)
    assert shapes["relu3_3"] == (1, 256, 13, 24)
    assert shapes["relu4_3"] == (1, 512, 6, 12)
    assert shapes["relu5_3"] == (1, 512, 3, 6)
    assert shapes["pool5"] == (1, 512, 1, 3)


def test_one_layer_can_be_named_alone(photo):
    assert list(FeatureExtractor(layers="relu1_1")(photo)) == ["relu1_1"]


@pytest.mark.parametrize(
    ("layers", "last"), [(["conv1_1"], "conv1_1"), (["relu4_2", "relu1_1"], "relu4_2"), (["pool2"], "pool2")]
)
def test_nothing_past_the_deepest_layer_exists(layers, last):
    extractor = FeatureExtractor(layers=layers)
    names = [name for name, _ in extractor.net.named_children()]
    assert names == layer_names()[: layer_names().index(last) + 1]
    assert sum(isinstance(module, nn.Conv2d) for module in extractor.modules()) == sum(
        name.startswith("conv") for name in names
    )


def test_the_extractor_is_frozen(all_layers):
    assert list(all_layers.parameters())
    assert not any(parameter.requires_grad for parameter in all_layers.parameters())
    assert not any(module.training for module in all_layers.modules())


# --- values ----------------------------------------------------------------------------------------------------------


def test_embedded_weights_give_torchvisions_features_in_every_layer(all_layers, photo):
    # as Caffe wants it: 0-255, minus the mean color, blue first
    prepared = (photo * 255 - torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)).flip(1)
    expected = torchvision_features("vgg16", load_file(EMBEDDED))(prepared)
    features = all_layers(photo)
    assert features.keys() == expected.keys()
    for name, x in features.items():
        assert relative(x, expected[name]) < 1e-4, name


def test_rectifying_in_place_changes_nothing(all_layers, photo):
    expected = all_layers(photo)
    relus = [name for name in layer_names() if name.startswith("relu")]
    for name, x in FeatureExtractor(layers=relus)(photo).items():
        torch.testing.assert_close(x, expected[name])


def test_relu_does_not_overwrite_the_convolution(photo):
    both = FeatureExtractor(layers=["conv1_1", "relu1_1", "conv2_2", "relu2_2"])(photo)
    for block in ("1_1", "2_2"):
        assert both[f"conv{block}"].min() < 0
        assert torch.equal(both[f"relu{block}"], both[f"conv{block}"].clamp_min(0))
    alone = FeatureExtractor(layers=["conv2_2"])(photo)
    torch.testing.assert_close(alone["conv2_2"], both["conv2_2"])


def test_the_image_is_not_changed(photo):
    before = photo.clone()
    FeatureExtractor(layers=["relu1_1"])(photo)
    assert torch.equal(photo, before)


@pytest.mark.parametrize(("pooling", "pool"), [("max", nn.functional.max_pool2d), ("average", nn.functional.avg_pool2d)])
def test_pooling_is_what_was_asked_for(photo, pooling, pool):
    features = FeatureExtractor(layers=["relu1_2", "pool1", "relu2_2", "pool2"], pooling=pooling)(photo)
    for block in (1, 2):
        torch.testing.assert_close(features[f"pool{block}"], pool(features[f"relu{block}_2"], 2))


def test_images_of_a_batch_do_not_mix(all_layers, photo):
    batch = all_layers(torch.cat([photo, photo.flip(3), photo]))
    for name, x in all_layers(photo).items():
        assert relative(batch[name][[0]], x) < 1e-4, name
        assert relative(batch[name][[2]], x) < 1e-4, name


def test_bfloat16_comes_close(photo):
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"]
    exact = FeatureExtractor(layers=layers)(photo)
    fast = FeatureExtractor(layers=layers, precision=torch.bfloat16)(photo)
    for name in layers:
        assert fast[name].dtype == torch.bfloat16
        assert exact[name].dtype == torch.float32
        assert relative(fast[name], exact[name]) < 2e-2, name


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradients_reach_the_image(photo, precision):
    image = photo.clone().requires_grad_()
    features = FeatureExtractor(layers=["relu3_1"], precision=precision)(image)
    features["relu3_1"].float().square().mean().backward()
    assert image.grad.shape == image.shape
    assert torch.isfinite(image.grad).all()
    assert (image.grad != 0).float().mean() > 0.9


@pytest.mark.slow
def test_the_gradient_is_that_of_finite_differences():
    extractor = FeatureExtractor(layers=["relu2_1"], precision=torch.float64, weights=None).double()
    image = torch.rand(1, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: extractor(x)["relu2_1"].square().mean(), image)


# --- images that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 4, 32, 32), (1, 32, 32, 3), (32, 32)])
def test_an_image_of_another_shape_is_refused(all_layers, shape):
    with pytest.raises(ImageError, match=re.escape(str(shape))):
        all_layers(torch.rand(shape))


@pytest.mark.parametrize(
    ("layer", "side"), [("conv1_1", 1), ("relu1_2", 1), ("pool1", 2), ("relu3_1", 4), ("conv5_1", 16), ("pool5", 32)]
)
def test_an_image_too_small_for_the_deepest_layer_is_refused(layer, side):
    extractor = FeatureExtractor(layers=[layer])
    assert min(extractor(torch.rand(1, 3, side, side))[layer].shape) >= 1
    for shape in ((side - 1, 64), (64, side - 1)):
        with pytest.raises(ImageError, match=rf"{shape[1]} x {shape[0]} .*\b{side}$"):
            extractor(torch.rand(1, 3, *shape))


# --- weights ---------------------------------------------------------------------------------------------------------


def test_random_weights_come_from_a_fixed_seed():
    torch.manual_seed(1)
    one = FeatureExtractor(weights=None, layers=["relu2_1"]).state_dict()
    torch.manual_seed(2)
    two = FeatureExtractor(weights=None, layers=["relu2_1"]).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    weight = one["net.conv2_1.weight"]
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)  # He et al., ICCV 2015
    assert not one["net.conv2_1.bias"].any()


def test_random_weights_see_the_image_as_torchvision_prepares_it(photo):
    extractor = FeatureExtractor(weights=None, layers=["conv1_1"])
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in PREPROCESSING["torchvision"])
    expected = nn.functional.conv2d((photo - mean) / std, extractor.state_dict()["net.conv1_1.weight"], padding=1)
    assert relative(extractor(photo)["conv1_1"], expected) < 1e-5


@pytest.mark.parametrize("weights", [None, "imagenet"])
def test_making_an_extractor_leaves_the_random_numbers_alone(weights):
    before = torch.get_rng_state()
    FeatureExtractor(weights=weights, layers=["relu1_2"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize("metadata", [None, {"preprocessing": "torchvision"}, {"format": "pt"}], ids=str)
def test_a_file_in_torchvisions_names_is_read_as_torchvision_prepares(random_vgg19, weights_file, photo, metadata):
    classifier = {"classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.zeros(2)}
    path = weights_file({**random_vgg19, **classifier}, metadata)
    layers = ["relu1_1", "relu3_4", "relu4_4", "relu5_4"]
    features = FeatureExtractor("vgg19", path, layers)(photo)
    weights = models.VGG19_Weights.IMAGENET1K_V1.transforms()
    prepared = (photo - torch.tensor(weights.mean).view(1, 3, 1, 1)) / torch.tensor(weights.std).view(1, 3, 1, 1)
    expected = torchvision_features("vgg19", random_vgg19)(prepared)
    for name in layers:
        assert relative(features[name], expected[name]) < 1e-4, name


def test_a_path_can_be_a_string(first_layer, weights_file, photo):
    path = weights_file(first_layer)
    one, two = (FeatureExtractor(weights=w, layers=["conv1_1"])(photo)["conv1_1"] for w in (path, str(path)))
    assert torch.equal(one, two)


def test_caffe_preprocessing_is_taken_from_the_file(first_layer, weights_file, photo):
    path = weights_file(first_layer, {"preprocessing": "caffe"})
    prepared = (photo * 255 - torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)).flip(1)
    expected = nn.functional.conv2d(prepared, first_layer["features.0.weight"], first_layer["features.0.bias"], padding=1)
    assert relative(FeatureExtractor(weights=path, layers=["conv1_1"])(photo)["conv1_1"], expected) < 1e-5


def test_preprocessing_is_that_of_torchvision():
    for weights in (models.VGG16_Weights.IMAGENET1K_V1, models.VGG19_Weights.IMAGENET1K_V1):
        transforms = weights.transforms()
        assert PREPROCESSING["torchvision"] == (tuple(transforms.mean), tuple(transforms.std))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"features.0.bias": None}, r"vgg16.*features\.0\.bias.*\(64,\).*nothing"),
        ({"features.0.weight": None}, r"vgg16.*features\.0\.weight.*\(64, 3, 3, 3\).*nothing"),
        ({"features.0.weight": torch.zeros(64, 3, 5, 5)}, r"\(64, 3, 3, 3\).*\(64, 3, 5, 5\)"),
        ({"features.0.bias": torch.zeros(63)}, r"\(64,\).*\(63,\)"),
        ({"features.0.bias": torch.full((64,), float("nan"))}, r"features\.0\.bias.*NaN"),
        ({"features.0.weight": torch.full((64, 3, 3, 3), float("inf"))}, r"features\.0\.weight.*NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(first_layer, weights_file, change, named):
    tensors = {key: value for key, value in {**first_layer, **change}.items() if value is not None}
    with pytest.raises(AssetError, match=named) as caught:
        FeatureExtractor(weights=weights_file(tensors), layers=["conv1_1"])
    assert "weights.safetensors" in str(caught.value)


def test_the_weights_of_another_network_are_refused(random_vgg19, weights_file):
    with pytest.raises(AssetError, match=r"weights\.safetensors.*vgg16"):
        FeatureExtractor("vgg16", weights_file(random_vgg19), ["relu4_1"])


def test_unknown_preprocessing_is_refused(first_layer, weights_file):
    with pytest.raises(AssetError, match=r"'oxford'.*caffe, torchvision"):
        FeatureExtractor(weights=weights_file(first_layer, {"preprocessing": "oxford"}), layers=["conv1_1"])


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02}q\x00.", bytes(1000), b"\xff" * 1000])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(AssetError, match=r"weights\.safetensors' .*safetensors: "):
        FeatureExtractor(weights=tmp_path / "weights.safetensors", layers=["conv1_1"])


def test_a_file_cut_short_is_refused(first_layer, weights_file):
    path = weights_file(first_layer)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(AssetError, match=r"weights\.safetensors' .*safetensors: "):
        FeatureExtractor(weights=path, layers=["conv1_1"])


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(AssetError, match=re.escape(str(path))):
            FeatureExtractor(weights=path, layers=["conv1_1"])


def test_the_embedded_weights_are_vgg16s_only():
    with pytest.raises(ValueError, match="arch='vgg16'"):
        FeatureExtractor("vgg19", "imagenet")


# --- weights="torchvision", without the internet ---------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "file"), [("vgg16", "vgg16-397923af.pth"), ("vgg19", "vgg19-dcbb9e9d.pth")])
def test_torchvisions_weights_are_asked_for_by_address_and_hash(first_layer, monkeypatch, photo, arch, file):
    asked = []

    def download(url, *args, **options):
        asked.append((url, options.get("check_hash")))
        return first_layer

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    extractor = FeatureExtractor(arch, "torchvision", ["conv1_1"])
    assert asked == [(f"https://download.pytorch.org/models/{file}", True)]
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in PREPROCESSING["torchvision"])
    expected = nn.functional.conv2d((photo - mean) / std, *first_layer.values(), padding=1)
    torch.testing.assert_close(extractor(photo)["conv1_1"], expected, rtol=1e-4, atol=1e-4)


class Answer(io.BytesIO):
    """What a server sends that does not have the file."""

    def info(self):
        return Message()


@pytest.mark.parametrize("trouble", ["no network", "not the file"])
def test_a_failed_download_says_what_to_use_instead(tmp_path, monkeypatch, trouble):
    def urlopen(request, *args, **options):
        if trouble == "no network":
            raise URLError("no route to host")
        return Answer(b"<html>Log in to the guest network</html>")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    with pytest.raises(AssetError, match="weights='imagenet'") as caught:
        FeatureExtractor("vgg16", "torchvision", ["conv1_1"])
    assert "https://download.pytorch.org/models/vgg16-397923af.pth" in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integers_are_refused(dtype):
    extractor = FeatureExtractor(weights=None, layers=["relu1_1"])
    with pytest.raises(ImageError, match=str(dtype).removeprefix("torch.")):
        extractor(torch.ones(1, 3, 8, 8, dtype=dtype))


@pytest.mark.parametrize("weights", [1, {}, [], np.int64(3), b"x"], ids=repr)
def test_weights_that_are_no_path(weights):
    with pytest.raises(ValueError, match="weights"):
        FeatureExtractor(weights=weights)
