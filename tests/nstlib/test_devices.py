"""A device is the one asked for, or an error: never another one in its place."""

import pytest
import torch

from nstlib import asset_path, stylize
from nstlib.devices import choose_device, default_fabric, fast_precision

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")


def test_fast_precision_is_one_of_two():
    assert fast_precision("cpu") in (torch.float32, torch.bfloat16)
    assert fast_precision("meta") == torch.float32


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_device_asked_for(device):
    assert choose_device(device) == torch.device("cpu")


def test_by_default_the_gpu_if_there_is_one():
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert default_fabric().device.type == choose_device(None).type


@no_gpu
@pytest.mark.parametrize("device", [0, "cuda", "cuda:0", torch.device("cuda")])
def test_a_gpu_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match="device"):
        choose_device(device)


@no_gpu
def test_a_transfer_does_not_fall_back_to_the_cpu():
    with pytest.raises(ValueError, match="device"):
        stylize(asset_path("washington"), asset_path("scream"), size=64, device=0)


@pytest.mark.parametrize("device", ["gpu", "cpu:x", -7, 99])
def test_what_is_no_device_is_named(device):
    with pytest.raises(ValueError, match="device") as caught:
        choose_device(device)
    assert len(str(caught.value)) < 500
