"""The conditional GAN: Equations (4) and (5), the loop, resume after a kill, two processes, files."""

import csv
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from nstlib import AnimeFrames, Colorizer, ColorizerError, Condition, ImageError
from nstlib.color import lab_to_rgb, rgb_to_lab, scale_lab, unscale_lab
from nstlib.colorizer import PERCEPTUAL_LAYERS, RECIPES, Recipe, Training, _shown, default_fabric
from nstlib.losses import PerceptualLoss

TINY = Recipe(width=4, epochs=2, batch_size=4, generator_lr=2e-3, discriminator_lr=2e-4)
ROOT = Path(__file__).parent.parent


def tiny(condition="grayscale", seed=0, **changes):
    return Colorizer(condition, 16, recipe=dataclasses.replace(TINY, **changes), seed=seed)


def weights(colorizer):
    networks = {"g": colorizer.generator, "d": colorizer.discriminator}
    return {f"{n}.{name}": value.clone() for n, network in networks.items() for name, value in network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# the losses


def test_losses_are_equations_4_and_5(batch, fabric):
    """Against the formulas with log and sigmoid written out, on the networks as they were before the step."""
    colorizer = tiny(dropout=0.0)
    training = Training(colorizer, fabric, 32, 32)
    condition, colors = colorizer.inputs(batch)
    generator, discriminator = (
        network.train()
        for network in (type(colorizer)("grayscale", 16, recipe=colorizer.recipe).generator, tiny().discriminator)
    )
    painted = generator(condition)
    real, fake = discriminator(condition, colors).sigmoid(), discriminator(condition, painted).sigmoid()
    eq5 = real.log().mean() + (1 - fake).log().mean()
    losses = colorizer.training_step(batch, training)
    assert losses["discriminator"].item() == pytest.approx(-eq5.item() / 2, rel=1e-4)
    assert losses["l1"].item() == pytest.approx(l1_loss(painted, colors).item(), rel=1e-4)

    # the generator's own term is judged by the discriminator after its step
    colorizer, again = tiny(dropout=0.0), tiny(dropout=0.0)
    training = Training(colorizer, fabric, 32, 32)
    training.step = 1  # no discriminator step
    fake = again.discriminator.train()(condition, again.generator.train()(condition))
    losses = colorizer.training_step(batch, training)
    assert "discriminator" not in losses
    expected = binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    assert losses["adversarial"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_step_moves_what_it_should(batch, fabric):
    colorizer = tiny()
    training = Training(colorizer, fabric, 32, 32)
    before = weights(colorizer)
    training.step = 1
    colorizer.training_step(batch, training)
    after = weights(colorizer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("g.") and name.endswith("weight") for name in moved)
    learned = {f"d.{name}" for name, _ in colorizer.discriminator.named_parameters()}
    assert not moved & learned, "the generator's step must leave the discriminator as it is"
    training.step = 2
    colorizer.training_step(batch, training)
    assert {name for name in learned if not torch.equal(after[name], weights(colorizer)[name])} == learned
    assert all(p.requires_grad for p in colorizer.discriminator.parameters())


def test_without_the_adversarial_loss_there_is_no_discriminator(batch, fabric):
    colorizer = tiny(adversarial_weight=0.0)
    before = weights(colorizer)
    losses = colorizer.training_step(batch, Training(colorizer, fabric, 32, 32))
    assert set(losses) == {"l1"}
    after = weights(colorizer)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("d."))


def test_perceptual_and_structure_losses_are_those_of_the_pictures(batch, fabric):
    colorizer, again = (tiny(perceptual_weight=1.0, structure_weight=1.0, dropout=0.0) for _ in range(2))
    condition, colors = again.inputs(batch)
    painted = again.generator.train()(condition)
    shown, drawn = (lab_to_rgb(unscale_lab(image), clip=False) for image in (painted.detach(), colors))
    losses = colorizer.training_step(batch, Training(colorizer, fabric, 32, 32))
    expected = PerceptualLoss(PERCEPTUAL_LAYERS)(shown, drawn)
    assert losses["perceptual"].item() == pytest.approx(expected.item(), rel=0.02)
    light = [image[:, 0].double().numpy() for image in (painted.detach(), colors)]
    steps = [[scipy.ndimage.sobel(image, axis, mode="nearest") / 4 for image in images for axis in (0, 1)] for images in light]
    assert losses["structure"].item() == pytest.approx(np.abs(np.subtract(*steps)).mean(), rel=1e-3)


@pytest.mark.parametrize("alone", ["l1", "adversarial", "perceptual", "structure"])
def test_each_loss_alone_teaches_the_generator(batch, fabric, alone):
    nothing = dict.fromkeys(("l1_weight", "adversarial_weight", "perceptual_weight", "structure_weight"), 0.0)
    colorizer = tiny(**{**nothing, f"{alone}_weight": 1.0})
    training = Training(colorizer, fabric, 32, 32)
    before = weights(colorizer)
    colorizer.training_step(batch, training)
    moved = {name for name, value in weights(colorizer).items() if not torch.equal(value, before[name])}
    assert {f"g.{name}" for name, _ in colorizer.generator.named_parameters() if not name.endswith("bias")} <= moved
    if training.perceptual:
        assert not any(p.requires_grad for p in training.perceptual.parameters()), "VGG itself learns nothing"


def test_colours_that_cannot_be_shown_are_led_back():
    blue = torch.tensor([0.9, 0.0, -0.9])[None, :, None, None].expand(1, 3, 2, 2).clone().requires_grad_(True)
    shown = _shown(blue)
    assert shown.max() > 1, "brighter than blue can be"
    shown.clamp(min=1).sum().backward()  # what is above 1
    assert (blue.grad[:, 0] > 0).all(), "less light lowers it"


@pytest.mark.parametrize("every", [1, 2, 3])
def test_discriminator_steps_once_in_so_many(batch, fabric, every):
    colorizer = tiny(generator_steps=every)
    training = Training(colorizer, fabric, 32, 32)
    stepped = []
    for training.step in range(6):
        stepped.append("discriminator" in colorizer.training_step(batch, training))
    assert stepped == [step % every == 0 for step in range(6)]


def test_inputs_are_scaled_to_one(batch):
    condition, colors = tiny().inputs(batch)
    assert condition.shape == (4, 1, 16, 16)
    assert condition.min() >= -1
    assert condition.max() <= 1
    assert torch.allclose(unscale_lab(colors), rgb_to_lab(batch), atol=1e-3)
    assert torch.equal(condition, tiny().condition(batch) * 2 - 1)
    assert torch.allclose(colors, scale_lab(rgb_to_lab(batch)))


def test_poster_recipe_is_the_labs():
    recipe = RECIPES["poster"]
    assert (recipe.width, recipe.epochs, recipe.l1_weight, recipe.generator_steps, recipe.beta1) == (64, 30, 100, 2, 0)
    assert recipe.generator_lr == 3e-4
    assert recipe.discriminator_lr == pytest.approx(recipe.generator_lr / 10)
    assert RECIPES["laptop"].epochs == 30
    assert Colorizer(size=32).recipe == recipe, "it is the default"


# learning


def test_learns_to_paint_one_frame(frames):
    """The loss falls, and the colours come near the truth, on a dataset of four frames."""
    colorizer = tiny(epochs=25, width=8, dropout=0.0, schedule="one-cycle", generator_lr=1e-2)
    few = AnimeFrames("train", 16, 4)
    before = colorizer.evaluate(few)["accuracy_5"].mean()
    history = colorizer.fit(few, frames_per_epoch=32, progress=False)
    assert history[-1]["l1"] < 0.4 * history[0]["l1"]
    assert colorizer.evaluate(few)["accuracy_5"].mean() > before + 0.2


def test_same_seed_same_weights_other_seed_others(frames):
    runs = []
    for seed in (0, 0, 1):
        colorizer = tiny(seed=seed, epochs=1)
        colorizer.fit(frames, progress=False)
        runs.append(weights(colorizer))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_leaves_the_callers_random_numbers_alone(frames):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny(epochs=1).fit(frames, progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_workers_give_the_same_run(frames):
    runs = []
    for workers in (0, 1):
        colorizer = tiny(epochs=1)
        colorizer.fit(frames, workers=workers, progress=False)
        runs.append(weights(colorizer))
    assert same(*runs)


def test_fresh_frames_are_seen_once_and_few_frames_again():
    class Noted(AnimeFrames):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    seen = []
    tiny(epochs=2).fit(Noted("train", 16, 16), frames_per_epoch=8, progress=False)
    assert seen.pop(0) == 0, "a look at its size, before training"
    assert sorted(seen) == list(range(16))
    seen = []
    tiny(epochs=3).fit(Noted("train", 16, 8), progress=False)
    del seen[0]
    assert sorted(seen) == sorted(list(range(8)) * 3)
    assert seen[:8] != seen[8:16], "another order every time through"


def test_schedules(fabric):
    for schedule in ("exponential", "one-cycle"):
        training = Training(tiny(schedule=schedule, epochs=5), fabric, 40, 40)
        rates = []
        for _ in range(training.total_steps):
            rates.append(training.generator_schedule.get_last_lr()[0])
            training.generator_optimizer.step()
            training.generator_schedule.step()
        if schedule == "exponential":
            assert rates[0] == TINY.generator_lr
            assert rates[-1] == pytest.approx(TINY.generator_lr / 10, rel=0.1)
        else:
            assert rates.index(max(rates)) == pytest.approx(len(rates) / 10, abs=1.5)
            assert max(rates) == pytest.approx(TINY.generator_lr, rel=0.05)
            assert rates[-1] < 0.01 * TINY.generator_lr


def test_history_log_and_samples(frames, tmp_path):
    told = []
    colorizer = tiny()
    history = colorizer.fit(
        frames, validation=AnimeFrames("validation", 16, 5), folder=tmp_path / "run", progress=False, callback=told.append
    )
    assert history is colorizer.history
    assert len(history) == len(told) == 2
    assert told[0] is colorizer
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row, entry in zip(rows, history, strict=True):
        assert {name: float(row[name]) for name in entry} == entry
        assert set(entry) == {"l1", "adversarial", "discriminator", "accuracy", "chroma", "seconds"}
        assert all(math.isfinite(value) for value in entry.values())
    assert [path.name for path in sorted((tmp_path / "run" / "samples").iterdir())] == ["epoch_001.png", "epoch_002.png"]


def test_progress_shows_losses_and_accuracy(frames, capsys):
    tiny().fit(frames, validation=AnimeFrames("validation", 16, 4))
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "l1=" in shown
    assert "accuracy=" in shown


def test_progress_shows_no_accuracy_that_was_not_measured(frames, capsys):
    tiny().fit(frames)
    assert "accuracy" not in capsys.readouterr().err


# resume

RUN = """
import sys, torch
from nstlib import AnimeFrames, Colorizer
from nstlib.colorizer import Recipe
recipe = Recipe(width=4, epochs=6, batch_size=4, dropout=0.5)
colorizer = Colorizer("canny", 16, recipe=recipe, seed=3)
frames = AnimeFrames("train", 16, 20)  # a pass does not end where an epoch does
tell = lambda c: print(len(c.history), flush=True)
colorizer.fit(frames, frames_per_epoch=32, folder=sys.argv[1], progress=False, callback=tell)
judge = {"d." + name: value for name, value in colorizer.discriminator.state_dict().items()}
torch.save({**colorizer.generator.state_dict(), **judge}, sys.argv[2])
"""


def test_killed_at_random_points_ends_with_the_same_weights(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(folder, result):
        command = [sys.executable, "-c", RUN, str(tmp_path / folder), str(tmp_path / result)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    alone = start("alone", "alone.pt")
    began = time.monotonic()
    assert alone.wait(timeout=300) == 0
    an_epoch = (time.monotonic() - began) / 10
    rng = torch.Generator().manual_seed(int(time.time()))
    for epoch in (1, 2, 2):  # killed so many epochs on, at a random moment of the next
        process = start("killed", "killed.pt")
        for _ in range(epoch):
            process.stdout.readline()
        time.sleep(an_epoch * torch.rand(1, generator=rng).item())
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed.pt").exists() or (tmp_path / "killed" / "checkpoint.pt").exists()
    assert start("killed", "killed.pt").wait(timeout=300) == 0
    expected, found = (torch.load(tmp_path / name, weights_only=True) for name in ("alone.pt", "killed.pt"))
    assert same(expected, found)
    leftovers = {path.name for path in (tmp_path / "killed").iterdir() if not path.name.startswith(".nstlib-")}
    assert leftovers == {"checkpoint.pt", "log.csv", "samples"}


def test_a_finished_run_is_not_trained_again(frames, tmp_path):
    first = tiny()
    first.fit(frames, folder=tmp_path, progress=False)
    again = tiny()
    again.fit(frames, folder=tmp_path, progress=False)
    assert same(weights(first), weights(again))
    assert again.history == first.history


def test_a_second_training_goes_on_from_the_weights(frames, tmp_path):
    colorizer = tiny(epochs=1)
    colorizer.fit(frames, progress=False)
    colorizer.save(tmp_path / "c.safetensors")
    for trained in (colorizer, Colorizer.load(tmp_path / "c.safetensors")):
        before = weights(trained)
        history = trained.fit(frames, progress=False)
        assert len(history) == 1
        assert not same(before, weights(trained))


@pytest.mark.parametrize("change", ["seed", "recipe", "condition", "frames"])
def test_a_checkpoint_of_another_training_is_refused(frames, tmp_path, change):
    tiny(epochs=1).fit(frames, folder=tmp_path, progress=False)
    other = {
        "seed": tiny(epochs=1, seed=1),
        "recipe": tiny(epochs=2),
        "condition": tiny("sobel", epochs=1),
        "frames": tiny(epochs=1),
    }[change]
    before = weights(other)
    with pytest.raises(ColorizerError, match="another training"):
        other.fit(AnimeFrames("train", 16, 16) if change == "frames" else frames, folder=tmp_path, progress=False)
    assert same(before, weights(other))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_told(frames, tmp_path, content):
    tiny(epochs=1).fit(frames, folder=tmp_path, progress=False)
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:1000] if content is None else content)
    with pytest.raises(ColorizerError, match="damaged"):
        tiny(epochs=1).fit(frames, folder=tmp_path, progress=False)


def test_a_folder_that_cannot_be_written_is_told(frames, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ColorizerError, match="cannot be written"):
        tiny(epochs=1).fit(frames, folder=tmp_path / "file" / "run", progress=False)


# what can go wrong


def test_divergence_is_told_and_the_checkpoint_stays_sound(frames, tmp_path):
    class Poisoned(AnimeFrames):
        def __getitem__(self, index):
            frame = super().__getitem__(index)
            if self.bad:
                colorizer.generator.paint.weight.data.fill_(float("nan"))
            return frame

    colorizer = tiny(epochs=3)
    data = Poisoned("train", 16, 32)
    data.bad = False

    def after_first(c):
        data.bad = True

    with pytest.raises(ColorizerError, match=r"diverged in step .* not finite.*epoch 1"):
        colorizer.fit(data, folder=tmp_path, progress=False, callback=after_first)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 1
    assert all(torch.isfinite(value).all() for value in state["generator"].values())


def test_a_collapsed_discriminator_is_told(frames):
    colorizer = tiny(epochs=1, discriminator_lr=0.0)
    final = colorizer.discriminator.layers[-1]
    torch.nn.init.zeros_(final.weight)
    torch.nn.init.constant_(final.bias, 30.0)  # always sure that a frame was drawn
    with pytest.warns(RuntimeWarning, match="discriminator is nearly always wrong"):
        colorizer.fit(frames, progress=False)


def test_a_healthy_training_warns_of_nothing(frames):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny(epochs=1).fit(frames, progress=False)


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="recipe"):
        Colorizer(recipe="fast")
    with pytest.raises(ValueError, match="condition"):
        Colorizer("crayon")
    with pytest.raises(ValueError, match="schedule"):
        Recipe(schedule="step")
    with pytest.raises(ValueError, match="epochs"):
        Recipe(epochs=0)
    with pytest.raises(ValueError, match="structure_weight"):
        Recipe(structure_weight=-1.0)
    with pytest.raises(ValueError, match="paint_gain must be a number above 0"):
        Recipe(paint_gain=0.0)
    with pytest.raises(ValueError, match="nothing to learn"):
        Recipe(l1_weight=0.0, adversarial_weight=0.0)
    with pytest.raises(ValueError, match="size"):
        Colorizer(size=4)


def test_no_frames_is_told(frames):
    with pytest.raises(ColorizerError, match="no frames to train on"):
        tiny().fit([], progress=False)
    with pytest.raises(ColorizerError, match="no frames to measure on"):
        tiny().fit(frames, validation=[], progress=False)
    with pytest.raises(ColorizerError, match="no frames to measure on"):
        tiny().evaluate([])


def test_frames_of_another_size_are_told(frames):
    with pytest.raises(ColorizerError, match=r"frames of 24 pixels .* learns from 16$"):
        tiny().fit(AnimeFrames("train", 24, 4), progress=False)
    with pytest.raises(ColorizerError, match=r"learns from 16$"):
        tiny().fit(frames, validation=AnimeFrames("validation", 24, 4), progress=False)
    with pytest.raises(ColorizerError, match=r"frames of 16 pixels .* learns from 32, 2 times the 16 that it paints"):
        tiny(Condition("canny", detail=2)).fit(frames, progress=False)


def test_frames_that_are_none_are_told():
    with pytest.raises(ImageError, match="values run"):
        tiny().fit([torch.full((3, 16, 16), 255.0)] * 8, progress=False)


# painting


@pytest.mark.parametrize("shape", [(16, 16), (17, 30), (64, 8)])
def test_colorize_gives_rgb_of_the_same_size(shape):
    painted = tiny().colorize(torch.rand(2, 1, *shape))
    assert painted.shape == (2, 3, *shape)
    assert painted.dtype == torch.float32
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_colorize_is_the_networks_output_in_rgb(monkeypatch):
    monkeypatch.setattr("nstlib.colorizer.fast_precision", lambda device: torch.float32)
    colorizer = tiny()
    condition = torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        expected = lab_to_rgb(unscale_lab(colorizer.generator.eval()(condition * 2 - 1))).clamp(0, 1)
    assert torch.allclose(colorizer.colorize(condition), expected, atol=1e-5)


def test_colorize_has_no_noise():
    colorizer = tiny(dropout=0.5)
    condition = torch.rand(1, 1, 16, 16)
    assert torch.equal(colorizer.colorize(condition), colorizer.colorize(condition))


@pytest.mark.parametrize(
    "condition",
    [
        torch.rand(1, 3, 16, 16),
        torch.rand(16, 16),
        torch.full((1, 1, 16, 16), 2.0),
        torch.full((1, 1, 16, 16), float("nan")),
        "gray",
    ],
)
def test_colorize_refuses_what_is_no_condition(condition):
    with pytest.raises(ImageError, match="condition"):
        tiny().colorize(condition)


def test_evaluate_is_the_same_in_any_batch(frames):
    colorizer = tiny(Condition("canny", detail=2))
    large = AnimeFrames("shots", 32, 6)
    whole, single = colorizer.evaluate(large), colorizer.evaluate(large, batch_size=1)
    assert set(whole) == {"accuracy", "accuracy_5", "chroma", "chroma_5", "psnr", "ssim"}
    for name in whole:
        assert whole[name].shape == (6,)
        assert torch.allclose(whole[name], single[name], atol=2e-2)
    shown = colorizer.compare(large, [4, 1])
    assert shown["condition"].shape == (2, 1, 16, 16)
    assert shown["truth"].shape == shown["painted"].shape == (2, 3, 16, 16)
    assert torch.allclose(shown["accuracy"], whole["accuracy"][[4, 1]], atol=2e-2)


# files


def test_save_and_load(tmp_path, monkeypatch):
    monkeypatch.setattr("nstlib.colorizer.fast_precision", lambda device: torch.float32)  # to see float16's rounding alone
    colorizer = tiny(Condition("canny", detail=2, sigma=1.5), seed=4, epochs=1)
    colorizer.fit(AnimeFrames("train", 32, 16), progress=False)
    colorizer.save(tmp_path / "c.safetensors")
    loaded = Colorizer.load(tmp_path / "c.safetensors")
    assert loaded.config() == colorizer.config()
    assert loaded.history == colorizer.history
    condition = torch.rand(2, 1, 16, 16)
    assert torch.allclose(loaded.colorize(condition), colorizer.colorize(condition), atol=0.02)
    assert all(value.dtype == torch.float16 for value in load_file(tmp_path / "c.safetensors").values() if value.ndim == 4)


def test_load_refuses_what_is_no_colorizer(tmp_path):
    file = tmp_path / "c.safetensors"
    with pytest.raises(ColorizerError, match="no such file"):
        Colorizer.load(file)
    for content in (b"", b"garbage" * 100):
        file.write_bytes(content)
        with pytest.raises(ColorizerError, match="damaged"):
            Colorizer.load(file)
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(ColorizerError, match="not a colorizer"):
        Colorizer.load(file)
    tiny().save(file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(file)
    tensors.pop("paint.bias")
    save_file(tensors, file, metadata)
    with pytest.raises(ColorizerError, match=r"(?s)not a colorizer.*paint\.bias"):
        Colorizer.load(file)
    config = json.loads(metadata["nstlib.Colorizer"])
    save_file(load_file(file), file, {"nstlib.Colorizer": json.dumps({**config, "size": "large"})})
    with pytest.raises(ColorizerError, match="not a colorizer"):
        Colorizer.load(file)


def test_save_says_where_it_cannot(tmp_path):
    with pytest.raises(ColorizerError, match="cannot be written"):
        tiny().save(tmp_path / "nowhere" / "c.safetensors")


# several processes

TWO = """
import json, sys
from lightning_fabric import Fabric
from nstlib import AnimeFrames, Colorizer
from nstlib.colorizer import Recipe
fabric = Fabric(accelerator="cpu", devices=int(sys.argv[1]), strategy="ddp" if sys.argv[1] == "2" else "auto")
fabric.launch()
colorizer = Colorizer("grayscale", 32, recipe=Recipe(width=8, epochs=2, batch_size=8, dropout=0.0))
history = colorizer.fit(AnimeFrames("train", 32, 32), fabric=fabric, progress=False, folder=sys.argv[2])
if fabric.is_global_zero:
    print(json.dumps(history))
"""


def test_two_processes_train_as_one(tmp_path):
    """At the same global batch the losses agree within 1e-4, batch norm and all."""
    script = tmp_path / "train.py"
    script.write_text(TWO)
    histories = []
    for processes in ("1", "2"):
        command = [sys.executable, str(script), processes, str(tmp_path / processes)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        histories.append(json.loads(result.stdout.strip().splitlines()[-1]))
    for one, two in zip(*histories, strict=True):
        for name in ("l1", "adversarial", "discriminator"):
            assert abs(one[name] - two[name]) < 1e-4


def test_batches_that_cannot_be_shared_are_told(fabric):
    class Three:
        world_size = 3

    with pytest.raises(ColorizerError, match="cannot be shared out evenly among 3"):
        Training(tiny(), Three(), 32, 32)


def test_default_device_and_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for dtype, precision in ((torch.float32, "32-true"), (torch.bfloat16, "bf16-mixed")):
        monkeypatch.setattr("nstlib.colorizer.fast_precision", lambda device, dtype=dtype: dtype)
        fabric = default_fabric()
        assert fabric.device.type == "cpu"
        assert fabric._precision.precision == precision
