"""The poster's second half: a conditional GAN that colors anime frames (Equations 4 and 5).

One training step, written out, is ``Colorizer.training_step``. Everything else is around it: recipes, the loop with its
checkpoints and log, saving, loading, painting.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler, OneCycleLR
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from nstlib.color import lab_to_rgb, rgb_to_lab, scale_lab, unscale_lab
from nstlib.edges import Condition, gradient
from nstlib.files import atomic_write
from nstlib.images import ImageError, check_images, save_image
from nstlib.losses import PerceptualLoss, check_weight
from nstlib.metrics import color_accuracy, measure
from nstlib.networks import PatchGAN, UNet
from nstlib.vgg import fast_precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOOK_EVERY = 10  # steps between looks at the losses; on a GPU each look waits for it
COLLAPSE = (0.005, 3.0)  # the discriminator's loss when it is never wrong, or nearly always; guessing has log 2
SAMPLES = 8  # frames in a sample sheet
_PARTS = (
    "generator",
    "discriminator",
    "generator_optimizer",
    "discriminator_optimizer",
    "generator_schedule",
    "discriminator_schedule",
)


# Johnson et al. 2016 (section 3.2): relu2_2 keeps what an image looks like, relu3_3 what it is made of. The weights even out
# how large their features are.
PERCEPTUAL_LAYERS = {"relu2_2": 1e-5, "relu3_3": 1e-5}


class ColorizerError(RuntimeError):
    """A training that cannot go on, or a file that is no colorizer; the message says which and why."""


@dataclass(frozen=True)
class Recipe:
    """How a colorizer is trained; the defaults are those of the code that the poster's authors published for their sister paper
    (called "the lab's" throughout), but that dropout works.

    Source: Nazeri, Ng, Ebrahimi 2018 (arXiv 1803.05400); github.com/ImagingLab/Colorizing-with-GANs.
    """

    width: int = 64  # channels of the first layer; sets the size of both networks
    paint_gain: float = 1.0  # of the last layer's first weights (He's): the smaller, the nearer to gray it begins
    dropout: float = 0.5  # as Eq. (4) has it: the only noise (in the lab's code it was never switched on)
    epochs: int = 30
    batch_size: int = 16
    adversarial_weight: float = 1.0  # at 0 there is no discriminator
    l1_weight: float = 100.0  # lambda in Eq. (4); of the mean over pixels and channels
    perceptual_weight: float = 0.0  # of VGG's features (PERCEPTUAL_LAYERS); the poster's "future research"
    structure_weight: float = 0.0  # of the difference between Sobel edges, of lightness
    generator_lr: float = 3e-4
    discriminator_lr: float = 3e-5
    beta1: float = 0.0  # of Adam
    generator_steps: int = 2  # to one discriminator step
    schedule: str = "exponential"  # learning rates fall to a tenth over the run; or "one-cycle"

    def __post_init__(self) -> None:
        if self.schedule not in ("exponential", "one-cycle"):
            raise ValueError(f"schedule must be 'exponential' or 'one-cycle', not {self.schedule!r}")
        for name in ("epochs", "batch_size", "generator_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if not 0 < self.paint_gain < math.inf:
            raise ValueError(f"paint_gain must be a number above 0, not {self.paint_gain!r}")
        for name in ("adversarial_weight", "l1_weight", "perceptual_weight", "structure_weight"):
            check_weight(getattr(self, name), name)
        if not self.adversarial_weight + self.l1_weight + self.perceptual_weight + self.structure_weight:
            raise ValueError("all weights of the losses are 0: there is nothing to learn")


POSTER = Recipe()
RECIPES = {
    "poster": POSTER,
    # what two CPU cores can do in a quarter of an hour; each departure with its reason
    "laptop": replace(
        POSTER,
        width=32,  # a quarter of the work
        dropout=0.0,  # few steps: noise costs accuracy (0.47 with, 0.51 without in a trial)
        generator_lr=5e-3,  # batch norm bears it, and with the schedule below it learns faster
        discriminator_lr=5e-4,  # a tenth, as the lab's
        beta1=0.5,  # as pix2pix
        schedule="one-cycle",  # warm up, then fall to nothing: the last steps polish
    ),
}


class Colorizer:
    """A generator that paints frames from a condition (grayscale, line-art), and the discriminator that taught it.

    Args:
        condition: "grayscale", "canny", "sobel", "xdog", or a ``nstlib.edges.Condition`` with settings of its own.
        size: shorter side of the frames it is built for, in pixels; others work.
        recipe: "poster" (the lab's), "laptop", or a ``Recipe``.
        seed: of initial weights, of the order of the frames and of dropout.

    Raises:
        ValueError: an argument is none of these.
    """

    recipe_type = Recipe

    def __init__(
        self, condition: str | Condition = "grayscale", size: int = 64, *, recipe: str | Recipe = "poster", seed: int = 0
    ):
        if isinstance(recipe, str) and recipe not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)} or a Recipe, not {recipe!r}")
        self.condition = condition if isinstance(condition, Condition) else Condition(condition)
        self.recipe = recipe if isinstance(recipe, Recipe) else RECIPES[recipe]
        self.size, self.seed = size, seed
        self.history: list[dict[str, float]] = []  # one entry an epoch
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.generator, self.discriminator = self._networks()
        # 4 x 4 kernels run faster on CPUs with the channels last in memory
        self.generator.to(memory_format=torch.channels_last)
        self.discriminator.to(memory_format=torch.channels_last)

    def _networks(self) -> tuple[nn.Module, nn.Module]:
        recipe = self.recipe
        return UNet(self.size, recipe.width, recipe.dropout, recipe.paint_gain), PatchGAN(recipe.width)

    # what the networks see

    def inputs(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Condition (B, 1, H, W) and colours (B, 3, H, W), both in [-1, 1], of frames in RGB, [0, 1].

        Frames may be ``condition.detail`` times as large: lines are then found at that size and brought down.
        """
        condition = self.condition(frames) * 2 - 1
        colors = scale_lab(rgb_to_lab(self.condition.reduce(frames)))
        return condition.to(memory_format=torch.channels_last), colors.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def colorize(self, condition: Tensor) -> Tensor:
        """Paint.

        Args:
            condition: shape (B, 1, H, W) in [0, 1], ink on paper, as the operators in ``nstlib.edges`` give it.

        Returns:
            Shape (B, 3, H, W), RGB in [0, 1].

        Raises:
            ImageError: not such a condition.
        """
        check_images(condition, "condition", channels=1)
        painter = self.generator.eval()
        device = self.device
        scaled = condition.to(device, memory_format=torch.channels_last) * 2 - 1
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_precision(device) == torch.bfloat16):
            painted = painter(scaled)
        return lab_to_rgb(unscale_lab(painted.float())).clamp(0, 1).contiguous()

    @torch.inference_mode()
    def evaluate(self, frames: Dataset[Tensor], batch_size: int = 32) -> dict[str, Tensor]:
        """Paint frames from their condition and measure how right the colours are.

        Args:
            frames: a dataset of (3, H, W) in RGB, [0, 1].
            batch_size: how many are painted at a time; the result does not depend on it.

        Returns:
            One value a frame, each of shape (len(frames),): "accuracy" (t = 2), "accuracy_5" (t = 5), "chroma" (t = 2, a and b
            only), "chroma_5", "psnr" in dB, "ssim".

        Raises:
            ColorizerError: no frames.
            ImageError: frames that are none.
        """
        _check_count(len(frames), "measure on")
        parts = []
        for start in range(0, len(frames), batch_size):
            batch = self.compare(frames, range(start, min(start + batch_size, len(frames))))
            parts.append(measure(batch["painted"], batch["truth"]))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.inference_mode()
    def compare(self, frames: Dataset[Tensor], indices: Sequence[int]) -> dict[str, Tensor]:
        """Condition, truth and what is painted, for the frames at ``indices``, on the CPU.

        Returns:
            "condition", shape (N, 1, H, W); "truth" and "painted", (N, 3, H, W), RGB; all in [0, 1]; "accuracy" (t = 2), (N,).
        """
        batch = torch.stack([frames[i] for i in indices])
        condition, truth = self.condition(batch), self.condition.reduce(batch)
        painted = self.colorize(condition).cpu()
        return {"condition": condition, "truth": truth, "painted": painted, "accuracy": color_accuracy(painted, truth)}

    # training

    def training_step(self, frames: Tensor, training: Training) -> dict[str, Tensor]:
        """One step on a batch (B, 3, H, W), RGB in [0, 1]: the discriminator on every n-th, the generator on each.

        Equations (4) and (5), on logits: -log sigmoid(z) = softplus(-z) and -log(1 - sigmoid(z)) = softplus(z).
        """
        recipe, generator, discriminator, fabric = self.recipe, training.generator, training.discriminator, training.fabric
        condition, colors = self.inputs(frames)
        painted = generator(condition)
        losses = {}

        if recipe.adversarial_weight and training.step % recipe.generator_steps == 0:  # (5): real is drawn, painted is not
            # one after the other: batch norm over both at once would tell them apart by their difference alone
            real, fake = discriminator(condition, colors), discriminator(condition, painted.detach())
            losses["discriminator"] = (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
            training.discriminator_optimizer.zero_grad()
            fabric.backward(losses["discriminator"])
            training.discriminator_optimizer.step()

        # (4): be taken for drawn, and be near the truth
        if recipe.adversarial_weight:
            losses["adversarial"] = F.softplus(-training.judge(condition, painted)).mean()
        losses["l1"] = (painted.float() - colors).abs().mean()
        # beyond the poster: be near to what VGG sees in it, step up and down in lightness where it does
        if recipe.perceptual_weight:
            losses["perceptual"] = training.perceptual(_shown(painted), _shown(colors))
        if recipe.structure_weight:
            losses["structure"] = (_steps(painted) - _steps(colors)).abs().mean()
        self._improve_generator(losses, training)
        return losses

    def _improve_generator(self, losses: dict[str, Tensor], training: Training) -> None:
        """One step down the weighted sum of the generator's losses."""
        weights = {name: getattr(self.recipe, f"{name}_weight") for name in losses if name != "discriminator"}
        training.generator_optimizer.zero_grad()
        training.fabric.backward(sum(weight * losses[name] for name, weight in weights.items() if weight))
        training.generator_optimizer.step()

    def fit(
        self,
        frames: Dataset[Tensor],
        *,
        frames_per_epoch: int | None = None,
        validation: Dataset[Tensor] | None = None,
        folder: str | os.PathLike[str] | None = None,
        fabric: Fabric | None = None,
        workers: int = 0,
        progress: bool = True,
        callback: Callable[[Colorizer], None] | None = None,
    ) -> list[dict[str, float]]:
        """Train for ``recipe.epochs`` epochs, from the weights as they are.

        Args:
            frames: a dataset of (3, H, W), RGB in [0, 1], all of one size (``condition.detail`` times the colorizer's). It is
                gone through in random order, again and again if it is shorter than the run.
            frames_per_epoch: default all of ``frames``.
            validation: frames on which accuracy is measured after every epoch.
            folder: holds ``checkpoint.pt``, written after every epoch; ``log.csv``; and ``samples/``, the first validation
                frames after every epoch. If a checkpoint is there at the start, training goes on from it, and ends with
                the same weights as one that was never interrupted.
            fabric: a launched ``lightning_fabric.Fabric``: devices, precision, processes. Default: the GPU if there is one, in
                bfloat16 where the device is fast in it.
            workers: processes that prepare frames; 0 does it between steps.
            progress: show a progress bar.
            callback: called with this colorizer after every epoch.

        Returns:
            ``history``: for every epoch its mean losses ("l1", "adversarial", "discriminator"), "accuracy" and "chroma" on
            ``validation`` (t = 2) and "seconds".

        Raises:
            ColorizerError: the loss is not finite any more (the checkpoint keeps the last sound epoch); the checkpoint is
                damaged or of another training; no frames, or of another size; batches that cannot be shared out among the
                processes.
            ImageError: frames that are none.

        Warns:
            RuntimeWarning: the discriminator is never or always wrong, so that the generator learns little from it.
        """
        fabric = fabric or default_fabric()
        training = Training(self, fabric, len(frames), frames_per_epoch or len(frames))
        self._check_size(frames)
        if validation is not None:
            _check_count(len(validation), "measure on")
            self._check_size(validation)
        folder = Path(folder) if folder is not None else None
        self.history = []  # trained before or loaded, the weights are where this run begins
        if folder and (folder / "checkpoint.pt").exists():
            training.load_state_dict(_read_checkpoint(folder / "checkpoint.pt"))
        loader = DataLoader(frames, batch_sampler=training.batches(), num_workers=workers, generator=torch.Generator())
        batches = iter(loader)
        hidden = not (progress and fabric.is_global_zero)
        with (
            torch.random.fork_rng(),
            tqdm(total=training.total_steps, initial=training.step, desc="training", unit="step", disable=hidden) as bar,
        ):
            for epoch in range(len(self.history), self.recipe.epochs):
                # dropout's randomness follows from seed and epoch: an epoch run again after an interruption is the same
                torch.manual_seed((self.seed * 1000 + epoch) * 1000 + fabric.global_rank)
                entry = training.run_epoch(batches, bar)
                if validation is not None:
                    measured = self.evaluate(validation)
                    entry |= {name: float(measured[name].mean()) for name in ("accuracy", "chroma")}
                    bar.set_postfix({name: f"{value:.3f}" for name, value in entry.items() if name != "seconds"})
                self.history.append(entry)
                if folder and fabric.is_global_zero:
                    _write_run(folder, training, validation)
                fabric.barrier()
                if callback is not None:
                    callback(self)
        return self.history

    def _check_size(self, frames: Dataset[Tensor]) -> None:
        """Lines found at half the size would be others: a run would go through, and be worth nothing."""
        detail = self.condition.detail
        side, expected = min(frames[0].shape[-2:]), self.size * detail
        if side != expected:
            lines = f", {detail} times the {self.size} that it paints, for it finds lines at that size" if detail > 1 else ""
            raise ColorizerError(f"frames of {side} pixels (shorter side), where this colorizer learns from {expected}{lines}")

    # files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the generator and its configuration as safetensors; convolutions in float16, which halves the file.

        Raises:
            ColorizerError: the path cannot be written.
        """
        tensors = {
            name: (value.half() if value.ndim == 4 else value).detach().cpu().contiguous()
            for name, value in self.generator.state_dict().items()
        }
        metadata = {"nstlib.Colorizer": json.dumps({**self.config(), "history": self.history})}
        try:
            with atomic_write(path) as temporary:
                save_file(tensors, temporary, metadata)
        except (OSError, SafetensorError) as error:
            raise ColorizerError(f"{str(path)!r} cannot be written: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Colorizer:
        """Read what ``save`` wrote. It paints at once; trained further, its discriminator begins anew.

        Raises:
            ColorizerError: missing, damaged, or no colorizer.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except FileNotFoundError:
            raise ColorizerError(f"{str(path)!r}: there is no such file") from None
        except (OSError, SafetensorError) as error:
            raise ColorizerError(f"{str(path)!r} is damaged, or not a safetensors file ({error})") from error
        try:
            config = json.loads(metadata["nstlib.Colorizer"])
            condition, recipe = Condition(**config["condition"]), cls.recipe_type(**config["recipe"])
            colorizer = cls(condition, config["size"], recipe=recipe, seed=config["seed"])
            colorizer.generator.load_state_dict(tensors)
            colorizer.history = config["history"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ColorizerError(f"{str(path)!r} is not a colorizer that this version can read ({error})") from error
        return colorizer

    def config(self) -> dict[str, Any]:
        """Condition, size, recipe and seed, as plain values."""
        return {
            "condition": self.condition.config(),
            "size": self.size,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
        }

    @property
    def device(self) -> torch.device:
        """Where it computes; training moves it."""
        return next(self.generator.parameters()).device


class Training:
    """A run in progress: networks and optimizers as Fabric wraps them, learning rate schedules, the place in the data.

    Args:
        colorizer: what is trained.
        fabric: where, in what precision, in how many processes; each takes an equal share of every batch.
        frames: how many frames the dataset has.
        frames_per_epoch: how many are seen in an epoch, rounded to whole batches.
    """

    def __init__(self, colorizer: Colorizer, fabric: Fabric, frames: int, frames_per_epoch: int):
        recipe = colorizer.recipe
        _check_count(min(frames, frames_per_epoch), "train on")
        if recipe.batch_size % fabric.world_size:
            raise ColorizerError(
                f"a batch of {recipe.batch_size} cannot be shared out evenly among {fabric.world_size} processes"
            )
        self.colorizer, self.fabric, self.frames = colorizer, fabric, frames
        self.steps_per_epoch = max(1, round(frames_per_epoch / recipe.batch_size))
        self.total_steps = recipe.epochs * self.steps_per_epoch
        self.step = 0
        self.perceptual = None
        if recipe.perceptual_weight:  # ImageNet's preprocessing is inside; gradients reach what is painted only
            precision = fast_precision(fabric.device)
            self.perceptual = PerceptualLoss(PERCEPTUAL_LAYERS, precision=precision).to(fabric.device)
        self.generator, self.generator_optimizer, self.generator_schedule = self._setup(
            colorizer.generator, recipe.generator_lr
        )
        self.discriminator, self.discriminator_optimizer, self.discriminator_schedule = self._setup(
            colorizer.discriminator, recipe.discriminator_lr
        )

    def _setup(self, network: nn.Module, lr: float) -> tuple[nn.Module, torch.optim.Optimizer, LRScheduler]:
        recipe = self.colorizer.recipe
        optimizer = torch.optim.Adam(network.parameters(), lr, betas=(recipe.beta1, 0.999))
        if recipe.schedule == "one-cycle":  # rises for a tenth of the run, then falls to nothing along a cosine
            schedule = OneCycleLR(optimizer, lr, total_steps=self.total_steps + 1, pct_start=0.1, cycle_momentum=False)
        else:
            schedule = ExponentialLR(optimizer, gamma=0.1 ** (1 / self.total_steps))
        return *self.fabric.setup(network, optimizer), schedule

    def batches(self) -> Iterator[list[int]]:
        """This process's share of each batch still to come: positions in the dataset, shuffled anew every time through."""
        size = self.colorizer.recipe.batch_size
        turn, order = -1, torch.empty(0)
        for step in range(self.step, self.total_steps):
            batch = []
            for position in range(step * size, (step + 1) * size):
                if position // self.frames != turn:
                    turn = position // self.frames
                    generator = torch.Generator().manual_seed(self.colorizer.seed * 100_000 + turn)
                    order = torch.randperm(self.frames, generator=generator)
                batch.append(int(order[position % self.frames]))
            yield batch[self.fabric.global_rank :: self.fabric.world_size]

    def judge(self, *seen: Any) -> Tensor:
        """The discriminator's logits for what it is given, with gradients for that and none for its own weights."""
        discriminator = self.colorizer.discriminator.requires_grad_(False)
        with self.fabric.autocast():
            logits = discriminator(*seen)
        discriminator.requires_grad_(True)
        return logits.float()

    def advance(self, frames: Tensor) -> dict[str, Tensor]:
        """Take one training step on a batch, and one along the schedules."""
        losses = self.colorizer.training_step(self.fabric.to_device(frames), self)
        self.generator_schedule.step()
        if self.colorizer.recipe.adversarial_weight:
            self.discriminator_schedule.step()
        self.step += 1
        return losses

    def run_epoch(self, batches: Iterator[Tensor], bar: tqdm) -> dict[str, float]:
        """Take the epoch's steps and return the mean losses.

        Raises:
            ColorizerError: a loss is NaN or infinite.
        """
        self.colorizer.generator.train()
        self.colorizer.discriminator.train()
        started = time.monotonic()
        sums, counts = {}, {}
        for i in range(self.steps_per_epoch):
            losses = self.advance(next(batches))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach()
                counts[name] = counts.get(name, 0) + 1
            bar.update()
            if i % LOOK_EVERY == 0 or i == self.steps_per_epoch - 1:
                means = {name: float(sums[name]) / counts[name] for name in sums}
                self._check(means)
                last = self.colorizer.history[-1] if self.colorizer.history else {}
                accuracy = {"accuracy": last["accuracy"]} if "accuracy" in last else {}  # after the epoch before
                bar.set_postfix({name: f"{value:.3f}" for name, value in {**means, **accuracy}.items()}, refresh=False)
        means = self.fabric.all_reduce(torch.tensor([means[name] for name in sorted(means)]), reduce_op="mean").tolist()
        entry = dict(zip(sorted(sums), means, strict=True))
        if "discriminator" in entry and not COLLAPSE[0] < entry["discriminator"] < COLLAPSE[1]:
            wrong = "never" if entry["discriminator"] < 1 else "nearly always"
            warnings.warn(
                f"epoch {len(self.colorizer.history) + 1}: the discriminator is {wrong} wrong (loss "
                f"{entry['discriminator']:.2g}), so the generator learns little from it; change discriminator_lr",
                RuntimeWarning,
                stacklevel=3,
            )
        return {**entry, "seconds": time.monotonic() - started}

    def _check(self, losses: dict[str, float]) -> None:
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            epochs = len(self.colorizer.history)
            raise ColorizerError(
                f"training diverged in step {self.step} (epoch {epochs + 1}): loss {', '.join(bad)} is not finite. A lower "
                f"generator_lr helps; a checkpoint, if one was asked for, holds epoch {epochs}"
            )

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on. Random numbers follow from the seed and the step, so no generator's state is kept."""
        parts = {name: getattr(self, name).state_dict() for name in _PARTS}
        return {**parts, "step": self.step, "history": self.colorizer.history, "run": self._run()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave.

        Raises:
            ColorizerError: it is of another training.
        """
        if state.get("run") != self._run():
            raise ColorizerError(
                "the checkpoint is of another training (condition, size, recipe, seed or number of frames differ); choose "
                "another folder"
            )
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.colorizer.history = state["step"], state["history"]

    def _run(self) -> dict[str, Any]:
        return {**self.colorizer.config(), "frames": self.frames, "steps": self.total_steps}


def _check_count(frames: int, purpose: str) -> None:
    if frames < 1:
        raise ColorizerError(f"there are no frames to {purpose}")


def _shown(scaled: Tensor) -> Tensor:
    """What the networks see or paint, as RGB. Not clipped to [0, 1]: what has gone astray outside is led back by its gradient,
    where clipping would hide from the loss how far it has gone."""
    return lab_to_rgb(unscale_lab(scaled.float()), clip=False)


def _steps(scaled: Tensor) -> Tensor:
    """Sobel's derivatives of the lightness, downwards, then to the right, (2 B, 1, H, W); 1 is a step over half of its range.

    Not the magnitude, which is the same on both sides of a line drawn lighter or darker; not of RGB: out of gamut, lightness
    still has a slope (trainings with either collapsed at weights that serve here).
    """
    return torch.cat(gradient(scaled[:, :1].float())) / 4


def default_fabric() -> Fabric:
    """One device, the GPU if there is one; in bfloat16 where that is fast."""
    from lightning_fabric import Fabric  # slow to import, and only training needs it

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce the precision every time
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = "bf16-mixed" if fast_precision(device) == torch.bfloat16 else "32-true"
    return Fabric(accelerator=device, devices=1, precision=precision)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise ColorizerError(f"checkpoint {str(path)!r} is damaged; remove it to begin anew") from error


def _write_run(folder: Path, training: Training, validation: Dataset[Tensor] | None) -> None:
    """Log, samples, and last the checkpoint: what it says is done has been written."""
    colorizer = training.colorizer
    try:
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / "log.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", *colorizer.history[0]])
            writer.writeheader()
            writer.writerows({"epoch": i, **entry} for i, entry in enumerate(colorizer.history, start=1))
        if validation is not None:
            sample = colorizer.compare(validation, range(min(SAMPLES, len(validation))))
            rows = [sample["condition"].expand(-1, 3, -1, -1), sample["truth"], sample["painted"]]
            sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
            save_image(sheet[None], folder / "samples" / f"epoch_{len(colorizer.history):03d}.png")
        with atomic_write(folder / "checkpoint.pt") as temporary:
            torch.save(training.state_dict(), temporary)
    except (OSError, RuntimeError, ImageError) as error:  # RuntimeError: PyTorch's writer, on a full disk
        raise ColorizerError(f"the run cannot be written to {str(folder)!r}: {error}") from error
