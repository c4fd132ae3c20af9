"""The trainer: the loop, schedules, checkpoints and log that every model shares. What a step does is the model's."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler, OneCycleLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from nstlib.arguments import whole_number
from nstlib.autograd import own_autograd
from nstlib.datasets import CheckedFrames, Frames, digest, warn_if_gray
from nstlib.devices import default_fabric
from nstlib.recipe import TrainingRecipe
from nstlib.run_folder import ModelError, make_folder, read_checkpoint, write_checkpoint, write_log, write_samples

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from nstlib.recipe import AdversarialRecipe

CHECK_EVERY = 10  # steps between checks of the losses; on a GPU each check waits for it
SHEET = 8  # validation frames on a sheet of samples


class Trainable(Protocol):
    """What the trainer asks of a model (``nstlib.model.ColorizationModel`` has it all).

    Attributes:
        discriminator: None where there is none.
        collapse: the discriminator's loss when it is never wrong, and when it is nearly always wrong.
        frame_size, frame_channels: shorter side in pixels of the frames that it trains on, and the channels that they may have.
        history: one entry an epoch.
    """

    collapse: tuple[float, float]
    seed: int
    history: list[dict[str, float]]
    generator: nn.Module
    discriminator: nn.Module | None

    @property
    def recipe(self) -> TrainingRecipe: ...

    @property
    def frame_size(self) -> int: ...

    @property
    def frame_channels(self) -> tuple[int, ...]: ...

    def config(self) -> dict[str, Any]: ...

    def training_step(self, frames: Tensor, trainer: Trainer) -> dict[str, Tensor]: ...


class Measured(Trainable, Protocol):
    """What the trainer asks of a model that is measured on validation frames."""

    def evaluate(self, frames: Frames) -> dict[str, Tensor]: ...

    def compare(self, frames: Frames, indices: Sequence[int]) -> dict[str, Tensor]: ...


class Trainer:
    """A training of a model: networks and optimizers as Fabric wraps them, schedules, the place in the data.

    Args:
        model: what is trained.
        frames: a dataset of (3, H, W), RGB in [0, 1], all of one size; the shorter side is the model's ``frame_size``. The
            trainer takes them in random order, again and again (each time in a new order) if the run needs more.
        frames_per_epoch: rounded to whole batches; default all of ``frames``.
        validation: frames on which accuracy is measured after every epoch.
        folder: holds ``checkpoint.pt``, written after every epoch; ``log.csv``; and ``samples/``, the first validation frames
            after every epoch. If a checkpoint is there at the start, training goes on from it, and ends with the same weights
            as one that was never interrupted. A training that had ended goes on with a new schedule if the recipe now has more
            epochs, on the same or on other frames.
        fabric: a launched ``lightning_fabric.Fabric``: devices, precision, processes; each process takes an equal share of
            every batch. Default: the GPU if there is one, in bfloat16 where the device is fast in it.
        workers: processes that prepare frames; 0 does it between steps.
        progress: show a progress bar.
        callback: called after every epoch.

    Batch norm sees a process's own share of a batch on CPUs, and the whole batch on GPUs (PyTorch's SyncBatchNorm, which has no
    CPU version).

    Raises:
        ImageError: there are no frames, the first one is not a valid frame, or it has another size.
        ModelError: a batch cannot be shared out evenly among the processes.
        ValueError: ``frames_per_epoch`` is not a whole number of at least 1.

    Warns:
        RuntimeWarning: the frames are gray.
    """

    def __init__(
        self,
        model: Trainable,
        frames: Frames,
        frames_per_epoch: int | None = None,
        *,
        validation: Frames | None = None,
        folder: str | os.PathLike[str] | None = None,
        fabric: Fabric | None = None,
        workers: int = 0,
        progress: bool = True,
        callback: Callable[[], None] | None = None,
    ) -> None:
        size, channels = model.frame_size, model.frame_channels
        self.frames = CheckedFrames(frames, size, channels)
        self.validation = None if validation is None else CheckedFrames(validation, size, channels)
        warn_if_gray(self.frames)
        recipe = model.recipe
        frames_per_epoch = whole_number(len(frames) if frames_per_epoch is None else frames_per_epoch, "frames_per_epoch", 1)
        self.fabric = fabric or default_fabric()
        if recipe.batch_size % self.fabric.world_size:
            raise ModelError(
                f"a batch of {recipe.batch_size} cannot be shared out evenly among {self.fabric.world_size} processes"
            )
        self.model, self.recipe = model, recipe
        self.folder = Path(folder) if folder is not None else None
        self.workers, self.progress, self.callback = workers, progress, callback
        self.steps_per_epoch = max(1, round(frames_per_epoch / recipe.batch_size))
        self.total_steps = recipe.epochs * self.steps_per_epoch
        self.step = 0
        self._digest = digest(self.frames)
        self.generator, self.generator_optimizer, self.generator_schedule = self._set_up(model.generator, recipe.generator_lr)
        self._networks = {"generator": model.generator}
        if model.discriminator is not None:
            self._networks["discriminator"] = model.discriminator
            self.discriminator, self.discriminator_optimizer, self.discriminator_schedule = self._set_up(
                model.discriminator, cast("AdversarialRecipe", recipe).discriminator_lr
            )

    # -- what a model's training_step uses, beside ``generator`` and ``discriminator`` --

    def turn(self, every: int) -> bool:
        """Whether something that happens once in ``every`` steps is due in this step."""
        return self.step % every == 0

    def frozen(self, network: nn.Module, *inputs: Any) -> Tensor:
        """What a network of the model gives, in single precision, with gradients for its inputs and none for its weights."""
        network.requires_grad_(False)
        with self.fabric.autocast():
            output = network(*inputs)
        network.requires_grad_(True)
        return output.float()

    def update_discriminator(self, loss: Tensor) -> None:
        """Take a step down the discriminator's loss."""
        self.discriminator_optimizer.zero_grad()
        self.fabric.backward(loss)
        self.discriminator_optimizer.step()

    def update_generator(self, losses: dict[str, Tensor]) -> None:
        """Take a step down the sum of the generator's losses, weighted as the recipe says."""
        weights = self.recipe.weights
        self.generator_optimizer.zero_grad()
        weighted = (weights[name] * loss for name, loss in losses.items() if weights[name])
        self.fabric.backward(sum(weighted, start=torch.zeros(())))
        self.generator_optimizer.step()

    # -- the loop --

    @own_autograd
    def fit(self) -> list[dict[str, float]]:
        """Train for ``recipe.epochs`` epochs, from the weights as they are or from the folder's checkpoint.

        Returns:
            The model's ``history``: for every epoch its mean losses, "accuracy" and "accuracy_ab" on ``validation`` (t = 2),
            and "seconds".

        Raises:
            ModelError: a loss is not finite any more (the checkpoint keeps the last sound epoch); the checkpoint is damaged or
                of another training; the folder cannot be written.
            ImageError: frames that are none.

        Warns:
            RuntimeWarning: the discriminator is never or always wrong, so that the generator learns little from it.
        """
        model, fabric = self.model, self.fabric
        if self.folder:
            make_folder(self.folder)
        if self.folder and (state := read_checkpoint(self.folder)):
            self.load_state_dict(state)
        elif not self.step:
            model.history = []  # a model that was trained before, or loaded, begins here
        loader = DataLoader(self.frames, batch_sampler=self.batches(), num_workers=self.workers, generator=torch.Generator())
        batches = iter(loader)
        hidden = not (self.progress and fabric.is_global_zero)
        gpus = [fabric.device] if fabric.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=gpus),
            tqdm(total=self.total_steps, initial=self.step, desc="training", unit="step", disable=hidden) as bar,
        ):
            for epoch in range(len(model.history), self.recipe.epochs):
                # dropout's randomness follows from seed and epoch: an epoch run again after an interruption is the same
                torch.manual_seed((model.seed * 1000 + epoch) * 1000 + fabric.global_rank)
                entry = self.run_epoch(batches, bar)
                if self.validation is not None:
                    measured = cast("Measured", model).evaluate(self.validation)
                    entry |= {name: float(measured[name].mean()) for name in ("accuracy", "accuracy_ab")}
                    bar.set_postfix({name: f"{value:.3f}" for name, value in entry.items() if name != "seconds"})
                model.history.append(entry)
                if self.folder and fabric.is_global_zero:
                    self._write_folder(self.folder)
                fabric.barrier()
                if self.callback is not None:
                    self.callback()
        return model.history

    def batches(self) -> Iterator[list[int]]:
        """This process's share of each batch still to come: positions in the dataset, shuffled anew every time through."""
        size, count = self.recipe.batch_size, len(self.frames)
        turn, order = -1, torch.empty(0)
        for step in range(self.step, self.total_steps):
            batch = []
            for position in range(step * size, (step + 1) * size):
                if position // count != turn:
                    turn = position // count
                    generator = torch.Generator().manual_seed(self.model.seed * 100_000 + turn)
                    order = torch.randperm(count, generator=generator)
                batch.append(int(order[position % count]))
            yield batch[self.fabric.global_rank :: self.fabric.world_size]

    def advance(self, frames: Tensor) -> dict[str, Tensor]:
        """Take one training step on a batch, and one along the schedules; return the losses."""
        losses = self.model.training_step(self.fabric.to_device(frames), self)
        self.generator_schedule.step()
        if self.recipe.weights.get("adversarial"):  # else the discriminator never takes a step
            self.discriminator_schedule.step()
        self.step += 1
        return losses

    def run_epoch(self, batches: Iterator[Tensor], bar: tqdm) -> dict[str, float]:
        """Take the epoch's steps and return the mean losses and the seconds.

        Raises:
            ModelError: a loss is NaN or infinite.
        """
        for network in self._networks.values():
            network.train()
        started = time.monotonic()
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for i in range(self.steps_per_epoch):
            for name, value in self.advance(next(batches)).items():
                sums[name] = sums.get(name, 0) + value.detach()
                counts[name] = counts.get(name, 0) + 1
            bar.update()
            if i % CHECK_EVERY == 0 or i == self.steps_per_epoch - 1:
                means = self._mean_losses(sums, counts)
                last = self.model.history[-1] if self.model.history else {}
                accuracy = {"accuracy": last["accuracy"]} if "accuracy" in last else {}  # after the epoch before
                bar.set_postfix({name: f"{value:.3f}" for name, value in {**means, **accuracy}.items()}, refresh=False)
        self._share_buffers()
        self._warn_of_collapse(means)
        return {**means, "seconds": time.monotonic() - started}

    # -- to go on after an interruption --

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on. Random numbers follow from seed, epoch and step, so no generator's state is kept."""
        parts = {name: getattr(self, name).state_dict() for name in self._parts()}
        return {**parts, "step": self.step, "steps": self.total_steps, "history": self.model.history, "run": self._run()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave: from its step or, if it had ended and this one is longer, with a new schedule.

        Raises:
            ModelError: it is of another training; the message says what differs.
        """
        mine, theirs = self._run(), state.get("run", {})
        different = {key for key in mine if mine[key] != theirs.get(key)}
        ended = state.get("step") == state.get("steps")
        longer = "epochs" in different and ended and mine["epochs"] > theirs["epochs"]
        if different == {"epochs"} and not longer:
            raise ModelError(
                f"the training in this folder has {len(state['history'])} of {theirs['epochs']} epochs; finish it with that "
                f"recipe before one of {mine['epochs']} goes on from it"
            )
        if different - ({"epochs", "number of frames", "frames"} if longer else set()):
            names = ", ".join(key for key in mine if key in different)
            raise ModelError(f"the checkpoint is of another training; different: {names}; choose another folder")
        for name in self._parts():
            if not (longer and name.endswith("_schedule")):
                getattr(self, name).load_state_dict(state[name])
        self.step, self.model.history = state["step"], state["history"]
        if longer:
            left = self.total_steps - self.step
            for network in self._networks:
                rate, optimizer = getattr(self.recipe, f"{network}_lr"), getattr(self, f"{network}_optimizer")
                setattr(self, f"{network}_schedule", self._schedule(optimizer, rate, left))

    # -- how it works --

    def _parts(self) -> list[str]:
        """The names of what a checkpoint holds of the networks."""
        return [network + part for part in ("", "_optimizer", "_schedule") for network in self._networks]

    def _set_up(self, network: nn.Module, lr: float) -> tuple[nn.Module, torch.optim.Optimizer, LRScheduler]:
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place
        optimizer = torch.optim.Adam(network.parameters(), lr, betas=(self.recipe.beta1, self.recipe.beta2), fused=True)
        schedule = self._schedule(optimizer, lr, self.total_steps)
        return *self.fabric.setup(network, optimizer), schedule

    def _schedule(self, optimizer: torch.optim.Optimizer, lr: float, steps: int) -> LRScheduler:
        for group in optimizer.param_groups:
            group["lr"] = lr
            group.pop("initial_lr", None)  # of an earlier schedule
        if self.recipe.schedule == "one-cycle":  # rises for a tenth of the run, then falls to zero along a cosine
            return OneCycleLR(optimizer, lr, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False)
        return ExponentialLR(optimizer, gamma=0.1 ** (1 / steps))

    def _share_buffers(self) -> None:
        """Give all processes the first one's running means of batch norm: on CPUs each has its own, and measures with them."""
        if self.fabric.world_size > 1 and self.fabric.device.type == "cpu":
            buffers = [buffer for network in self._networks.values() for buffer in network.buffers()]
            for buffer, first in zip(buffers, self.fabric.broadcast(buffers), strict=True):
                buffer.copy_(first)

    def _mean_losses(self, sums: dict[str, Tensor], counts: dict[str, int]) -> dict[str, float]:
        """Means over the steps so far and over the processes, so that all processes raise the same error.

        Raises:
            ModelError: a loss is NaN or infinite.
        """
        names = sorted(sums)
        local = torch.tensor([float(sums[name]) / counts[name] for name in names], dtype=torch.float64)
        mean = cast("Tensor", self.fabric.all_reduce(self.fabric.to_device(local), reduce_op="mean"))
        means = dict(zip(names, mean.tolist(), strict=True))
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        if bad:
            epochs = len(self.model.history)
            raise ModelError(
                f"training diverged in step {self.step} (epoch {epochs + 1}): loss {', '.join(bad)} is not finite. A lower "
                f"generator_lr helps; a checkpoint, if one was asked for, holds epoch {epochs}"
            )
        return means

    def _warn_of_collapse(self, losses: dict[str, float]) -> None:
        low, high = self.model.collapse
        loss = losses.get("discriminator")
        if loss is not None and not low < loss < high:
            wrong = "never" if loss <= low else "nearly always"
            warnings.warn(
                f"epoch {len(self.model.history) + 1}: the discriminator is {wrong} wrong (loss {loss:.2g}), so the generator "
                "learns little from it; change discriminator_lr",
                RuntimeWarning,
                stacklevel=7,
            )

    def _run(self) -> dict[str, Any]:
        """What makes this training this one."""
        config = self.model.config()
        recipe = {key: value for key, value in config["recipe"].items() if key != "epochs"}
        return {
            **config,
            "recipe": recipe,
            "epochs": self.recipe.epochs,
            "steps an epoch": self.steps_per_epoch,
            "number of frames": len(self.frames),
            "frames": self._digest,
        }

    def _write_folder(self, folder: Path) -> None:
        """Log, samples, and last the checkpoint: what it says is done has been written."""
        write_log(folder, self.model.history)
        if self.validation is not None:
            indices = range(min(SHEET, len(self.validation)))
            compared = cast("Measured", self.model).compare(self.validation, indices)
            write_samples(folder, len(self.model.history), compared)
        write_checkpoint(folder, self.state_dict())
