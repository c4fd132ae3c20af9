"""What several test files share."""

import pytest
import torch

from nstlib.anime import AnimeFrames
from nstlib.assets import DATA
from nstlib.images import load_image


@pytest.fixture(scope="session")
def photo():
    """A small photograph, 96 x 54 pixels; not to be changed in place."""
    return load_image(DATA / "washington.jpg", size=96)


@pytest.fixture
def frames():
    """Few and tiny: to train on in a test."""
    return AnimeFrames("train", 16, 32)


@pytest.fixture
def batch(frames):
    """Four of them."""
    return torch.stack([frames[i] for i in range(4)])


@pytest.fixture
def fabric():
    """One process on the CPU, in single precision."""
    from lightning_fabric import Fabric

    return Fabric(accelerator="cpu", devices=1, precision="32-true")
