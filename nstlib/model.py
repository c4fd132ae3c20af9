"""What every model that colors frames from a condition can do: color, be measured, be trained, be saved and loaded.

A model adds its networks, its recipe and its training step; see ``nstlib.colorizer`` and ``nstlib.cyclegan``.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nstlib.arguments import whole_number
from nstlib.color import rgb_to_lab, scale_lab, scaled_lab_to_rgb
from nstlib.edges import Condition
from nstlib.files import atomic_write
from nstlib.images import check_images
from nstlib.metrics import color_accuracy, measure
from nstlib.recipe import TrainingRecipe
from nstlib.training import Frames, ModelError, Trainer
from nstlib.vgg import fast_precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

METADATA = "nstlib.model"  # the key of the configuration in a saved file

# The first version wrote "nstlib.Colorizer", with these names; its discriminator loss was half of Eq. (5)
_OLD_METADATA = "nstlib.Colorizer"
_OLD_NAMES = {
    "detail": "supersample",
    "paint_gain": "output_gain",
    "structure_weight": "gradient_weight",
    "chroma": "accuracy_ab",
}


class ColorizationModel(ABC):
    """A generator that colors frames from a condition, and the discriminator that it is trained against.

    Args:
        condition: "grayscale", "canny", "sobel", "xdog", or a ``nstlib.edges.Condition`` with settings of its own.
        size: shorter side in pixels of the frames it is built for; others work.
        recipe: of the model's own type, ``recipe_type``.
        seed: of initial weights, of the order of the frames and of dropout.

    Attributes:
        history: one entry an epoch, of the last training.
        collapse: the discriminator's loss when it is never wrong, and when it is nearly always wrong.

    Raises:
        ValueError: an argument is none of these.
    """

    recipe_type: ClassVar[type[TrainingRecipe]]
    collapse: tuple[float, float]
    _types: ClassVar[dict[str, type[ColorizationModel]]] = {}

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        ColorizationModel._types[cls.__name__] = cls

    def __init__(self, condition: str | Condition, size: int, recipe: TrainingRecipe, seed: int):
        if not isinstance(recipe, self.recipe_type):
            raise ValueError(f"recipe must be a {self.recipe_type.__name__}, not {recipe!r}")
        self.condition = condition if isinstance(condition, Condition) else Condition(condition)
        self.size, self.recipe, self.seed = whole_number(size, "size", 8), recipe, whole_number(seed, "seed", 0)
        self.history: list[dict[str, float]] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator, self.discriminator = self.build_networks()
        # 4 x 4 kernels run faster on CPUs with the channels last in memory
        self.generator.to(memory_format=torch.channels_last)
        self.discriminator.to(memory_format=torch.channels_last)

    @abstractmethod
    def build_networks(self) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator, with initial weights."""

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

    def inputs(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What the networks see of frames in RGB, [0, 1]: condition (B, 1, H, W) and CIELAB (B, 3, H, W), both in [-1, 1].

        Frames are ``condition.supersample`` times as large.
        """
        condition = self.condition(frames) * 2 - 1
        colors = scale_lab(rgb_to_lab(self.condition.downsample(frames)))
        return condition.to(memory_format=torch.channels_last), colors.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def colorize(self, condition: Tensor) -> Tensor:
        """Color.

        Args:
            condition: shape (B, 1, H, W) in [0, 1], ink on paper, as the operators in ``nstlib.edges`` give it.

        Returns:
            Shape (B, 3, H, W), RGB in [0, 1].

        Raises:
            ImageError: not such a condition.
        """
        check_images(condition, "condition", channels=1)
        generator, device = self.generator.eval(), self.device
        scaled = condition.to(device, memory_format=torch.channels_last) * 2 - 1
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_precision(device) == torch.bfloat16):
            fake = generator(scaled)
        return scaled_lab_to_rgb(fake).clamp(0, 1).contiguous()

    @torch.inference_mode()
    def evaluate(self, frames: Frames, batch_size: int = 32) -> dict[str, Tensor]:
        """Color frames from their condition and measure how right the colors are.

        Args:
            frames: a dataset of (3, H, W) in RGB, [0, 1].
            batch_size: how many are colored at a time; the result does not depend on it.

        Returns:
            One value a frame, each of shape (len(frames),): "accuracy" (t = 2), "accuracy_5" (t = 5), "accuracy_ab" and
            "accuracy_ab_5" (a and b only), "psnr" in dB, "ssim".

        Raises:
            ModelError: no frames.
            ImageError: frames that are none.
        """
        if len(frames) < 1:
            raise ModelError("there are no frames to measure on")
        parts = []
        for start in range(0, len(frames), batch_size):
            batch = self.compare(frames, range(start, min(start + batch_size, len(frames))))
            parts.append(measure(batch["colorized"], batch["truth"]))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.inference_mode()
    def compare(self, frames: Frames, indices: Sequence[int]) -> dict[str, Tensor]:
        """Condition, ground truth and colorized frames, for the frames at ``indices``, on the CPU.

        Returns:
            "condition", shape (N, 1, H, W); "truth" and "colorized", (N, 3, H, W), RGB; all in [0, 1]; "accuracy"
            (t = 2), (N,).
        """
        batch = torch.stack([frames[i] for i in indices])
        condition, truth = self.condition(batch), self.condition.downsample(batch)
        colorized = self.colorize(condition).cpu()
        return {"condition": condition, "truth": truth, "colorized": colorized, "accuracy": color_accuracy(colorized, truth)}

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
        """Write the generator and its configuration as safetensors; convolutions in float16, which halves the file.

        Raises:
            ModelError: the path cannot be written.
        """
        tensors = {
            name: (value.half() if value.ndim == 4 else value).detach().cpu().contiguous()
            for name, value in self.generator.state_dict().items()
        }
        try:
            with atomic_write(path) as temporary:
                save_file(tensors, temporary, {METADATA: json.dumps({**self.config(), "history": self.history})})
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{str(path)!r} cannot be written: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ColorizationModel:
        """Read what any model's ``save`` wrote, and give a model of that class.

        It colors at once; trained further, its discriminator begins anew.

        Raises:
            ModelError: missing, damaged, or no model.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except FileNotFoundError:
            raise ModelError(f"{str(path)!r}: there is no such file") from None
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{str(path)!r} is damaged, or not a safetensors file ({error})") from error
        try:
            if _OLD_METADATA in metadata:
                config, tensors = _translate(json.loads(metadata[_OLD_METADATA]), tensors)
            else:
                config = json.loads(metadata[METADATA])
            model_type = cls._types[config["model"]]
            model = model_type(
                Condition(**config["condition"]),
                config["size"],
                recipe=model_type.recipe_type(**config["recipe"]),
                seed=config["seed"],
            )
            model.generator.load_state_dict(tensors)
            model.history = config["history"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{str(path)!r} is not a model that this version can read ({error})") from error
        return model


def _translate(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of the first version, in today's names."""

    def renamed(values: dict[str, Any]) -> dict[str, Any]:
        return {_OLD_NAMES.get(name, name): value for name, value in values.items()}

    history = [renamed(entry) for entry in config["history"]]
    for entry in history:
        if "discriminator" in entry:
            entry["discriminator"] *= 2
    translated = {
        **config,
        "model": "Colorizer",
        "condition": renamed(config["condition"]),
        "recipe": renamed(config["recipe"]),
        "history": history,
    }
    return translated, {name.replace("paint.", "output."): value for name, value in tensors.items()}
