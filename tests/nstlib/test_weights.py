"""Saved networks: convolutions in 8 bits, all else exactly; files that cannot be read or written are named."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from nstlib.run_folder import ModelError
from nstlib.weights import LEVELS, SCALE, read_network, write_network

KEY = "nstlib.test"
CONFIG = {"size": 32, "name": "Küste", "weights": [0.5, None]}


@pytest.fixture
def tensors():
    """A convolution whose channels have very different sizes, one of them nothing; and what is no convolution."""
    torch.manual_seed(0)
    sizes = torch.tensor([1e-3, 1.0, 50.0, 0.0, 1e-6]).view(5, 1, 1, 1)
    return {
        "layer.weight": torch.randn(5, 4, 3, 3) * sizes,
        "layer.bias": torch.randn(5),
        "linear.weight": torch.randn(6, 5),
        "count": torch.tensor(7),
        "style": torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8),
    }


def written(path, tensors, config=CONFIG):
    write_network(path, tensors, KEY, config)
    return read_network(path, KEY)


# what is written is read


def test_a_convolution_comes_back_to_half_a_step_of_each_channel(tmp_path, tensors):
    found, _ = written(tmp_path / "n.safetensors", tensors)
    true, kept = tensors["layer.weight"], found["layer.weight"]
    assert kept.dtype == torch.float32
    error = (kept - true).abs().flatten(1).amax(dim=1)
    largest = true.abs().flatten(1).amax(dim=1)
    assert (error <= 0.5001 * largest / LEVELS).all()
    assert (error[:3] > 0.2 * largest[:3] / LEVELS).all(), "rounded to whole steps, and to no finer ones"
    torch.testing.assert_close(kept.flatten(1).abs().amax(dim=1), largest)


def test_a_channel_of_zeros_stays_so(tmp_path, tensors):
    for shape in ((5, 4, 3, 3), (1, 1, 1, 1)):
        tensors["layer.weight"][3] = 0
        found, _ = written(tmp_path / "n.safetensors", {**tensors, "nothing": torch.zeros(shape)})
        assert (found["layer.weight"][3] == 0).all()
        assert torch.equal(found["nothing"], torch.zeros(shape))


def test_all_else_comes_back_exactly(tmp_path, tensors):
    found, config = written(tmp_path / "n.safetensors", tensors)
    assert config == CONFIG
    assert found.keys() == tensors.keys()
    for name in ("layer.bias", "linear.weight", "count", "style"):
        assert found[name].dtype == tensors[name].dtype
        assert torch.equal(found[name], tensors[name])


def test_what_was_read_is_written_without_a_further_loss(tmp_path, tensors):
    first, _ = written(tmp_path / "n.safetensors", tensors)
    second, _ = written(tmp_path / "n.safetensors", first)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-6, atol=0)


def test_a_convolution_takes_a_byte_a_weight(tmp_path):
    convolution = torch.randn(64, 64, 4, 4)
    written(tmp_path / "n.safetensors", {"layer.weight": convolution})
    assert (tmp_path / "n.safetensors").stat().st_size < convolution.numel() + 2000
    saved = load_file(tmp_path / "n.safetensors")
    assert saved["layer.weight"].dtype == torch.int8
    assert saved["layer.weight" + SCALE].shape == (64, 1, 1, 1)


def test_gradients_other_memory_layouts_and_half_precision_are_taken(tmp_path, tensors):
    weight = tensors["layer.weight"]
    expected = written(tmp_path / "n.safetensors", {"w": weight})[0]["w"]
    for given in (weight.clone().requires_grad_(), weight.to(memory_format=torch.channels_last)):
        assert torch.equal(written(tmp_path / "n.safetensors", {"w": given})[0]["w"], expected)
    half = torch.randn(4, 4, 3, 3).half()
    kept = written(tmp_path / "n.safetensors", {"w": half})[0]["w"]
    assert (kept - half.float()).abs().max() < 0.02


def test_a_network_of_torch_gives_nearly_what_it_gave(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ConvTranspose2d(8, 3, 4)).eval()
    image = torch.rand(1, 3, 12, 12)
    before = network(image)
    network.load_state_dict(written(tmp_path / "n.safetensors", network.state_dict())[0])
    after = network(image)
    assert not torch.equal(after, before)
    assert (after - before).abs().max() < 0.02 * before.abs().max()


def test_a_file_in_float16_of_an_earlier_version_is_read(tmp_path, tensors):
    half = {name: value.half() if name == "layer.weight" else value for name, value in tensors.items()}
    save_file(half, tmp_path / "n.safetensors", {KEY: json.dumps(CONFIG)})
    found, config = read_network(tmp_path / "n.safetensors", KEY)
    assert config == CONFIG
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], half[name]) for name in half)


# errors


@pytest.mark.parametrize("path", [None, 3, b"n.safetensors"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ModelError, match="path"):
        read_network(path, KEY)


def test_an_invalid_file_is_named(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"folder\.safetensors.*is a folder"):
        read_network(tmp_path / "folder.safetensors", KEY)
    with pytest.raises(ModelError, match=r"missing\.safetensors.*no such file"):
        read_network(tmp_path / "missing.safetensors", KEY)


def test_a_damaged_file_is_named(tmp_path, tensors):
    path = tmp_path / "n.safetensors"
    write_network(path, tensors, KEY, CONFIG)
    whole = path.read_bytes()
    for content in (b"", b"garbage" * 100, whole[:100], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"n\.safetensors.*damaged"):
            read_network(path, KEY)


def test_a_checkpoint_is_told_apart_from_a_damaged_file(tmp_path):
    torch.save({"step": 1}, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match=r"checkpoint\.pt.*looks like a checkpoint.*fit\(folder=") as caught:
        read_network(tmp_path / "checkpoint.pt", KEY)
    assert "damaged" not in str(caught.value)


def test_a_file_of_something_else_is_named(tmp_path, tensors):
    path = tmp_path / "n.safetensors"
    write_network(path, tensors, KEY, CONFIG)
    with pytest.raises(ModelError, match=r"n\.safetensors.*other\.key"):
        read_network(path, "other.key")
    save_file(tensors, path)  # no metadata at all
    with pytest.raises(ModelError, match=rf"n\.safetensors.*{KEY}"):
        read_network(path, KEY)
    save_file(tensors, path, {KEY: "{"})
    with pytest.raises(ModelError, match=r"n\.safetensors.*this version can read"):
        read_network(path, KEY)


def test_a_scale_that_does_not_fit_is_named(tmp_path, tensors):
    path = tmp_path / "n.safetensors"
    write_network(path, tensors, KEY, CONFIG)
    saved = load_file(path)
    for change in ({"gone.weight" + SCALE: torch.ones(1)}, {"layer.weight" + SCALE: torch.ones(7, 1, 1, 1)}):
        save_file({**saved, **change}, path, {KEY: json.dumps(CONFIG)})
        with pytest.raises(ModelError, match=r"n\.safetensors.*this version can read"):
            read_network(path, KEY)


def test_a_path_that_cannot_be_written_is_named(tmp_path, tensors):
    with pytest.raises(ModelError, match=r"nowhere.*cannot be written"):
        write_network(tmp_path / "nowhere" / "n.safetensors", tensors, KEY, CONFIG)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"folder\.safetensors.*cannot be written"):
        write_network(tmp_path / "folder.safetensors", tensors, KEY, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"], "nothing half-written is left"


def test_a_failure_keeps_the_old_file_and_leaves_nothing_half_written(tmp_path, tensors, monkeypatch):
    def fail(packed, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "no space left on device")

    path = tmp_path / "n.safetensors"
    write_network(path, tensors, KEY, CONFIG)
    before = path.read_bytes()
    monkeypatch.setattr("nstlib.weights.save_file", fail)
    with pytest.raises(ModelError, match=r"n\.safetensors.*cannot be written.*no space"):
        write_network(path, tensors, KEY, {"size": 64})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
