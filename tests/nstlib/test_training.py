"""The trainer: the loop, schedules, checkpoints, resuming after a kill, two processes, what can go wrong."""

import csv
import dataclasses
import errno
import math
import os
import signal
import subprocess
import sys
import time
import types
import warnings

import pytest
import torch

from nstlib import AnimeFrames, Colorizer, ColorizerRecipe, Condition, CycleGAN, CycleRecipe, ImageError, ModelError
from nstlib.datasets import SAMPLE
from nstlib.devices import default_fabric
from nstlib.networks import PatchGAN
from nstlib.recipe import TrainingRecipe
from nstlib.training import Trainer

TINY = ColorizerRecipe(width=4, epochs=2, batch_size=4, generator_lr=2e-3, discriminator_lr=2e-4)
TINY_CYCLE = CycleRecipe(width=4, fold=1, epochs=2, batch_size=4, pool=8)


def tiny(condition="grayscale", seed=0, **changes):
    return Colorizer(condition, 16, recipe=dataclasses.replace(TINY, **changes), seed=seed)


def tiny_cycle(**changes):
    return CycleGAN("canny", 16, recipe=dataclasses.replace(TINY_CYCLE, **changes))


def weights(model):
    state = {**model.generator.state_dict(prefix="g."), **model.discriminator.state_dict(prefix="d.")}
    return {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def gray(count, height=16, width=16):
    return [torch.full((3, height, width), 0.5)] * count


class Noted(AnimeFrames):
    """Frames that note which of them were asked for."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = []

    def __getitem__(self, index):
        self.seen.append(index)
        return super().__getitem__(index)


# the loop


def test_same_seed_same_weights_other_seed_others(frames):
    runs = []
    for seed in (0, 0, 1):
        model = tiny(seed=seed, epochs=1)
        model.fit(frames, progress=False)
        runs.append(weights(model))
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
        model = tiny(epochs=1)
        model.fit(frames, workers=workers, progress=False)
        runs.append(weights(model))
    assert same(*runs)


def test_fresh_frames_are_seen_once_and_few_frames_again():
    many = Noted("train", 16, 16)
    tiny(epochs=2).fit(many, frames_per_epoch=8, progress=False)
    assert sorted(many.seen[-16:]) == list(range(16))
    assert len(set(many.seen[:-16])) <= SAMPLE, "a look at a few, before training"
    few = Noted("train", 16, 8)
    tiny(epochs=3).fit(few, progress=False)
    seen = few.seen[-24:]
    assert sorted(seen) == sorted(list(range(8)) * 3)
    assert seen[:8] != seen[8:16], "another order every time through"


def test_processes_share_out_the_batches_of_one(frames, fabric):
    trainer = Trainer(tiny(), frames, fabric=fabric)
    alone = list(trainer.batches())
    assert [len(batch) for batch in alone] == [4] * trainer.total_steps
    shares = []
    for rank in (0, 1):
        trainer.fabric = types.SimpleNamespace(global_rank=rank, world_size=2)
        shares.append(list(trainer.batches()))
    assert [[a, c, b, d] for (a, b), (c, d) in zip(*shares, strict=True)] == alone
    trainer.step = 5  # after an interruption
    assert list(trainer.batches()) == shares[1][5:]


@pytest.mark.parametrize(("frames_per_epoch", "steps"), [(None, 8), (32, 8), (13, 3), (1, 1), (400, 100)])
def test_an_epoch_is_rounded_to_whole_batches(frames, fabric, frames_per_epoch, steps):
    trainer = Trainer(tiny(), frames, frames_per_epoch, fabric=fabric)
    assert trainer.steps_per_epoch == steps
    assert trainer.total_steps == 2 * steps


@pytest.mark.parametrize("schedule", ["exponential", "one-cycle"])
def test_schedules(fabric, schedule):
    trainer = Trainer(tiny(schedule=schedule, epochs=5), gray(40), fabric=fabric)
    rates = []
    for _ in range(trainer.total_steps):
        rates.append(trainer.generator_schedule.get_last_lr()[0])
        trainer.generator_optimizer.step()
        trainer.generator_schedule.step()
    if schedule == "exponential":
        assert rates[0] == TINY.generator_lr
        assert rates[-1] == pytest.approx(TINY.generator_lr / 10, rel=0.1)
    else:
        assert rates.index(max(rates)) == pytest.approx(len(rates) / 10, abs=1.5)
        assert max(rates) == pytest.approx(TINY.generator_lr, rel=0.05)
        assert rates[-1] < 0.01 * TINY.generator_lr


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_discriminators_turn_comes_once_in_so_many_steps(batch, frames, fabric, every):
    trainer = Trainer(tiny(generator_steps=every), frames, fabric=fabric)
    assert ["discriminator" in trainer.advance(batch) for _ in range(6)] == [step % every == 0 for step in range(6)]


def test_an_epoch_without_a_turn_of_the_discriminator_has_no_loss_of_it(frames, tmp_path):
    model = tiny(generator_steps=3, epochs=4)
    history = model.fit(frames, frames_per_epoch=4, folder=tmp_path, progress=False)
    assert ["discriminator" in entry for entry in history] == [True, False, False, True]
    with (tmp_path / "log.csv").open() as file:
        assert [bool(row["discriminator"]) for row in csv.DictReader(file)] == [True, False, False, True]


def test_a_frozen_network_gives_gradients_to_images_alone(batch, frames, fabric):
    model = tiny()
    trainer = Trainer(model, frames, fabric=fabric)
    condition, colors = model.inputs(batch)
    leaf = colors.clone().requires_grad_(True)
    logits = trainer.frozen(model.discriminator, condition, leaf)
    assert torch.equal(logits, model.discriminator(condition, colors))
    logits.sum().backward()
    assert leaf.grad.abs().max() > 0
    assert all(p.grad is None and p.requires_grad for p in model.discriminator.parameters())


def test_the_generators_losses_are_weighted_as_the_recipe_says(frames, fabric):
    model = tiny(l1_weight=3.0, adversarial_weight=0.5)
    trainer = Trainer(model, frames, fabric=fabric)
    parameter = model.generator.output.bias
    trainer.update_generator({"l1": parameter.sum(), "adversarial": parameter[0], "gradient": math.nan * parameter.sum()})
    assert parameter.grad.tolist() == [3.5, 3, 3]


def test_what_has_the_attributes_of_a_model_can_be_trained(fabric):
    """The trainer knows nothing of colors: here a line is fitted."""

    class Line:
        collapse, frame_size, frame_channels, seed = (0.0, 10.0), 8, (3,), 0
        recipe = TrainingRecipe(epochs=3, batch_size=2, generator_lr=0.1)

        def __init__(self):
            self.generator, self.discriminator, self.history = torch.nn.Linear(1, 1), None, []

        def config(self):
            return {"model": "line"}

        def training_step(self, frames, trainer):
            x = frames.mean(dim=(1, 2, 3))[:, None]
            loss = (trainer.generator(x) - 2 * x).square().mean()
            trainer.generator_optimizer.zero_grad()
            trainer.fabric.backward(loss)
            trainer.generator_optimizer.step()
            return {"square": loss}

    model = Line()
    dataset = [torch.full((3, 8, 8), i / 40) for i in range(40)]
    history = Trainer(model, dataset, fabric=fabric, progress=False).fit()
    assert history is model.history
    assert set(history[0]) == {"square", "seconds"}
    assert history[-1]["square"] < history[0]["square"] / 10


# what it tells


def test_history_log_and_samples(frames, tmp_path):
    told = []
    model = tiny()
    validation = AnimeFrames("validation", 16, 5)
    history = model.fit(frames, validation=validation, folder=tmp_path / "run", progress=False, callback=told.append)
    assert history is model.history
    assert len(history) == len(told) == 2
    assert told[0] is model
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row, entry in zip(rows, history, strict=True):
        assert {name: float(row[name]) for name in entry} == entry
        assert set(entry) == {"l1", "adversarial", "discriminator", "accuracy", "accuracy_ab", "seconds"}
        assert all(math.isfinite(value) for value in entry.values())
    assert [path.name for path in sorted((tmp_path / "run" / "samples").iterdir())] == ["epoch_001.png", "epoch_002.png"]
    measured = model.evaluate(validation)
    assert history[-1]["accuracy_ab"] == pytest.approx(float(measured["accuracy_ab"].mean()))


def test_losses_are_means_over_the_epoch(frames, fabric):
    class Counting(Colorizer):
        def training_step(self, frames, trainer):
            losses = super().training_step(frames, trainer)
            return {**losses, "l1": torch.tensor(float(trainer.step))}

    model = Counting("grayscale", 16, recipe=TINY)
    assert [entry["l1"] for entry in model.fit(frames, fabric=fabric, progress=False)] == [3.5, 11.5]


def test_progress_shows_losses_and_accuracy(frames, capsys):
    tiny().fit(frames, validation=AnimeFrames("validation", 16, 4))
    shown = capsys.readouterr().err
    assert "16/16" in shown
    assert "l1=" in shown
    assert "accuracy=" in shown


def test_progress_shows_no_accuracy_that_was_not_measured(frames, capsys):
    tiny().fit(frames)
    assert "accuracy" not in capsys.readouterr().err


# interrupted

RUN = """
import sys, torch
from nstlib import AnimeFrames, Colorizer, ColorizerRecipe
recipe = ColorizerRecipe(width=4, epochs=6, batch_size=4, dropout=0.5)
model = Colorizer("canny", 16, recipe=recipe, seed=3)
frames = AnimeFrames("train", 16, 20)  # a pass does not end where an epoch does
tell = lambda m: print(len(m.history), flush=True)
model.fit(frames, frames_per_epoch=32, folder=sys.argv[1], progress=False, callback=tell)
discriminator = {"d." + name: value for name, value in model.discriminator.state_dict().items()}
torch.save({**model.generator.state_dict(), **discriminator}, sys.argv[2])
"""


@pytest.mark.slow
def test_killed_at_random_points_it_ends_with_the_same_weights(tmp_path):
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


@pytest.mark.parametrize("build", [tiny, tiny_cycle])
def test_a_state_goes_on_as_if_never_interrupted(frames, fabric, build):
    """Networks, optimizers, schedules, in the middle of an epoch."""

    def advance(trainer, count):
        torch.manual_seed(trainer.step)  # of dropout and of the pool
        for indices in list(trainer.batches())[:count]:
            trainer.advance(torch.stack([frames[i] for i in indices]))

    runs = []
    for interrupted in (False, True):
        trainer = Trainer(build(), frames, fabric=fabric)
        advance(trainer, 5)
        if interrupted:
            state = trainer.state_dict()
            trainer = Trainer(build(), frames, fabric=fabric)
            trainer.load_state_dict(state)
        assert trainer.step == 5
        advance(trainer, 4)
        assert trainer.generator_schedule.last_epoch == 9
        runs.append(weights(trainer.model))
    assert same(*runs)


def test_fit_goes_on_from_a_loaded_state(frames, fabric):
    alone = tiny()
    trainer = Trainer(alone, frames, fabric=fabric, progress=False)
    trainer.fit()
    expected = weights(alone)
    assert trainer.fit() == alone.history
    assert same(weights(alone), expected), "finished, it does nothing"

    def stop():
        raise KeyboardInterrupt

    trainer = Trainer(tiny(), frames, fabric=fabric, progress=False, callback=stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    again = Trainer(tiny(), frames, fabric=fabric, progress=False)
    again.load_state_dict(trainer.state_dict())
    assert len(again.fit()) == 2
    assert same(weights(again.model), expected)


def test_a_finished_run_is_not_trained_again(frames, tmp_path):
    first, again = tiny(), tiny()
    first.fit(frames, folder=tmp_path, progress=False)
    again.fit(frames, folder=tmp_path, progress=False)
    assert same(weights(first), weights(again))
    assert again.history == first.history


def test_a_second_training_goes_on_from_the_weights(frames, tmp_path):
    model = tiny(epochs=1)
    model.fit(frames, progress=False)
    model.save(tmp_path / "c.safetensors")
    for trained in (model, Colorizer.load(tmp_path / "c.safetensors")):
        before = weights(trained)
        history = trained.fit(frames, progress=False)
        assert len(history) == 1
        assert not same(before, weights(trained))


@pytest.mark.parametrize("change", ["seed", "recipe", "condition", "number of frames"])
def test_a_checkpoint_of_another_training_is_refused(frames, tmp_path, change):
    tiny(epochs=1).fit(frames, folder=tmp_path, progress=False)
    changes = {"seed": {"seed": 1}, "recipe": {"dropout": 0.1}, "condition": {"condition": "sobel"}}
    other = tiny(**{"epochs": 1, **changes.get(change, {})})
    before = weights(other)
    dataset = AnimeFrames("train", 16, 34) if change == "number of frames" else frames  # as many batches
    with pytest.raises(ModelError) as raised:
        other.fit(dataset, folder=tmp_path, progress=False)
    named = {name for name in ("model", "condition", "size", "recipe", "seed", "number of frames") if name in str(raised.value)}
    assert named == {change}
    assert same(before, weights(other))


def test_a_checkpoint_of_another_model_is_refused(frames, tmp_path):
    tiny(epochs=1).fit(frames, folder=tmp_path, progress=False)
    with pytest.raises(ModelError, match=r"\bmodel\b"):
        tiny_cycle(epochs=1).fit(frames, folder=tmp_path, progress=False)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_told_and_left_alone(frames, tmp_path, content):
    tiny(epochs=1).fit(frames, folder=tmp_path, progress=False)
    file = tmp_path / "checkpoint.pt"
    damaged = file.read_bytes()[:1000] if content is None else content
    file.write_bytes(damaged)
    with pytest.raises(ModelError, match=r"checkpoint\.pt"):
        tiny(epochs=1).fit(frames, folder=tmp_path, progress=False)
    assert file.read_bytes() == damaged


# a folder that cannot be written


def test_a_folder_that_cannot_be_made_is_found_out_before_the_first_epoch(tmp_path):
    (tmp_path / "file").write_text("")
    noted = Noted("train", 16, 32)
    with pytest.raises(ModelError, match="file/run"):
        tiny(epochs=1).fit(noted, folder=tmp_path / "file" / "run", progress=False)
    assert len(set(noted.seen)) <= SAMPLE, "a look at a few"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_found_out_before_the_first_epoch(tmp_path):
    (tmp_path / "run" / "samples").mkdir(parents=True)
    (tmp_path / "run").chmod(0o500)
    noted = Noted("train", 16, 32)
    with pytest.raises(ModelError, match=f"{tmp_path.name}/run"):
        tiny(epochs=1).fit(noted, folder=tmp_path / "run", progress=False)
    assert len(set(noted.seen)) <= SAMPLE


def test_a_folder_on_a_disk_that_takes_no_files_is_found_out_before_the_first_epoch(tmp_path, monkeypatch):
    def refuse(dir=None, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))

    monkeypatch.setattr("nstlib.run_folder.tempfile.TemporaryFile", refuse)
    noted = Noted("train", 16, 32)
    with pytest.raises(ModelError, match=f"{tmp_path.name}/run"):
        tiny(epochs=1).fit(noted, folder=tmp_path / "run", progress=False)
    assert len(set(noted.seen)) <= SAMPLE


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("full")])
def test_a_disk_that_fills_up_is_told_and_the_last_checkpoint_stays(frames, tmp_path, monkeypatch, error):
    def fill(model):
        def full(*_):
            raise error

        monkeypatch.setattr(torch, "save", full)

    with pytest.raises(ModelError, match=tmp_path.name):
        tiny(epochs=3).fit(frames, folder=tmp_path, progress=False, callback=fill)
    assert len(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["history"]) == 1


# what can go wrong


def test_divergence_is_told_and_the_checkpoint_stays_sound(frames, tmp_path):
    def poison(model):
        model.generator.output.weight.data.fill_(math.nan)

    model = tiny(epochs=3)
    with pytest.raises(ModelError, match=r"step 9 .*epoch 2.*adversarial, .*l1.*generator_lr.*epoch 1"):
        model.fit(frames, folder=tmp_path, progress=False, callback=poison)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["history"]) == 1
    assert all(torch.isfinite(value).all() for value in state["generator"].values())


GUESSING = {tiny: 2 * math.log(2), tiny_cycle: 0.25}  # the discriminator's loss


@pytest.mark.parametrize("build", GUESSING)
@pytest.mark.parametrize(
    ("where", "warns"), [("below", True), ("above low", False), ("at chance", False), ("below high", False), ("above", True)]
)
def test_each_model_has_its_own_bounds_of_collapse(frames, build, where, warns):
    model = build(epochs=1)
    kind, (low, high) = type(model), model.collapse
    losses = {"below": 0.98 * low, "above low": 1.02 * low, "below high": 0.98 * high, "above": 1.02 * high}
    loss = losses.get(where, GUESSING[build])

    class Scripted(kind):
        def training_step(self, frames, trainer):
            losses = super().training_step(frames, trainer)
            return {name: torch.tensor(loss) if name == "discriminator" else value for name, value in losses.items()}

    scripted = Scripted(model.condition, 16, recipe=model.recipe)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scripted.fit(frames, progress=False)
    found = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
    assert len(found) == warns
    assert all(f"{loss:.2g}" in text and "discriminator_lr" in text for text in found)


@pytest.mark.parametrize("build", GUESSING)
def test_a_discriminator_at_chance_has_a_loss_within_the_bounds(batch, frames, fabric, build):
    model = build()
    for module in model.discriminator.modules():
        if isinstance(module, PatchGAN):
            module.layers[-1] = last = torch.nn.Conv2d(module.layers[-1].in_channels, 1, kernel_size=4, padding=2)
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.constant_(last.bias, 0.0 if build is tiny else 0.5)
    losses = Trainer(model, frames, fabric=fabric).advance(batch)
    assert losses["discriminator"].item() == pytest.approx(GUESSING[build], rel=1e-5)
    low, high = model.collapse
    assert low < GUESSING[build] < high


def test_a_healthy_training_warns_of_nothing(frames):
    for build in (tiny, tiny_cycle):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(epochs=1).fit(frames, progress=False)


def test_no_frames_is_told(frames):
    with pytest.raises(ImageError):
        tiny().fit([], progress=False)
    with pytest.raises(ImageError):
        tiny().fit(frames, validation=[], progress=False)


@pytest.mark.parametrize("value", [0, -4, 2.5, "all"])
def test_frames_per_epoch_that_cannot_be(frames, value):
    with pytest.raises(ValueError, match="frames_per_epoch"):
        tiny().fit(frames, frames_per_epoch=value, progress=False)


def test_frames_of_another_size_are_told(frames):
    with pytest.raises(ImageError, match=r"24 .* 16 "):
        tiny().fit(AnimeFrames("train", 24, 4), progress=False)
    with pytest.raises(ImageError, match=r"24 .* 16 "):
        tiny().fit(frames, validation=AnimeFrames("validation", 24, 4), progress=False)
    with pytest.raises(ImageError, match=r"16 .* 32 .*supersample"):
        tiny(Condition("canny", supersample=2)).fit(frames, progress=False)


def test_invalid_frames_are_named():
    with pytest.raises(ImageError, match="255"):
        tiny().fit([torch.full((3, 16, 16), 255.0)] * 8, progress=False)


# devices and processes


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, "32-true"), (torch.bfloat16, "bf16-mixed")])
def test_default_device_and_precision(monkeypatch, dtype, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("nstlib.devices.fast_precision", lambda device: dtype)
    fabric = default_fabric()
    assert fabric.device.type == "cpu"
    assert fabric.world_size == 1
    assert fabric.strategy.precision.precision == precision


def test_batches_that_cannot_be_shared_are_told(frames):
    with pytest.raises(ModelError, match=r"\b4\b.*\b3\b"):
        Trainer(tiny(), frames, fabric=types.SimpleNamespace(world_size=3))


TWO = """
import sys
import torch
from lightning_fabric import Fabric
from nstlib import AnimeFrames, Colorizer, ColorizerRecipe, CycleGAN, CycleRecipe, ModelError

kind, folder, result, fault = sys.argv[1:]
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
rank = fabric.global_rank
made, recipe = {
    "colorizer": (Colorizer, ColorizerRecipe(width=8, epochs=3, batch_size=8, dropout=0.5)),
    "cyclegan": (CycleGAN, CycleRecipe(width=4, fold=1, epochs=3, batch_size=8, pool=8)),
}[kind]


class Model(made):
    def training_step(self, frames, trainer):
        losses = super().training_step(frames, trainer)
        if fault == "nan" and rank == 1 and trainer.step == 5:
            losses = {name: loss * float("nan") for name, loss in losses.items()}
        return losses


class Stopped(Exception):
    pass


def after_epoch(model):
    if fault == "stop" and len(model.history) == 2:
        raise Stopped


model = Model("canny", 16, recipe=recipe, seed=2)
error = ""
try:
    model.fit(AnimeFrames("train", 16, 32), validation=AnimeFrames("validation", 16, 8), fabric=fabric, progress=False,
              folder=None if folder == "-" else folder, callback=after_epoch)
except (ModelError, Stopped) as raised:
    error = f"{type(raised).__name__}: {raised}"
history = [{name: value for name, value in entry.items() if name != "seconds"} for entry in model.history]
weights = {**model.generator.state_dict(prefix="g."), **model.discriminator.state_dict(prefix="d.")}
tensors = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
torch.save({"weights": tensors, "history": history, "error": error}, f"{result}-{rank}.pt")
"""


def train_in_two(tmp_path, kind, folder, name, fault="-"):
    """Train in two processes; what either of them ended with."""
    script = tmp_path / "train.py"
    script.write_text(TWO)
    command = [sys.executable, str(script), kind, folder if folder == "-" else str(tmp_path / folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [*command, str(tmp_path / name), fault], stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            status = process.wait(timeout=240)
        finally:
            if process.poll() is None:  # it hangs
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert status == 0, (tmp_path / f"{name}.log").read_text()[-2000:]
    return [torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["colorizer", "cyclegan"])
def test_two_processes_end_with_the_same_weights_and_history(tmp_path, kind):
    first, second = train_in_two(tmp_path, kind, "-", "run")
    assert first["error"] == second["error"] == ""
    assert len(first["history"]) == 3
    assert first["history"] == second["history"]
    assert same(first["weights"], second["weights"])


@pytest.mark.slow
def test_two_processes_resume(tmp_path):
    alone, _ = train_in_two(tmp_path, "colorizer", "-", "alone")
    stopped = train_in_two(tmp_path, "colorizer", "run", "stopped", fault="stop")
    assert [len(process["history"]) for process in stopped] == [2, 2]
    resumed = train_in_two(tmp_path, "colorizer", "run", "resumed")
    for process in resumed:
        assert process["history"] == alone["history"]
        assert same(process["weights"], alone["weights"])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_in_one_process_ends_both(tmp_path):
    for process in train_in_two(tmp_path, "colorizer", "run", "run", fault="nan"):
        assert process["error"].startswith("ModelError")
        assert len(process["history"]) == 1


# the same data, more epochs, any frames


@pytest.mark.parametrize("other", [AnimeFrames("train", 16, 32, seed=5), AnimeFrames("shots", 16, 32)], ids=["seed", "split"])
def test_a_checkpoint_of_other_frames_is_refused(frames, fabric, tmp_path, other):
    tiny().fit(frames, folder=tmp_path, fabric=fabric, progress=False)
    with pytest.raises(ModelError, match=r"different: frames\b"):
        tiny().fit(other, folder=tmp_path, fabric=fabric, progress=False)


@pytest.mark.parametrize("schedule", ["exponential", "one-cycle"])
def test_a_training_that_had_ended_goes_on_for_more_epochs(frames, fabric, tmp_path, schedule):
    first = tiny(schedule=schedule)
    history = list(first.fit(frames, folder=tmp_path, fabric=fabric, progress=False))
    longer = tiny(schedule=schedule, epochs=4)
    found = longer.fit(frames, folder=tmp_path, fabric=fabric, progress=False)
    assert found[:2] == history
    assert len(found) == 4
    assert not same(weights(first), weights(longer))
    with pytest.raises(ModelError, match="epochs"):
        tiny(schedule=schedule, epochs=3).fit(frames, folder=tmp_path, fabric=fabric, progress=False)


def test_gray_frames_warn(fabric):
    with pytest.warns(RuntimeWarning, match="gray"):
        tiny(epochs=1).fit(gray(8), fabric=fabric, progress=False)


def test_items_that_are_no_frames_are_named(frames, fabric):
    items = [frames[i] for i in range(8)]
    for wrong in ((items[0], 1), items[0][:, :, :12]):
        with pytest.raises(ImageError, match="frame 7"):
            tiny(epochs=1).fit([*items[:7], wrong], fabric=fabric, progress=False)


def test_more_epochs_are_refused_while_a_training_is_unfinished(frames, fabric, tmp_path):
    recipe = ColorizerRecipe(width=4, epochs=3, batch_size=8)

    class Stop(Exception):
        pass

    def stop(model):
        raise Stop

    with pytest.raises(Stop):
        Colorizer(size=16, recipe=recipe).fit(frames, folder=tmp_path, fabric=fabric, progress=False, callback=stop)
    longer = dataclasses.replace(recipe, epochs=5)
    with pytest.raises(ModelError, match="1 of 3 epochs") as caught:
        Colorizer(size=16, recipe=longer).fit(frames, folder=tmp_path, fabric=fabric, progress=False)
    assert "another folder" not in str(caught.value)
    assert len(Colorizer(size=16, recipe=recipe).fit(frames, folder=tmp_path, fabric=fabric, progress=False)) == 3
