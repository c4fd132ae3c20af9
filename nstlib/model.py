"""What every model that colors frames from a condition can do: color, be measured, be trained, be saved and loaded.

A model adds its networks, its recipe and its training step; see ``nstlib.colorizer`` and ``nstlib.cyclegan``.
"""

from __future__ import annotations

import math
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from nstlib.arguments import shown, whole_number
from nstlib.autograd import own_autograd
from nstlib.color import rgb_to_lab, scale_lab, scaled_lab_to_rgb
from nstlib.datasets import CachedFrames, CheckedFrames, Frames
from nstlib.devices import fast_precision
from nstlib.edges import Condition, drawing_to_lines, ink_on_paper, is_drawing
from nstlib.images import ImageError, Source, as_image, check_images, load_alpha, resize, shape_with
from nstlib.metrics import color_accuracy, measure
from nstlib.recipe import TrainingRecipe
from nstlib.training import ModelError, Trainer
from nstlib.upsampling import guided_upsample
from nstlib.weights import read_network, write_network

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MOST = 10**9  # of a seed: others are derived from it
METADATA = "nstlib.model"  # the key of the configuration in a saved file


class ColorizationModel(ABC):
    """A generator that colors frames from a condition, and the discriminator that it is trained against, if there is one.

    Args:
        condition: "grayscale", "canny", "sobel", "xdog", or a ``nstlib.edges.Condition`` with settings of its own.
        size: shorter side in pixels of the frames it is built for; others work.
        recipe: of the model's own type, ``recipe_type``.
        seed: of initial weights, of the order of the frames and of dropout.

    Attributes:
        history: one entry an epoch, of the last training.
        ink: least and greatest mean darkness of the conditions of some training frames; None if untrained.
        collapse: bounds on the discriminator's loss; training warns below (never wrong) and above (nearly always wrong).

    Raises:
        ValueError: an argument is none of these.
    """

    recipe_type: ClassVar[type[TrainingRecipe]]
    collapse: tuple[float, float] = (-math.inf, math.inf)
    discriminator: nn.Module | None
    _types: ClassVar[dict[str, type[ColorizationModel]]] = {}

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        ColorizationModel._types[cls.__name__] = cls

    @own_autograd
    def __init__(self, condition: str | Condition, size: int, recipe: TrainingRecipe, seed: int):
        if not isinstance(recipe, self.recipe_type):
            raise ValueError(f"recipe must be a {self.recipe_type.__name__}, not {shown(recipe)}")
        self.condition = condition if isinstance(condition, Condition) else Condition(condition)
        self.size, self.recipe, self.seed = whole_number(size, "size", 8), recipe, whole_number(seed, "seed", 0, MOST)
        self.history: list[dict[str, float]] = []
        self.ink: tuple[float, float] | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator, self.discriminator = self.build_networks()
        # 4 x 4 kernels run faster on CPUs with the channels last in memory
        self.generator.to(memory_format=torch.channels_last)
        if self.discriminator is not None:
            self.discriminator.to(memory_format=torch.channels_last)

    @abstractmethod
    def build_networks(self) -> tuple[nn.Module, nn.Module | None]:
        """Generator and, if there is one, discriminator, with initial weights."""

    @abstractmethod
    def training_step(self, frames: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """One step on a batch (B, 3, H, W), RGB in [0, 1]; returns the losses by name, scalars."""

    @property
    def device(self) -> torch.device:
        """Where it computes; training moves it."""
        return next(self.generator.parameters()).device

    @property
    def frame_size(self) -> int:
        """Shorter side in pixels of the frames that it trains on, ``condition.supersample`` times the size."""
        return self.size * self.condition.supersample

    @property
    def frame_channels(self) -> tuple[int, ...]:
        """Numbers of channels that training frames may have: 3 for RGB, 4 for a condition beside RGB."""
        return (4,) if self.condition.operator == "given" else (3, 4)

    def target(self, frames: Tensor) -> Tensor:
        """Of what the dataset gives, (B, C, H, W), the frames to color: (B, 3 or 4, H, W)."""
        return frames

    def inputs(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What the networks see of frames in RGB, [0, 1]: condition (B, 1, H, W) and CIELAB (B, 3, H, W), both in [-1, 1].

        Frames are ``condition.supersample`` times as large.
        """
        condition = self.condition(frames) * 2 - 1
        colors = scale_lab(rgb_to_lab(self.condition.truth(frames)))
        return condition.to(memory_format=torch.channels_last), colors.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def colorize(self, condition: Tensor) -> Tensor:
        """Color conditions.

        The network sees the condition with its shorter side at ``size`` pixels, as in training. Its output is then resized to
        the condition's size: from line-art by interpolation, from grayscale by ``nstlib.upsampling.guided_upsample``. (Line-art
        at its own size is worse, because the network was trained at one size: at 384 pixels the accuracy is 0.44 instead of
        0.49, at 512 pixels 0.27 instead of 0.49; benchmarks/full_size.py.)

        Args:
            condition: shape (B, 1, H, W) in [0, 1], of any size, ink on paper, as the operators in ``nstlib.edges`` give it.

        Returns:
            Shape (B, 3, H, W), RGB in [0, 1]: at the trained size, the network's output. At another size, a grayscale
            condition is the luma of the result.

        Raises:
            ImageError: not such a condition.
        """
        return self._colorize(check_images(condition, "condition", channels=1))

    def _colorize(self, condition: Tensor, *shown: Any) -> Tensor:
        """``colorize`` a condition that is checked; the generator gets ``shown`` beside it."""
        condition = condition.detach().to(self.device, torch.float32)
        self._warn_of_ink(condition)
        small = resize(condition, shape_with(condition, self.size))
        colorized = self._paint(small.to(memory_format=torch.channels_last) * 2 - 1, *shown)
        if self.condition.operator == "grayscale" and small.shape != condition.shape:
            return guided_upsample(colorized, condition)
        return resize(colorized, (condition.shape[2], condition.shape[3]))

    def _paint(self, *inputs: Any) -> Tensor:
        """What the generator makes of its inputs (the first, if there are several), in RGB, clipped to [0, 1]."""
        generator, device = self.generator.eval(), self.device
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_precision(device) == torch.bfloat16):
            fake = generator(*inputs)
        if isinstance(fake, tuple):
            fake = fake[0]
        return scaled_lab_to_rgb(fake).clamp(0, 1).contiguous()

    def _warn_of_ink(self, condition: Tensor) -> None:
        """Warn of line-art that is far darker or lighter than in training: its colors come out wrong.

        Warns:
            RuntimeWarning: the ink is less than a third of the least in training, more than three times the most, or over 0.9.
        """
        if self.ink is None or self.condition.operator == "grayscale":
            return
        ink = 1 - condition.mean(dim=(1, 2, 3))
        if ink.min() < self.ink[0] / 3 or ink.max() > min(3 * self.ink[1], 0.9):
            message = (
                f"{ink.min():.1%} to {ink.max():.1%} of the line-art is ink; this model was trained on "
                f"{self.ink[0]:.1%} to {self.ink[1]:.1%}: expect wrong colors"
            )
            warnings.warn(message, RuntimeWarning, stacklevel=5)

    def colorize_image(self, image: Source, **shown: Any) -> Tensor:
        """Color a picture of any size: from its gray, which keeps all detail, or from its lines, found at the size of training.

        Args:
            image: a path, bytes, a PIL image, or a tensor (1, 3, H, W), RGB in [0, 1].
            shown: what ``colorize`` of this model takes beside the condition, by name.

        Returns:
            Shape (1, 3, H, W), RGB in [0, 1], of the picture's size.

        Raises:
            ImageError: not such an image, or the model is trained on line-art that is given beside the frames.

        Warns:
            RuntimeWarning: it is line-art already, so that its lines would be found twice; see ``colorize_drawing``.
        """
        picture = as_image(image, "image")
        if self.condition.operator == "given":
            raise ImageError("image: this model takes line-art as it is given; colorize_drawing colors a drawing")
        if self.condition.operator == "grayscale":
            return self.colorize(self.condition(picture), **shown).cpu()
        if is_drawing(picture):
            message = "the picture looks like line-art: each of its lines has two edges; colorize_drawing takes it as it is"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        small = resize(picture, shape_with(picture, self.frame_size))
        return resize(self.colorize(self.condition(small), **shown).cpu(), (picture.shape[2], picture.shape[3]))

    def colorize_drawing(self, drawing: Source, **shown: Any) -> Tensor:
        """Color a drawing, scan or photograph of line-art, of any size and thickness; see ``nstlib.edges.drawing_to_lines``.

        The network colors the drawing's lines at the size of training. The colors are resized to the drawing's, and its ink is
        laid over them at full size, as sharp as it was drawn: colors times 1 - ink (``nstlib.edges.ink_on_paper``).

        Args:
            drawing: a path, bytes, a PIL image, or a tensor (1, 3, H, W), RGB in [0, 1].
            shown: what ``colorize`` of this model takes beside the condition, by name.

        Returns:
            Shape (1, 3, H, W), RGB in [0, 1], of the drawing's size.

        Raises:
            ImageError: not such an image, or the model is trained on grayscale.
        """
        picture = as_image(drawing, "drawing")
        alpha = None if isinstance(drawing, Tensor) else load_alpha(drawing)
        if alpha is not None and alpha.mean() < 0.4:  # ink of any color on nothing, not a cut-out
            picture = 1 - alpha.expand(-1, 3, -1, -1)
        colors = self.colorize(self.drawing_condition(picture), **shown).cpu()
        return resize(colors, (picture.shape[2], picture.shape[3])) * (1 - ink_on_paper(picture))

    def drawing_condition(self, drawing: Tensor) -> Tensor:
        """A drawing as this model's condition: (1, 3, H, W), RGB in [0, 1], to (1, 1, H', W'), H' or W' being ``size``.

        Raises:
            ImageError: not such an image, or the model is trained on grayscale.
        """
        if self.condition.operator == "grayscale":
            raise ImageError("drawing: this model colors grayscale pictures; a model for line-art colors drawings")
        check_images(drawing, "drawing", batch=1)
        thin = self.condition.operator != "xdog"  # XDoG's ink is as wide as the drawing's
        lines = drawing_to_lines(drawing, shape_with(drawing, self.frame_size), thin)
        return self.condition.downsample(lines)

    @torch.no_grad()
    def evaluate(self, frames: Frames, batch_size: int = 32) -> dict[str, Tensor]:
        """Color frames from their condition and measure how right the colors are.

        Args:
            frames: a dataset of (3, H, W) in RGB, [0, 1].
            batch_size: how many are colored at a time; the result does not depend on it.

        Returns:
            One value a frame, each of shape (len(frames),): "accuracy" (t = 2), "accuracy_5" (t = 5), "accuracy_ab" and
            "accuracy_ab_5" (a and b only), "psnr" in dB, "ssim".

        Raises:
            ImageError: no frames, or frames that are none.
            ValueError: ``batch_size`` is less than 1.
        """
        whole_number(batch_size, "batch_size", 1)
        self._checked(frames)
        parts = []
        for start in range(0, len(frames), batch_size):
            shown = self._shown(frames, range(start, min(start + batch_size, len(frames))))
            parts.append(measure(shown["colorized"], shown["truth"]))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def compare(self, frames: Frames, indices: Sequence[int]) -> dict[str, Tensor]:
        """Condition, ground truth and colorized frames, for the frames at ``indices``, on the CPU.

        Returns:
            "condition", shape (N, 1, H, W); "truth" and "colorized", (N, 3, H, W), RGB; all in [0, 1]; "accuracy"
            (t = 2), (N,).

        Raises:
            ImageError: an item is not a valid frame.
            ValueError: ``indices`` is empty.
        """
        if not len(indices):
            raise ValueError("indices are empty: there is nothing to compare")
        shown = self._shown(frames, indices)
        return shown | {"accuracy": color_accuracy(shown["colorized"], shown["truth"])}

    def _shown(self, frames: Frames, indices: Sequence[int]) -> dict[str, Tensor]:
        """What ``compare`` returns, but for the accuracy, which takes a tenth of its time."""
        batch = self._checked(frames).batch(indices)
        target = self.target(batch)
        condition, truth = self.condition(target), self.condition.truth(target)
        return {"condition": condition, "truth": truth, "colorized": self._colorize_batch(batch, condition).cpu()}

    def _colorize_batch(self, batch: Tensor, condition: Tensor) -> Tensor:
        """Color what a dataset gave, (B, C, H, W), whose condition is (B, 1, H, W)."""
        return self.colorize(condition)

    def _checked(self, frames: Frames) -> CheckedFrames:
        """Frames that this model can take, with a condition that is its own if they bring one along."""
        if isinstance(frames, CachedFrames) and frames.condition and frames.condition.config() != self.condition.config():
            raise ImageError(f"the frames are cached with the condition {frames.condition.config()}, not this model's")
        return CheckedFrames(frames, None, self.frame_channels)

    @own_autograd
    def fit(
        self,
        frames: Frames,
        *,
        frames_per_epoch: int | None = None,
        validation: Frames | None = None,
        folder: str | os.PathLike[str] | None = None,
        fabric: Fabric | None = None,
        workers: int = 0,
        progress: bool = True,
        callback: Callable[[ColorizationModel], None] | None = None,
    ) -> list[dict[str, float]]:
        """Train for ``recipe.epochs`` epochs; arguments, errors and warnings as in ``nstlib.training.Trainer``.

        Args:
            callback: called with this model after every epoch.

        Returns:
            ``history``.
        """
        for given in (frames, validation):
            if given is not None:
                self._checked(given)
        trainer = Trainer(
            self,
            frames,
            frames_per_epoch,
            validation=validation,
            folder=folder,
            fabric=fabric,
            workers=workers,
            progress=progress,
            callback=None if callback is None else lambda: callback(self),
        )
        darkness = 1 - self.condition(self.target(trainer.frames.sample())).mean(dim=(1, 2, 3))
        self.ink = (float(darkness.min()), float(darkness.max()))
        return trainer.fit()

    def config(self) -> dict[str, Any]:
        """Model, condition, size, recipe and seed, as plain values."""
        return {
            "model": type(self).__name__,
            "condition": self.condition.config(),
            "size": self.size,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the generator and its configuration (``nstlib.weights``).

        Raises:
            ModelError: the path cannot be written, or the condition is of a class of its own, which a file cannot hold.
        """
        if type(self.condition) is not Condition:
            raise ModelError(f"a condition of the class {type(self.condition).__name__} cannot be saved, only a Condition")
        config = {**self.config(), "ink": self.ink, "history": self.history}
        write_network(path, self.generator.state_dict(), METADATA, config)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ColorizationModel:
        """Read what any model's ``save`` wrote, and give a model of that class.

        It colors at once; trained further, its discriminator begins anew.

        Raises:
            ModelError: missing, damaged, or no model.
        """
        tensors, config = read_network(path, METADATA)
        try:
            model_type = cls._types[config["model"]]
            model = model_type(
                Condition(**config["condition"]),
                config["size"],
                recipe=model_type.recipe_type(**config["recipe"]),
                seed=config["seed"],
            )
            model.generator.load_state_dict(tensors)
            model.history, model.ink = config["history"], config.get("ink") and tuple(config["ink"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{str(path)!r} is not a model that this version can read ({error})") from error
        return model
