"""CycleGAN for line-art: colors without pairs, the poster's second piece of "future research".

Source: J.-Y. Zhu, T. Park, P. Isola, A. A. Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017. Two generators, from line-art to colors and back, learn from line-art of some frames and the colors of
others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nstlib.arguments import whole_number
from nstlib.color import rgb_to_lab, scale_lab
from nstlib.edges import Condition
from nstlib.images import ImageError, check_images
from nstlib.model import ColorizationModel
from nstlib.networks import PatchGAN, ResNetGenerator
from nstlib.recipe import TrainingRecipe
from nstlib.training import Trainer


@dataclass(frozen=True)
class CycleRecipe(TrainingRecipe):
    """How a CycleGAN is trained. Weights and pool are the paper's; the departures are what a laptop can do in minutes.

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    generator_lr: float = 1e-3  # 2e-4 in the paper, for batches of one frame; here a batch has eight of each kind
    discriminator_lr: float = 1e-3  # equal, as there; at a tenth of it, the generators were content to leave lines white
    beta1: float = 0.5
    generator_steps: int = 1
    schedule: str = "one-cycle"  # constant, then falling, in the paper
    width: int = 32  # 64 in the paper
    blocks: int = 6  # residual; as the paper's at 128 pixels
    pool: int = 48  # earlier fakes that the discriminators are shown again; 50 in the paper
    adversarial_weight: float = 1.0  # at 0 there are no discriminators
    cycle_weight: float = 10.0  # lambda in Eq. (3)
    identity_weight: float = 5.0  # half of it, as in section 5.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("width", whole_number, least=1)
        self.check("blocks", whole_number, least=0)
        self.check("batch_size", whole_number, least=2)  # half of a batch gives its lines, half its colors
        self.check("pool", whole_number, least=self.batch_size)


class CycleGAN(ColorizationModel):
    """A generator from line-art to colors and one back, and a discriminator for either; no frame is seen with its own lines.

    Args:
        condition, size, seed: as in ``nstlib.model.ColorizationModel``.
        recipe: a ``CycleRecipe``; None takes its defaults.

    Raises:
        ValueError: an argument is none of these.
    """

    recipe_type = CycleRecipe
    recipe: CycleRecipe
    collapse = (0.005, 2.0)  # of the mean squared error of the labels; 0.25 at chance
    generator: Generators
    discriminator: Discriminators

    def __init__(
        self, condition: str | Condition = "canny", size: int = 64, *, recipe: CycleRecipe | None = None, seed: int = 0
    ):
        super().__init__(condition, size, CycleRecipe() if recipe is None else recipe, seed)

    def build_networks(self) -> tuple[nn.Module, nn.Module]:
        """Both generators, and both discriminators."""
        return Generators(self.recipe), Discriminators(self.recipe)

    @torch.inference_mode()
    def draw(self, image: Tensor) -> Tensor:
        """Take the other direction: colors to line-art.

        Args:
            image: shape (B, 3, H, W), RGB in [0, 1].

        Returns:
            Shape (B, 1, H, W) in [0, 1], ink on paper.

        Raises:
            ImageError: not such images, or under 8 pixels a side.
        """
        if min(check_images(image).shape[2:]) < 8:
            raise ImageError(f"image: {image.shape[3]} x {image.shape[2]} pixels is too small; each side needs 8")
        scaled = scale_lab(rgb_to_lab(image.to(self.device).float()))
        lines = self.generator.eval()(scaled.to(memory_format=torch.channels_last), "to_lines")
        return ((lines[:, :1] + 1) / 2).clamp(0, 1)

    def training_step(self, frames: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """One step: the discriminators on their turn, the generators always. Least squares in place of logarithms (section 4).

        Args:
            frames: shape (B, 3, H, W), RGB in [0, 1]. The first half gives its lines, the second half its colors.
            trainer: holds the networks and takes the steps.

        Returns:
            Losses, not yet weighted, those of both directions added: "cycle", "identity" and, if its weight is not 0,
            "adversarial"; on the discriminators' turn "discriminator".
        """
        adversarial = self.recipe.weights["adversarial"]
        generator, discriminator = trainer.generator, trainer.discriminator
        condition, colors = self.inputs(frames)
        real_lines, real_colors = as_lab(condition[: len(frames) // 2]), colors[len(frames) // 2 :]
        fake_colors, fake_lines = generator(real_lines, "to_colors"), generator(real_colors, "to_lines")
        losses = {}

        if adversarial and trainer.turn(self.recipe.generator_steps):
            pools = cast("dict[str, ImagePool]", self.discriminator.pools)
            pooled_colors = pools["colors"].query(fake_colors.detach().float())
            pooled_lines = pools["lines"].query(fake_lines.detach().float())
            real = discriminator(real_colors, "colors"), discriminator(real_lines, "lines")
            fake = discriminator(pooled_colors, "colors"), discriminator(pooled_lines, "lines")
            loss = sum((r - 1).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)) / 4
            trainer.update_discriminator(loss)
            losses["discriminator"] = loss

        generator_losses = {}
        if adversarial:
            fake = trainer.frozen_discriminator(fake_colors, "colors"), trainer.frozen_discriminator(fake_lines, "lines")
            generator_losses["adversarial"] = (fake[0] - 1).square().mean() + (fake[1] - 1).square().mean()
        # there and back again: what it was
        cycled_lines, cycled_colors = generator(fake_colors, "to_lines"), generator(fake_lines, "to_colors")
        generator_losses["cycle"] = F.l1_loss(cycled_lines.float(), real_lines) + F.l1_loss(cycled_colors.float(), real_colors)
        # colors stay as they are when asked for colors, lines when asked for lines
        same_colors, same_lines = generator(real_colors, "to_colors"), generator(real_lines, "to_lines")
        generator_losses["identity"] = F.l1_loss(same_colors.float(), real_colors) + F.l1_loss(same_lines.float(), real_lines)
        trainer.update_generator(generator_losses)
        return {**losses, **generator_losses}


class Generators(nn.Module):
    """Both directions in one module."""

    def __init__(self, recipe: CycleRecipe):
        super().__init__()
        self.to_colors = ResNetGenerator(recipe.width, recipe.blocks)
        self.to_lines = ResNetGenerator(recipe.width, recipe.blocks)

    def forward(self, image: Tensor, direction: str = "to_colors") -> Tensor:
        """Line-art (B, 1, H, W) or scaled CIELAB (B, 3, H, W), in [-1, 1], to scaled CIELAB."""
        return getattr(self, direction)(as_lab(image))


class Discriminators(nn.Module):
    """Are these colors real or fake; is this line-art real or fake? With a pool of earlier fakes for either."""

    def __init__(self, recipe: CycleRecipe):
        super().__init__()
        self.colors = PatchGAN(recipe.width, in_channels=3)
        self.lines = PatchGAN(recipe.width, in_channels=3)
        self.pools = nn.ModuleDict({"colors": ImagePool(recipe.pool), "lines": ImagePool(recipe.pool)})

    def forward(self, image: Tensor, kind: str) -> Tensor:
        """Scaled CIELAB (B, 3, H, W) to logits."""
        return getattr(self, kind)(image)


class ImagePool(nn.Module):
    """Earlier fakes, so that the discriminator does not forget them (section 4; A. Shrivastava et al., CVPR 2017).

    Checkpoints keep it (of several processes, that of the first). It is no buffer: buffers are made equal in all processes.

    Args:
        capacity: how many images it holds.
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.images: Tensor | None = None

    @torch.no_grad()
    def query(self, images: Tensor) -> Tensor:
        """While the pool fills, ``images`` as they are; then, for every other one, an earlier one, whose place it takes.

        Args:
            images: shape (B, C, H, W); of the same size every time.

        Returns:
            The same shape.
        """
        held = images.new_empty(0, *images.shape[1:]) if self.images is None else self.images.to(images.device)
        free = min(self.capacity - len(held), len(images))
        if free:
            self.images = torch.cat([held, images[:free]]).contiguous()
            return images
        places = torch.randperm(len(held))[: len(images)].to(images.device)
        earlier = (torch.rand(len(images)) < 0.5).to(images.device)
        mixed = torch.where(earlier[:, None, None, None], held[places], images)
        held[places[earlier]] = images[earlier]
        self.images = held
        return mixed

    def get_extra_state(self) -> dict[str, Any]:
        return {} if self.images is None else {"images": self.images}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        images = state.get("images")
        self.images = None if images is None else images.clone()  # ``query`` changes it in place


def as_lab(image: Tensor) -> Tensor:
    """Line-art (B, 1, H, W) as scaled CIELAB (B, 3, H, W), lightness alone; what has three channels stays."""
    return image if image.shape[1] == 3 else torch.cat([image, torch.zeros_like(image).expand(-1, 2, -1, -1)], dim=1)
