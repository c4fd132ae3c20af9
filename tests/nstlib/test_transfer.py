"""StyleTransfer and stylize, on shallow layers and small images: the machinery is the same at any depth and size."""

import errno
import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import PIL.Image
import pytest
import torch

import nstlib
from nstlib import pixels as pixels_module
from nstlib import transfer as transfer_module
from nstlib.assets import DATA
from nstlib.images import resize
from nstlib.objective import LossWeights, StyleObjective
from nstlib.pixels import DIVERGED, DivergenceError, TransferError
from nstlib.statistics import SETTINGS
from nstlib.transfer import StyleTransfer, pyramid, stylize

SHALLOW = {
    "statistic": "gram",
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


# what it is made of


def test_objective_is_that_of_the_images_at_the_scales_size(content, style):
    settings = {**SHALLOW, "coarsest": 56, "style_layers": {"relu1_1": 3, "relu2_1": 1}}
    transfer = StyleTransfer(content, style, content_weight=2, style_weight=3, tv_weight=5, init="noise", **settings)
    weights = LossWeights(2, 3, 5, settings["content_layers"], settings["style_layers"])
    expected = StyleObjective(transfer.extractor, resize(content, 56), [resize(style, 56)], weights)(transfer.image)
    assert transfer.losses_of(transfer.image) == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=1e-4)
    assert transfer.optimizer.losses == pytest.approx(transfer.losses_of(transfer.image), rel=1e-4)


def test_blend_and_masks_reach_the_objective(content, style):
    other = nstlib.load_image(DATA / "toronto.png", 64)
    blended = StyleTransfer(content, [style, other], style_blend=[0.6, 0.2], **SHALLOW).objective
    single = [StyleTransfer(content, s, **SHALLOW).objective.regions[0].targets for s in (style, other)]
    for layer, target in blended.regions[0].targets.items():
        torch.testing.assert_close(target.gram, 0.75 * single[0][layer].gram + 0.25 * single[1][layer].gram)
    upper = torch.zeros(40, 40)
    upper[:10] = 1
    regions = StyleTransfer(content, [style, other], masks=[upper, 1 - upper], **SHALLOW).objective.regions
    assert [region.share for region in regions] == pytest.approx([0.25, 0.75], abs=0.02)
    assert list(regions[0].targets) == ["relu1_1", "relu2_1"]


def test_each_statistic_comes_with_settings_of_its_own(content, style):
    small = {"size": 64, "steps": 2, "device": "cpu"}
    default = StyleTransfer(content, style, **small)
    assert (default.statistic, default.method, default.extractor.pooling) == ("gaussian", "adam", "max")
    assert default.weights.content == SETTINGS["gaussian"]["content_weight"]
    assert default.weights.style_layers == pytest.approx(SETTINGS["gaussian"]["style_layers"])
    gram = StyleTransfer(content, style, statistic="gram", **small)
    assert (gram.method, gram.extractor.pooling, gram.weights.style) == ("lbfgs", "average", 8)
    mine = StyleTransfer(content, style, statistic="gram", optimizer="adam", content_weight=0, pooling="max", **small)
    assert (mine.method, mine.extractor.pooling, mine.weights.content, mine.weights.style) == ("adam", "max", 0, 8)


def test_by_default_the_style_comes_near(content, style):
    result = stylize(content, style, size=64, steps=40, progress=False, device="cpu")
    objective = StyleObjective(
        nstlib.FeatureExtractor(layers=["relu1_1", "relu2_1", "relu4_2"], pooling="max"),
        resize(content, 64),
        [resize(style, 64)],
        LossWeights(style_layers={"relu1_1": 1, "relu2_1": 1}),
        statistic="gaussian",
    )
    before, after = (float(objective(image)["style"]) for image in (resize(content, 64), result.image))
    assert after < 0.3 * before


# the optimization


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("init", ["content", "noise", "style"])
def test_loss_falls_and_the_best_is_kept(content, style, optimizer, init):
    result = run(content, style, optimizer=optimizer, init=init, steps=12, coarsest=56)
    totals = [entry["total"] for entry in result.history]
    assert totals[-1] < 0.9 * totals[0]
    assert result.image.shape == resize(content, 56).shape
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    assert result.diverged is None


def test_best_is_the_lowest_loss_of_the_scale(content, style):
    transfer = StyleTransfer(content, style, optimizer="adam", **{**SHALLOW, "steps": 12})
    totals = [transfer.step()["total"] for _ in range(12)]
    assert transfer.optimizer.best_total == min(totals[6:])
    assert transfer.losses_of(transfer.best)["total"] == pytest.approx(min(totals[6:]), rel=1e-5)


def test_line_search_never_lets_the_loss_rise_within_a_scale(content, style):
    transfer = StyleTransfer(content, style, **{**SHALLOW, "coarsest": 56, "steps": 20})
    values = [float(transfer.optimizer.value)]
    while not transfer.done:
        transfer.step()
        values.append(float(transfer.optimizer.value))
    assert all(after < before for before, after in itertools.pairwise(values))


def test_same_seed_same_image_to_the_bit(content, style):
    first, second = (run(content, style, init="noise", seed=3).image for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, run(content, style, init="noise", seed=4).image)


def test_coarse_to_fine_sizes(content, style):
    sizes = [entry["size"] for entry in run(content, style, size=64, steps=9, coarsest=32).history]
    assert sizes == [32] * 3 + [45] * 3 + [64] * 3


@pytest.mark.parametrize(
    ("size", "steps", "coarsest", "step", "expected"),
    [
        (512, 300, 160, 1.9, [(160, 100), (286, 100), (512, 100)]),
        (512, 400, 128, math.sqrt(2), [(128, 80), (181, 80), (256, 80), (362, 80), (512, 80)]),
        (160, 10, 160, 1.9, [(160, 10)]),
        (100, 10, 160, 1.9, [(100, 10)]),
        (512, 2, 160, 1.9, [(160, 1), (512, 1)]),
        (512, 1, 160, 1.9, [(512, 1)]),
        (512, 302, 160, 1.9, [(160, 100), (286, 100), (512, 102)]),
    ],
)
def test_pyramid(size, steps, coarsest, step, expected):
    assert pyramid(size, steps, coarsest, step) == expected


@pytest.mark.parametrize("step", [math.sqrt(2), 1.9])
@pytest.mark.parametrize("size", [33, 200, 513, 1024, 3000])
def test_pyramid_grows_and_ends_at_the_size(size, step):
    scales = pyramid(size, 500, 160, step)
    sizes = [s for s, _ in scales]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == size
    assert sum(n for _, n in scales) == 500
    assert all(b / a < step + 0.01 for a, b in itertools.pairwise(sizes))


def test_stepping_on_after_the_last_step(content, style):
    transfer = StyleTransfer(content, style, **{**SHALLOW, "steps": 2})
    totals = [transfer.step()["total"] for _ in range(5)]
    assert transfer.done
    assert transfer.step_count == 5
    assert totals[-1] < totals[1]


# what the arguments do


def test_more_style_weight_less_style_loss(content, style):
    light, heavy = (run(content, style, style_weight=w, steps=16, coarsest=56).history[-1] for w in (0.5, 50))
    assert heavy["style"] < light["style"]
    assert heavy["content"] > light["content"]


def test_total_variation_smooths(content, style):
    rough, smooth = (run(content, style, tv_weight=w, steps=16, coarsest=56).history[-1]["tv"] for w in (0, 100))
    assert smooth < 0.7 * rough


def test_preserve_color_keeps_the_contents_colors(content, style):
    image = run(content, style, preserve_color=True).image
    target = resize(content, 56)
    inside = ((image > 0.01) & (image < 0.99)).all(dim=1)  # where nothing was clipped
    assert inside.float().mean() > 0.5
    colors = [(x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]) for x in (image, target)]  # differences of channels: free of luma
    for mine, theirs in zip(*colors, strict=True):
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
    styles, masks = [red + noise, blue + noise], [upper, 1 - upper]
    image = run(content, styles, masks=masks, content_weight=0.01, steps=100, coarsest=56).image
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
    before = (transfer.optimizer.pixels.detach() * transfer.optimizer.unit).clamp(0, 1)
    transfer.reweight(**weights)
    torch.testing.assert_close(transfer.image, before)
    assert transfer.optimizer.losses == pytest.approx(fresh.losses_of(before), rel=1e-5)
    first = transfer.optimizer.first_total
    for _ in range(6):
        transfer.step()
    assert transfer.step_count == 10
    assert transfer.losses_of(transfer.best)["total"] < first
    fresh.load_state_dict(transfer.state_dict())  # it is a transfer with those weights now
    torch.testing.assert_close(fresh.image, transfer.image)


def test_reweighted_wrongly_it_stays_as_it_was(content, style):
    transfer = StyleTransfer(content, style, **SHALLOW)
    before = transfer.weights
    good = {"content_weight": 1.0, "style_weight": 1.0, "tv_weight": 1.0, "style_layers": {"relu1_1": 1, "relu2_1": 1}}
    for bad, name in (
        ({"style_weight": -1.0}, "style_weight"),
        ({"tv_weight": math.nan}, "tv_weight"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "content_weight.*style_weight.*tv_weight"),
        ({"style_layers": {"relu1_1": 1}}, "style_layers.*relu1_1, relu2_1"),
        ({"style_layers": {"relu1_1": 0, "relu2_1": 0}}, "style_layers"),
    ):
        with pytest.raises(ValueError, match=name):
            transfer.reweight(**{**good, **bad})
        assert transfer.weights is transfer.objective.weights is before


def test_reweighted_it_keeps_the_weights_at_the_next_scale(content, style):
    transfer = StyleTransfer(content, style, **SHALLOW)
    transfer.reweight(0.5, 20.0, 3.0, {"relu1_1": 1, "relu2_1": 3})
    while not transfer.done:
        transfer.step()
    assert transfer.scale == 1
    assert (transfer.objective.weights.style, transfer.objective.weights.style_layers["relu2_1"]) == (20, 0.75)


def test_tall_wide_and_small_images_go_together():
    tall = torch.rand(1, 3, 150, 40, generator=torch.Generator().manual_seed(0))
    wide = torch.rand(1, 3, 30, 170, generator=torch.Generator().manual_seed(1))
    assert run(tall, wide, size=130, steps=3).image.shape == (1, 3, 130, 35)


# stop and resume


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    with pytest.raises(TransferError, match=r"\bstyle\b"):
        run(content, content, checkpoint=tmp_path / "run.pt")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_damaged_checkpoint_is_refused_and_left_alone(content, style, tmp_path, damage):
    path = tmp_path / "run.pt"
    run(content, style, checkpoint=path)
    data = path.read_bytes()[:-1000] if damage is None else damage
    path.write_bytes(data)
    with pytest.raises(TransferError, match=r"run\.pt"):
        run(content, style, checkpoint=path)
    assert path.read_bytes() == data


@pytest.mark.parametrize("state", [{}, {"identity": {}}, [], {"identity": None}])
def test_not_a_state(content, style, state):
    with pytest.raises(TransferError):
        StyleTransfer(content, style, **SHALLOW).load_state_dict(state)


def test_checkpoint_in_a_missing_folder_is_refused_before_the_work(content, style, tmp_path):
    steps = []
    with pytest.raises(TransferError, match=r"run\.pt"):
        run(content, style, checkpoint=tmp_path / "missing" / "run.pt", callback=lambda t: steps.append(t))
    assert not steps


def test_unwritable_checkpoint_does_not_cost_the_picture(content, style, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full", "disk")

    monkeypatch.setattr(torch, "save", full)
    with pytest.warns(RuntimeWarning, match=r"run\.pt.*disk"):
        result = run(content, style, checkpoint=tmp_path / "run.pt")
    assert len(result.history) == 8
    assert list(tmp_path.iterdir()) == []


def test_losses_of_any_image(content, style):
    transfer = StyleTransfer(content, style, **{**SHALLOW, "coarsest": 56})
    losses = transfer.step()
    again = transfer.losses_of(transfer.image)
    assert again == pytest.approx({name: losses[name] for name in again}, rel=1e-5)
    assert transfer.losses_of(resize(content, 56))["content"] == pytest.approx(0, abs=1e-6)


# what can go wrong


class Poisoned(torch.nn.Module):
    """An extractor that begins to answer NaN after some calls."""

    def __init__(self, extractor, calls):
        super().__init__()
        self.extractor, self.calls = extractor, calls
        self.arch, self.pooling, self.precision = extractor.arch, extractor.pooling, extractor.precision
        self.strides, self.reach = extractor.strides, extractor.reach

    def forward(self, image):
        self.calls -= 1
        features = self.extractor(image)
        return features if self.calls > 0 else {layer: f * math.nan for layer, f in features.items()}


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_nan_is_noticed_and_the_best_image_kept(content, style, optimizer, monkeypatch):
    real = transfer_module.FeatureExtractor
    monkeypatch.setattr(transfer_module, "FeatureExtractor", lambda *a: Poisoned(real(*a), calls=9))
    with pytest.warns(RuntimeWarning, match=r"step \d+"):
        result = run(content, style, optimizer=optimizer, steps=50, coarsest=56)
    assert 0 < len(result.history) < 50
    assert f"step {len(result.history) + 1}:" in result.diverged
    assert torch.isfinite(result.image).all()
    assert not torch.equal(result.image, resize(content, 56))


def test_growth_beyond_bounds_is_noticed(content, style, monkeypatch):
    monkeypatch.setattr(pixels_module, "LEAST", 0.0)
    settings = {**SHALLOW, "coarsest": 56, "style_weight": 1e-6}
    transfer = StyleTransfer(content, style, optimizer="adam", tv_weight=0, **settings)
    transfer.optimizer.first_total = 1e-9
    with pytest.raises(DivergenceError, match=f"step .*{DIVERGED:g}"):
        [transfer.step() for _ in range(8)]
    assert torch.isfinite(transfer.best).all()


def test_a_perfect_beginning_is_no_sign_of_divergence(style):
    result = stylize(style, style, size=64, steps=6, progress=False, device="cpu")
    assert result.diverged is None
    assert len(result.history) == 6


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"content_weight": -1}, "content_weight"),
        ({"style_weight": math.nan}, "style_weight"),
        ({"tv_weight": "much"}, "tv_weight"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "content_weight.*style_weight.*tv_weight"),
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
        ({"masks": []}, "masks"),
        ({"content_layers": ["relu2_1"]}, "content_layers"),
        ({"style_layers": "relu2_1"}, "style_layers"),
        ({"precision": "bfloat16"}, "precision"),
        ({"precision": torch.float16}, "precision"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_bad_arguments_are_named(content, style, settings, name):
    with pytest.raises(ValueError, match=name):
        StyleTransfer(content, style, **{**SHALLOW, **settings})


def test_bad_images_are_named(content, style):
    with pytest.raises(nstlib.ImageError, match=r"content.*missing\.jpg"):
        StyleTransfer("missing.jpg", style, **SHALLOW)
    with pytest.raises(nstlib.ImageError, match=r"style\[1\]"):
        StyleTransfer(content, [style, b"broken"], **SHALLOW)
    with pytest.raises(nstlib.ImageError, match=r"content: 1 x 56 .* 56; .* 32"):
        StyleTransfer(torch.rand(1, 3, 400, 4), style, **SHALLOW)
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
    assert "3/3" in captured.err
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


# black and white areas


def half(level, other=0.5):
    image = torch.full((1, 3, 56, 56), other)
    image[..., :28] = level
    return image


WHITE_OR_BLACK = [(half(1.0), 1.0), (half(0.0), 0.0), (half(1.0, 0.0), 1.0)]


@pytest.mark.parametrize(("picture", "level"), WHITE_OR_BLACK, ids=["half white", "half black", "white and black"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("preserve_color", [False, True])
def test_black_and_white_areas_are_painted(style, picture, level, optimizer, preserve_color):
    saturated = (picture == level).expand(-1, 3, -1, -1)
    transfer = StyleTransfer(picture, style, **SHALLOW, optimizer=optimizer, preserve_color=preserve_color)
    losses = [transfer.step()["total"] for _ in range(8)]
    for first, last in (losses[:4:3], losses[4::3]):
        assert last < 0.97 * first, "at each scale"
    painted = transfer.optimizer.best[saturated]
    assert (painted != level).float().mean() > 0.3
    assert (painted - level).abs().mean() > 0.01


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_white_picture_is_painted(style, optimizer):
    losses = [entry["total"] for entry in run(torch.ones(1, 3, 56, 56), style, optimizer=optimizer).history]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("init", ["content", "style", "noise", "picture"])
def test_whatever_it_starts_as_white_areas_are_painted(style, optimizer, init):
    start = half(1.0) if init == "picture" else init
    settings = {**SHALLOW, "optimizer": optimizer, "init": start, "coarsest": 56}
    transfer = StyleTransfer(half(1.0), (style > 0.5).float(), **settings)
    first = transfer.losses_of(transfer.image)["total"]
    for _ in range(8):
        losses = transfer.step()
    assert losses["total"] < 0.95 * first
    white = (transfer.optimizer.best == 1)[..., :28].float().mean()
    assert white < 0.5


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_gradient_of_zero_warns(optimizer):
    """All weights but the total variation's are zero, and a flat picture has none."""
    settings = {**SHALLOW, "coarsest": 56, "content_weight": 0, "style_weight": 0, "optimizer": optimizer}
    with pytest.warns(RuntimeWarning, match="zero"):
        StyleTransfer(torch.ones(1, 3, 56, 56), torch.ones(1, 3, 56, 56), **settings)


def test_a_healthy_transfer_warns_of_nothing(content, style):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stylize(content, style, progress=False, **SHALLOW)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("preserve_color", [False, True])
def test_after_a_divergence_at_the_change_of_scale_the_best_is_the_earlier_scales(
    content, style, optimizer, preserve_color, monkeypatch
):
    before = {}

    class Diverging(StyleObjective):
        def __call__(self, image):
            losses = super().__call__(image)
            return {name: value * math.nan for name, value in losses.items()} if image.shape[3] == 56 else losses

    def note(transfer):
        before["best"] = transfer.best

    monkeypatch.setattr(transfer_module, "StyleObjective", Diverging)
    settings = {**SHALLOW, "optimizer": optimizer, "preserve_color": preserve_color}
    with pytest.warns(RuntimeWarning, match="diverged"):
        result = stylize(content, style, callback=note, progress=False, **settings)
    assert result.diverged
    assert len(result.history) == 4
    assert torch.equal(result.image, before["best"])
    assert result.image.shape[3] == 32


# the caller's dtype and autograd state


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode, lambda: torch.autograd.set_grad_enabled(False)])
def test_the_callers_autograd_state_does_not_matter(content, style, off):
    expected = stylize(content, style, progress=False, **SHALLOW)
    with off():
        result = stylize(content, style, progress=False, **SHALLOW)
    assert torch.equal(result.image, expected.image)
    assert not result.image.requires_grad
    result.image.clone().requires_grad_().sum().backward()


def test_tensors_of_any_dtype_and_with_a_gradient_are_taken(content, style):
    expected = stylize(content, style, progress=False, **SHALLOW)
    result = stylize(content.double().requires_grad_(), style.clone().requires_grad_(), progress=False, **SHALLOW)
    assert torch.equal(result.image, expected.image)
    assert (result.image.dtype, result.image.requires_grad) == (torch.float32, False)
    torch.set_default_dtype(torch.float64)
    try:
        assert stylize(content, style, progress=False, **SHALLOW, init="noise").image.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


# going on, strips, the style's scale, transparency


def test_goes_on_from_a_picture(content, style):
    first = stylize(content, style, progress=False, **{**SHALLOW, "coarsest": 56})
    longer = StyleTransfer(content, style, **{**SHALLOW, "coarsest": 56}, init=first.image)
    begins = longer.losses_of(longer.image)["total"]
    assert begins == pytest.approx(min(entry["total"] for entry in first.history), rel=1e-3)
    assert longer.step()["total"] < begins
    larger = stylize(content, style, progress=False, **{**SHALLOW, "size": 90, "coarsest": 90}, init=first.image)
    assert larger.image.shape[2:] == (90, 90)
    assert (
        larger.history[0]["total"]
        < stylize(content, style, progress=False, **{**SHALLOW, "size": 90, "coarsest": 90}).history[0]["total"]
    )


def test_a_state_knows_what_the_transfer_started_as(content, style):
    state = StyleTransfer(content, style, **SHALLOW, init=content).state_dict()
    StyleTransfer(content, style, **SHALLOW, init=content).load_state_dict(state)
    with pytest.raises(TransferError, match="init"):
        StyleTransfer(content, style, **SHALLOW, init=1 - content).load_state_dict(state)
    with pytest.raises(TransferError, match="style_scale"):
        StyleTransfer(content, style, **SHALLOW, init=content, style_scale=1.5).load_state_dict(state)


@pytest.mark.parametrize("shape", [(60, 900), (900, 60)])
def test_a_strip_as_style(content, shape):
    strip = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(3))
    settings = {key: value for key, value in SHALLOW.items() if not key.endswith("_layers")}  # down to relu5_1
    result = stylize(content, strip, progress=False, **{**settings, "size": 96, "steps": 2})
    assert result.image.shape[2:] == (96, 96)


def test_the_scale_of_the_style_changes_the_result(content, style):
    results = [stylize(content, style, progress=False, **SHALLOW, style_scale=scale).image for scale in (1, 1.0, 1.7)]
    assert torch.equal(results[0], results[1])
    assert (results[0] - results[2]).abs().mean() > 1e-3
    for bad in (0, -1, math.nan, "2", True):
        with pytest.raises(ValueError, match="style_scale"):
            StyleTransfer(content, style, **SHALLOW, style_scale=bad)


def test_a_blend_with_masks_is_refused(content, style):
    with pytest.raises(ValueError, match=r"style_blend.*masks"):
        StyleTransfer(content, [style, style], **SHALLOW, masks=[torch.ones(8, 8)] * 2, style_blend=[1, 0])


def test_masks_from_a_file_a_picture_and_an_array_are_the_same(content, style, tmp_path):
    mask = np.zeros((56, 56), np.uint8)
    mask[:28] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    kinds = [torch.from_numpy(mask).float() / 255, mask, PIL.Image.fromarray(mask), tmp_path / "mask.png"]
    results = [stylize(content, style, progress=False, **SHALLOW, masks=[kind]).image for kind in kinds]
    assert all(torch.equal(result, results[0]) for result in results)


def test_the_contents_transparency_comes_back(style, tmp_path):
    pixels = np.full((40, 56, 4), 128, np.uint8)
    pixels[..., 3] = 255
    pixels[:20, :, 3] = 0
    PIL.Image.fromarray(pixels).save(tmp_path / "cut_out.png")
    result = stylize(tmp_path / "cut_out.png", style, progress=False, **SHALLOW)
    assert result.alpha.shape == (1, 1, *result.image.shape[2:])
    assert (result.alpha[:, :, :18].max(), result.alpha[:, :, 22:].min()) == (0, 1)
    nstlib.save_image(result.image, tmp_path / "result.png", alpha=result.alpha)
    saved = PIL.Image.open(tmp_path / "result.png")
    assert saved.mode == "RGBA"
    assert np.asarray(saved)[..., 3].mean() == pytest.approx(255 * result.alpha.mean().item(), abs=1)
    PIL.Image.fromarray(pixels[..., :3]).save(tmp_path / "opaque.png")
    assert stylize(tmp_path / "opaque.png", style, progress=False, **SHALLOW).alpha is None


# errors that help


@pytest.mark.parametrize("damage", ["shape", "size", "type"])
def test_a_state_with_a_wrong_tensor_is_refused(content, style, damage):
    transfer = StyleTransfer(content, style, **SHALLOW)
    state = transfer.state_dict()
    wrong = {"shape": torch.rand(2, 5), "size": torch.rand(1, 3, 20, 20), "type": "pixels"}[damage]
    for key in ("pixels", "evaluated"):
        with pytest.raises(TransferError) as caught:
            StyleTransfer(content, style, **SHALLOW).load_state_dict({**state, key: wrong})
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["content", "style", "init"])
@pytest.mark.parametrize("data", [b"\x00" * 9999, torch.rand(3, 999, 9), torch.full((1, 3, 99, 99), 255.0)])
def test_data_never_appear_in_a_message(content, style, name, data):
    with pytest.raises(nstlib.ImageError, match=name) as caught:
        stylize(**{"content": content, "style": style, **SHALLOW, name: data}, progress=False)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["size", "steps", "optimizer", "style_blend", "seed", "content_weight", "style_layers"])
@pytest.mark.parametrize("data", [b"\x00" * 9999, torch.rand(999, 9), np.zeros((999, 9)), list(range(9999))])
def test_data_in_an_arguments_place_do_not_appear_either(content, style, name, data):
    with pytest.raises(ValueError, match=name.split("_")[0]) as caught:
        StyleTransfer(content, style, **{**SHALLOW, name: data})
    assert len(str(caught.value)) < 500


def test_a_content_file_that_goes_away_costs_nothing(tmp_path, photo):
    path = tmp_path / "photo.png"
    nstlib.save_image(photo, path)
    result = stylize(path, photo, size=64, steps=2, progress=False, callback=lambda transfer: path.unlink(missing_ok=True))
    assert result.image.shape[3] == 64
