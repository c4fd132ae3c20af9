"""The loops that nstlib is compared with paint, and the judge without a network tells pictures apart."""

import functools
import json
import sys
from pathlib import Path

import pytest
import torch

import nstlib
from nstlib.images import resize

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import loops
import sheet
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
    network = loops.Network("average", torch.device("cpu"))

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


def features(image, *arguments):
    return loops.Network(*arguments)(image)


def test_the_network_is_that_of_nstlib_but_for_pooling_and_border(content):
    cpu = torch.device("cpu")
    ours = nstlib.FeatureExtractor(layers=["relu1_1", "relu4_2"])(content)
    plain, average, replicated = (
        features(content, *arguments) for arguments in (("max", cpu), ("average", cpu), ("max", cpu, "replicate"))
    )
    for layer in ("relu1_1", "relu4_2"):
        expected = ours[layer][0].flatten(1)
        assert (plain[layer] - expected).norm() < 1e-2 * expected.norm()
    assert torch.equal(average["relu1_1"], plain["relu1_1"]), "nothing is pooled yet"
    assert not torch.allclose(average["relu4_2"], plain["relu4_2"], rtol=0.1)
    height, width = content.shape[2:]
    one, other = (found["relu1_1"].unflatten(1, (height, width)) for found in (plain, replicated))
    torch.testing.assert_close(one[:, 1:-1, 1:-1], other[:, 1:-1, 1:-1], rtol=1e-3, atol=1e-3)
    assert (one - other).abs()[:, 0].max() > 0.1


def test_a_sheet_shows_painting_photograph_and_three_pictures(tmp_path, monkeypatch, capsys):
    painted, judged = {}, []

    def judge(image, style):
        judged.append(image)
        return [0.126, 0.25, 0.5, 1.0]

    def few(name):
        paint = getattr(loops, name)

        def painter(content, style, *iterations):
            painted[name] = iterations
            return paint(content, style, *[2] * (2 if iterations else 1))

        return painter

    for name in ("neural_style_pt", "style_transfer_pytorch"):
        monkeypatch.setattr(sheet, name, few(name))
    monkeypatch.setattr(sheet, "patch_distances", judge)
    monkeypatch.setattr(nstlib, "stylize", functools.partial(nstlib.stylize, steps=2))
    monkeypatch.setattr(sheet, "PAIRS", (("coffee", "scream"),))
    monkeypatch.setattr(sys, "argv", ["sheet.py", "--size", "48", "--out", str(tmp_path / "sheets")])
    sheet.main()
    assert painted == {"neural_style_pt": (), "style_transfer_pytorch": sheet.THIRD}
    record = json.loads(capsys.readouterr().out)
    assert (record["content"], record["style"]) == ("coffee", "scream")
    for name in ("nstlib", "style-transfer-pytorch", "neural-style-pt"):
        assert record[name]["levels"] == [0.13, 0.25, 0.5, 1.0]
        assert record[name]["seconds"] >= 0
    shown = nstlib.load_image(tmp_path / "sheets" / "sheet-0.jpg")
    photograph, painting = (sheet.picture(name, 48) for name in ("coffee", "scream"))
    height, width = photograph.shape[2:]
    beside = round(painting.shape[3] * height / painting.shape[2])
    assert shown.shape == (1, 3, height, beside + 4 * width)
    assert (shown[..., beside : beside + width] - photograph).abs().mean() < 0.05
    assert (shown[..., :beside] - resize(painting, (height, beside))).abs().mean() < 0.05
    assert len(judged) == 3
    for number, image in enumerate(judged):
        left = beside + (number + 1) * width
        assert (shown[..., left : left + width] - image.clamp(0, 1)).abs().mean() < 0.1
