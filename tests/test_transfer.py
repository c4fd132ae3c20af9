"""StyleTransfer and stylize, on shallow layers and small images: the machinery is the same at any depth and size."""

import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

import nstlib
from nstlib import transfer as transfer_module
from nstlib.assets import DATA
from nstlib.images import resize
from nstlib.transfer import DivergenceError, StyleTransfer, TransferError, pyramid, stylize

SHALLOW = {
    "content_layers": {"relu2_1": 1},
    "style_layers": {"relu1_1": 1, "relu2_1": 1},
    "size": 56,
    "steps": 8,
    "coarsest": 32,
    "precision": torch.float32,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def content():
    return nstlib.load_image(DATA / "washington.jpg", 96)[..., 20:74]  # square, so that a pyramid from 32 px fits


@pytest.fixture(scope="module")
def style():
    return nstlib.load_image(DATA / "scream.jpg", 80)


def run(content, style, **settings):
    return stylize(content, style, progress=False, **{**SHALLOW, **settings})


# -- the objective --


def test_total_is_the_formula(content, style):
    """Eq. (1)-(3) put together from the public functions, for one scale and relative weights."""
    settings = {**SHALLOW, "coarsest": 56, "style_layers": {"relu1_1": 3, "relu2_1": 1}}
    transfer = StyleTransfer(content, style, content_weight=2, style_weight=3, tv_weight=5, **settings)
    x = transfer.image
    p, a = resize(content, 56), resize(style, 56)
    extractor = nstlib.FeatureExtractor(layers=["relu1_1", "relu2_1"], pooling="average")
    fx, fp, fa = extractor(x), extractor(p), extractor(a)
    expected_content = nstlib.content_loss(fx["relu2_1"], fp["relu2_1"]) / fp["relu2_1"].square().sum()
    expected_style = 0
    for layer, share in (("relu1_1", 0.75), ("relu2_1", 0.25)):
        g, target = nstlib.gram_matrix(fx[layer]), nstlib.gram_matrix(fa[layer])
        expected_style += share * nstlib.style_loss(g, target) / nstlib.style_loss(torch.zeros_like(target), target)
    expected_tv = nstlib.total_variation(x) / x.numel()
    losses = transfer._losses
    assert losses["content"] == pytest.approx(float(expected_content), rel=1e-4, abs=1e-7)
    assert losses["style"] == pytest.approx(float(expected_style), rel=1e-4)
    assert losses["tv"] == pytest.approx(float(expected_tv), rel=1e-4)
    total = 2 * losses["content"] + 3 * losses["style"] + 5 * losses["tv"]
    assert losses["total"] == pytest.approx(total, rel=1e-5)


def test_gradient_is_that_of_the_loss(content, style):
    """Central difference along the gradient; a content image starts at its own minimum, so start from noise."""
    transfer = StyleTransfer(content, style, init="noise", **{**SHALLOW, "coarsest": 56})
    gradient = transfer._gradient.clone()
    direction = gradient / gradient.norm()
    start, step = transfer.pixels.detach().clone(), 1e-3 * float(transfer.pixels.detach().norm())
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            transfer.pixels.copy_(start + sign * step * direction)
        transfer._evaluate()
        values.append(float(transfer._total))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.02)


def test_blending_styles_blends_their_gram_matrices(content, style):
    other = nstlib.load_image(DATA / "toronto.png", 64)
    single = [StyleTransfer(content, s, **SHALLOW)._regions[0].grams for s in (style, other)]
    blended = StyleTransfer(content, [style, other], style_blend=[0.6, 0.2], **SHALLOW)._regions[0].grams
    for layer, gram in blended.items():
        torch.testing.assert_close(gram, 0.75 * single[0][layer] + 0.25 * single[1][layer])


# -- the optimisation --


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("init", ["content", "noise", "style"])
def test_loss_falls_and_the_best_is_kept(content, style, optimizer, init):
    result = run(content, style, optimizer=optimizer, init=init, steps=12, coarsest=56)
    totals = [entry["total"] for entry in result.history]
    assert totals[-1] < 0.9 * totals[0]
    assert result.image.shape == resize(content, 56).shape
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    judge = StyleTransfer(result.image, style, **{**SHALLOW, "coarsest": 56})  # any transfer of that size can show the image
    assert judge.image.shape == result.image.shape
    assert result.diverged is None


def test_line_search_never_lets_the_loss_rise(content, style):
    transfer = StyleTransfer(content, style, **{**SHALLOW, "coarsest": 56, "steps": 20})
    objective = [float(transfer._total)]
    while not transfer.done:
        transfer.step()
        objective.append(float(transfer._total))
    assert all(after < before for before, after in itertools.pairwise(objective))


def test_best_is_not_simply_the_last(content, style):
    """Adam overshoots; what is returned is the lowest loss seen, not whatever came last."""
    transfer = StyleTransfer(content, style, optimizer="adam", **{**SHALLOW, "coarsest": 56, "steps": 30})
    totals, images = [transfer._losses["total"]], [transfer.image]
    while not transfer.done:
        if transfer.step_count == 20:
            transfer.optimizer.param_groups[0]["lr"] = 0.5
        totals.append(transfer.step()["total"])
        images.append(transfer.image)
    lowest = min(range(len(totals)), key=totals.__getitem__)
    assert totals[lowest] < totals[-1]
    assert torch.equal(transfer.best, images[lowest])


def test_same_seed_same_image_to_the_bit(content, style):
    first, second = (run(content, style, init="noise", seed=3).image for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, run(content, style, init="noise", seed=4).image)


def test_coarse_to_fine_sizes(content, style):
    sizes = [entry["size"] for entry in run(content, style, size=64, steps=9, coarsest=32).history]
    assert sizes == [32] * 3 + [45] * 3 + [64] * 3


@pytest.mark.parametrize(
    ("size", "steps", "coarsest", "expected"),
    [
        (512, 300, 160, [(160, 100), (286, 100), (512, 100)]),
        (160, 10, 160, [(160, 10)]),
        (100, 10, 160, [(100, 10)]),
        (512, 2, 160, [(160, 1), (512, 1)]),
        (512, 1, 160, [(512, 1)]),
        (512, 302, 160, [(160, 100), (286, 100), (512, 102)]),
    ],
)
def test_pyramid(size, steps, coarsest, expected):
    assert pyramid(size, steps, coarsest) == expected


@pytest.mark.parametrize("size", [33, 200, 513, 1024, 3000])
def test_pyramid_grows_and_ends_at_the_size(size):
    scales = pyramid(size, 500, 160)
    sizes = [s for s, _ in scales]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == size
    assert sum(n for _, n in scales) == 500
    assert all(b / a < 2 for a, b in itertools.pairwise(sizes))


def test_stepping_on_after_the_last_step(content, style):
    transfer = StyleTransfer(content, style, **{**SHALLOW, "steps": 2})
    totals = [transfer.step()["total"] for _ in range(5)]
    assert transfer.done
    assert transfer.step_count == 5
    assert totals[-1] < totals[1]


# -- what the knobs do --


def test_more_style_weight_less_style_loss(content, style):
    light, heavy = (run(content, style, style_weight=w, steps=16, coarsest=56).history[-1] for w in (0.5, 50))
    assert heavy["style"] < light["style"]
    assert heavy["content"] > light["content"]


def test_total_variation_smooths(content, style):
    rough, smooth = (run(content, style, tv_weight=w, steps=16, coarsest=56).history[-1]["tv"] for w in (0, 100))
    assert smooth < 0.7 * rough


def test_preserve_color_keeps_the_contents_chroma(content, style):
    image = run(content, style, preserve_color=True).image
    target = resize(content, 56)
    inside = ((image > 0.01) & (image < 0.99)).all(dim=1)  # where nothing was clipped
    assert inside.float().mean() > 0.5
    chroma = [(x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]) for x in (image, target)]  # differences of channels: free of luminance
    for mine, theirs in zip(*chroma, strict=True):
        torch.testing.assert_close(mine[inside], theirs[inside], atol=1e-5, rtol=0)
    assert not torch.allclose(image, target, atol=0.02)


def test_masks_paint_where_they_say(content, style):
    left = torch.zeros(20, 30)
    left[:, :15] = 1
    target = resize(content, 56)
    image = run(content, style, masks=[left], content_weight=1, tv_weight=0, steps=16, coarsest=56).image
    change = (image - target).abs().mean(dim=(0, 1, 2))
    half = len(change) // 2
    assert change[: half - 6].mean() > 3 * change[half + 6 :].mean()


def test_masks_give_each_style_its_place(content, style):
    red, blue = (torch.zeros(1, 3, 48, 48) for _ in range(2))
    red[:, 0], blue[:, 2] = 0.9, 0.9
    noise = 0.1 * torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    upper = torch.zeros(40, 40)
    upper[:20] = 1
    image = run(
        content, [red + noise, blue + noise], masks=[upper, 1 - upper], content_weight=0.01, steps=100, coarsest=56
    ).image
    rows = image.shape[2] // 2
    assert image[:, 0, : rows - 3].mean() > 1.5 * image[:, 2, : rows - 3].mean()
    assert image[:, 2, rows + 3 :].mean() > 1.5 * image[:, 0, rows + 3 :].mean()


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_reweighted_it_goes_on_from_where_it_is_by_the_new_loss(content, style, optimizer):
    weights = {"content_weight": 0.5, "style_weight": 20.0, "tv_weight": 3.0, "style_layers": {"relu1_1": 1, "relu2_1": 3}}
    transfer = StyleTransfer(content, style, **{**SHALLOW, "coarsest": 56, "optimizer": optimizer})
    fresh = StyleTransfer(content, style, **{**SHALLOW, "coarsest": 56, "optimizer": optimizer, **weights})
    for _ in range(4):
        transfer.step()
    before = (transfer.pixels.detach() * transfer._unit).clamp(0, 1)
    transfer.reweight(**weights)
    torch.testing.assert_close(transfer.image, before)
    assert transfer._losses == pytest.approx(fresh.losses_of(before), rel=1e-5)
    first = transfer._losses["total"]
    for _ in range(6):
        transfer.step()
    assert transfer.step_count == 10, "nothing was restarted"
    assert transfer.losses_of(transfer.best)["total"] < first
    fresh.load_state_dict(transfer.state_dict())  # it is a transfer with those weights now
    torch.testing.assert_close(fresh.image, transfer.image)


def test_reweighted_wrongly_it_stays_as_it_was(content, style):
    transfer = StyleTransfer(content, style, **SHALLOW)
    before = transfer.content_weight, transfer.style_weight, transfer.tv_weight, transfer.style_layers
    good = {"content_weight": 1.0, "style_weight": 1.0, "tv_weight": 1.0, "style_layers": {"relu1_1": 1, "relu2_1": 1}}
    for bad, message in (
        ({"style_weight": -1.0}, "style_weight"),
        ({"tv_weight": math.nan}, "tv_weight"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "nothing to optimise"),
        ({"style_layers": {"relu1_1": 1}}, "must be relu1_1, relu2_1"),
        ({"style_layers": {"relu1_1": 0, "relu2_1": 0}}, "at least one weight"),
    ):
        with pytest.raises(ValueError, match=message):
            transfer.reweight(**{**good, **bad})
        assert before == (transfer.content_weight, transfer.style_weight, transfer.tv_weight, transfer.style_layers)


def test_tall_wide_and_small_images_go_together():
    tall = torch.rand(1, 3, 150, 40, generator=torch.Generator().manual_seed(0))
    wide = torch.rand(1, 3, 30, 170, generator=torch.Generator().manual_seed(1))
    assert run(tall, wide, size=130, steps=3).image.shape == (1, 3, 130, 35)


# -- stop and resume --


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("stop_at", [0, 1, 3, 4, 5, 8])
def test_resumed_ends_in_the_same_image(content, style, optimizer, stop_at, tmp_path):
    settings = {**SHALLOW, "optimizer": optimizer, "init": "noise"}
    alone = StyleTransfer(content, style, **settings)
    interrupted = StyleTransfer(content, style, **settings)
    for _ in range(stop_at):
        interrupted.step()
    torch.save(interrupted.state_dict(), tmp_path / "state.pt")
    resumed = StyleTransfer(content, style, **settings)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.step_count == stop_at
    while not alone.done:
        alone.step()
    while not resumed.done:
        resumed.step()
    assert torch.equal(alone.best, resumed.best)
    assert torch.equal(alone.image, resumed.image)
    assert [e["total"] for e in alone.history] == [e["total"] for e in resumed.history]


def test_state_does_not_change_as_the_transfer_goes_on(content, style):
    transfer = StyleTransfer(content, style, **SHALLOW)
    transfer.step()
    state = transfer.state_dict()
    before = state["pixels"].clone()
    transfer.step()
    assert torch.equal(state["pixels"], before)
    assert len(state["history"]) == 1


PAINT = """
    import os, signal, sys
    import nstlib
    from nstlib import transfer
    from nstlib.assets import DATA

    checkpoint, out, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
    transfer.CHECKPOINT_SECONDS = 0

    def callback(t):
        if t.step_count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    result = nstlib.stylize(
        nstlib.load_image(DATA / "washington.jpg", 96)[..., 20:74], DATA / "scream.jpg",
        content_layers={"relu2_1": 1}, style_layers={"relu1_1": 1, "relu2_1": 1},
        size=56, steps=12, coarsest=32, checkpoint=None if checkpoint == "-" else checkpoint, callback=callback,
    )
    nstlib.save_image(result.image, out)
"""


def test_killed_in_the_middle_and_resumed(tmp_path):
    """SIGKILL within the first scale and within the second, then left to end."""

    def paint(checkpoint, out, kill_at=-1):
        script = textwrap.dedent(PAINT)
        command = [sys.executable, "-c", script, str(checkpoint), str(tmp_path / out), str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    checkpoint = tmp_path / "run.pt"
    assert paint("-", "alone.png").returncode == 0
    assert paint(checkpoint, "resumed.png", kill_at=3).returncode == -signal.SIGKILL
    assert checkpoint.exists()
    assert paint(checkpoint, "resumed.png", kill_at=8).returncode == -signal.SIGKILL
    last = paint(checkpoint, "resumed.png")
    assert last.returncode == 0, last.stderr
    assert (tmp_path / "alone.png").read_bytes() == (tmp_path / "resumed.png").read_bytes()


def test_killed_at_any_moment_the_checkpoint_is_whole(tmp_path):
    """The parent kills at moments of its own choosing, writing of the checkpoint included."""
    checkpoint = tmp_path / "run.pt"
    script = textwrap.dedent(PAINT).replace("steps=12", "steps=5000")
    for delay in (0.05, 0.11, 0.31):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(checkpoint), str(tmp_path / "x.png"), "-1"], stderr=subprocess.DEVNULL
        )
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.wait()
        state = torch.load(checkpoint, weights_only=True)
        assert len(state["history"]) > 0


def test_finished_checkpoint_returns_at_once(content, style, tmp_path):
    first = run(content, style, checkpoint=tmp_path / "run.pt")
    calls = []
    again = run(content, style, checkpoint=tmp_path / "run.pt", callback=lambda t: calls.append(t))
    assert not calls
    assert torch.equal(first.image, again.image)


def test_callback_stops_and_the_checkpoint_goes_on(content, style, tmp_path):
    alone = run(content, style)
    part = run(content, style, checkpoint=tmp_path / "run.pt", callback=lambda t: t.step_count == 3)
    assert len(part.history) == 3
    whole = run(content, style, checkpoint=tmp_path / "run.pt")
    assert len(whole.history) == 8
    assert torch.equal(whole.image, alone.image)


def test_state_of_another_transfer_is_refused(content, style, tmp_path):
    run(content, style, checkpoint=tmp_path / "run.pt")
    with pytest.raises(TransferError, match="style_weight, seed"):
        run(content, style, checkpoint=tmp_path / "run.pt", style_weight=7, seed=1)
    with pytest.raises(TransferError, match="different: style"):
        run(content, content, checkpoint=tmp_path / "run.pt")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_damaged_checkpoint_is_refused_and_left_alone(content, style, tmp_path, damage):
    path = tmp_path / "run.pt"
    run(content, style, checkpoint=path)
    data = path.read_bytes()[:-1000] if damage is None else damage
    path.write_bytes(data)
    with pytest.raises(TransferError, match=r"run\.pt.*not a checkpoint"):
        run(content, style, checkpoint=path)
    assert path.read_bytes() == data


@pytest.mark.parametrize("state", [{}, {"identity": {}}, [], {"identity": None}])
def test_not_a_state(content, style, state):
    with pytest.raises(TransferError):
        StyleTransfer(content, style, **SHALLOW).load_state_dict(state)


def test_checkpoint_in_a_missing_folder_is_refused_before_the_work(content, style, tmp_path):
    steps = []
    with pytest.raises(TransferError, match="folder"):
        run(content, style, checkpoint=tmp_path / "missing" / "run.pt", callback=lambda t: steps.append(t))
    assert not steps


def test_unwritable_checkpoint_does_not_cost_the_picture(content, style, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.warns(RuntimeWarning, match="no space left"):
        result = run(content, style, checkpoint=tmp_path / "run.pt")
    assert len(result.history) == 8
    assert list(tmp_path.iterdir()) == []


def test_losses_of_any_image(content, style):
    transfer = StyleTransfer(content, style, **{**SHALLOW, "coarsest": 56})
    losses = transfer.step()
    judged = transfer.losses_of(transfer.image)
    assert all(judged[name] == pytest.approx(losses[name], rel=1e-5) for name in judged)
    assert transfer.losses_of(resize(content, 56))["content"] == pytest.approx(0, abs=1e-6)


# -- trouble --


class Poisoned(torch.nn.Module):
    """An extractor that begins to answer NaN after some calls."""

    def __init__(self, extractor, calls):
        super().__init__()
        self.extractor, self.calls = extractor, calls
        self.arch, self.pooling, self.precision = extractor.arch, extractor.pooling, extractor.precision

    def forward(self, image):
        self.calls -= 1
        features = self.extractor(image)
        return features if self.calls > 0 else {layer: f * math.nan for layer, f in features.items()}


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_nan_is_noticed_and_the_best_image_kept(content, style, optimizer, monkeypatch):
    real = transfer_module.FeatureExtractor
    monkeypatch.setattr(transfer_module, "FeatureExtractor", lambda *a: Poisoned(real(*a), calls=9))
    with pytest.warns(RuntimeWarning, match="not finite"):
        result = run(content, style, optimizer=optimizer, steps=50, coarsest=56)
    assert "not finite" in result.diverged
    assert 0 < len(result.history) < 50
    assert torch.isfinite(result.image).all()
    assert not torch.equal(result.image, resize(content, 56))


def test_divergence_is_noticed(content, style):
    transfer = StyleTransfer(content, style, optimizer="adam", tv_weight=0, **{**SHALLOW, "coarsest": 56, "style_weight": 1e-6})
    transfer._first_total = 1e-9
    with pytest.raises(DivergenceError, match="100 times"):
        [transfer.step() for _ in range(8)]
    assert torch.isfinite(transfer.best).all()


@pytest.mark.parametrize("name", ["content_weight", "style_weight", "tv_weight"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, "much", None])
def test_bad_weights(content, style, name, value):
    with pytest.raises(ValueError, match=name):
        StyleTransfer(content, style, **{**SHALLOW, name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "nothing to optimise"),
        ({"style_layers": {"relu1_1": -1}}, r"style_layers\['relu1_1'\]"),
        ({"style_layers": {"relu1_1": 0}}, "style_layers"),
        ({"content_layers": {}}, "content_layers"),
        ({"style_layers": {"relu9_9": 1}}, "relu9_9"),
        ({"size": 0}, "size"),
        ({"size": 31}, "size"),
        ({"size": 100.5}, "size"),
        ({"size": True}, "size"),
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"coarsest": 0}, "coarsest"),
        ({"seed": -1}, "seed"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"init": "photo"}, "init"),
        ({"pooling": "min"}, "pooling"),
        ({"arch": "vgg13"}, "arch"),
        ({"style_blend": [1, 2]}, "style_blend"),
        ({"style_blend": [math.nan]}, "style_blend"),
        ({"masks": []}, "masks"),
        ({"masks": [torch.zeros(8, 8)]}, r"masks\[0\]"),
        ({"masks": [torch.full((8, 8), 2.0)]}, r"masks\[0\]"),
        ({"masks": [torch.full((8, 8), math.nan)]}, r"masks\[0\]"),
        ({"masks": [torch.ones(3, 8, 8)]}, r"masks\[0\]"),
        ({"masks": ["left"]}, r"masks\[0\]"),
        ({"masks": torch.ones(1, 1, 8, 8)}, "masks must be a list"),
        ({"content_layers": ["relu2_1"]}, "content_layers"),
        ({"style_layers": "relu2_1"}, "style_layers"),
        ({"style_blend": 0.5}, "style_blend"),
        ({"precision": "bfloat16"}, "precision"),
        ({"precision": torch.float16}, "precision"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_bad_arguments_are_named(content, style, settings, message):
    with pytest.raises(ValueError, match=message):
        StyleTransfer(content, style, **{**SHALLOW, **settings})


@pytest.mark.parametrize(
    ("content", "style", "message"),
    [
        ("missing.jpg", None, "content: 'missing.jpg'"),
        (None, "missing.jpg", "style: 'missing.jpg'"),
        (None, ["good", b"broken"], r"style\[1\]: image of 6 bytes"),
        (torch.full((1, 3, 40, 40), math.nan), None, "content.*NaN"),
        (torch.full((1, 3, 40, 40), 7.0), None, "content.*0, 1"),
        (torch.rand(3, 40, 40), None, "content.*shape"),
        (torch.rand(1, 3, 400, 4), None, "content.*pixels"),
    ],
)
def test_bad_images_are_named(content, style, message):
    good = torch.rand(1, 3, 40, 40)
    style = [good if s == "good" else s for s in style] if isinstance(style, list) else style
    with pytest.raises(nstlib.ImageError, match=message):
        StyleTransfer(good if content is None else content, good if style is None else style, **SHALLOW)


def test_no_style_at_all(content):
    with pytest.raises(ValueError, match="style"):
        StyleTransfer(content, [], **SHALLOW)


def test_flat_images_do_not_divide_by_zero():
    black, white = torch.zeros(1, 3, 48, 48), torch.ones(1, 3, 48, 48)
    for pair in ((black, white), (white, black), (black, black)):
        result = run(*pair, preserve_color=True)
        assert torch.isfinite(result.image).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_gpu(content, style):
    result = run(content, style, device="cuda", precision=torch.bfloat16)
    assert result.history[-1]["total"] < result.history[0]["total"]


def test_progress_goes_to_stderr(content, style, capfd):
    stylize(content, style, **{**SHALLOW, "steps": 3})
    captured = capfd.readouterr()
    assert "painting" in captured.err
    assert captured.out == ""


def test_environment_is_left_alone(content, style):
    """No global seed, thread count or gradient mode is changed."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    run(content, style, init="noise", weights=None)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert os.getcwd() == os.path.abspath(os.curdir)
