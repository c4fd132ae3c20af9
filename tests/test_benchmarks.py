"""The loops that nstlib is compared with paint, and the judge without a network tells pictures apart."""

import sys
from pathlib import Path

import pytest
import torch

import nstlib
from nstlib.images import resize

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import loops
from judge import patch_distances


@pytest.fixture(scope="module")
def content():
    return resize(nstlib.load_image(nstlib.asset_path("toronto")), 96)


@pytest.fixture(scope="module")
def style():
    return resize(nstlib.load_image(nstlib.asset_path("scream")), 96)


def test_a_painting_is_nearest_to_itself_and_one_color_is_at_distance_1(content, style):
    flat = style.mean(dim=(2, 3), keepdim=True).expand_as(style)
    assert patch_distances(flat, style) == pytest.approx([1, 1, 1, 1])
    itself, other = patch_distances(style, style), patch_distances(content, style)
    assert all(near < 0.3 for near in itself)
    assert all(near < far for near, far in zip(itself, other, strict=True))


@pytest.mark.parametrize(
    "paint",
    [
        lambda content, style: loops.Tutorial(content, style).images(40),
        lambda content, style: loops.neural_style_pt(content, style, 40),
        lambda content, style: loops.style_transfer_pytorch(content, style, 40, 40),
    ],
    ids=["tutorial", "neural-style-pt", "style-transfer-pytorch"],
)
def test_a_loop_comes_nearer_to_the_style(content, style, paint):
    images = list(paint(content, style))
    assert len(images) == 40
    assert images[-1].shape == content.shape
    assert images[-1].min() >= 0
    assert images[-1].max() <= 1
    network = loops.Network("average")

    def grams(image):
        return [features @ features.T / features.shape[1] for features in network(image).values()]

    first, last, target = map(grams, (images[0], images[-1], style))
    distances = [
        sum(float((a - b).square().sum() / b.square().sum()) for a, b in zip(x, target, strict=True)) for x in (first, last)
    ]
    assert distances[1] < distances[0]


def test_the_square_root_of_newton_and_schulz_and_its_gradient():
    torch.manual_seed(0)
    a = torch.randn(6, 20, dtype=torch.float32)
    a = (a @ a.T / 20).requires_grad_(True)
    root = loops._NewtonSchulz.apply(a)
    torch.testing.assert_close(root @ root, a.detach(), atol=1e-3, rtol=1e-3)
    (gradient,) = torch.autograd.grad(root.trace(), a)
    torch.testing.assert_close(gradient, torch.linalg.inv(root.detach()) / 2, atol=1e-2, rtol=1e-2)
