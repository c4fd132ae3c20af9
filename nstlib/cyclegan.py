"""CycleGAN for line-art: colours without pairs, the poster's second piece of "future research".

Source: J.-Y. Zhu, T. Park, P. Isola, A. A. Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017. Two generators, from line-art to colours and back, learn from line-art of some frames and the colours of
others. The training loop, checkpoints and all are ``Colorizer``'s; here is what is different: networks and step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nstlib.color import rgb_to_lab, scale_lab
from nstlib.colorizer import Colorizer, Recipe, Training
from nstlib.edges import Condition
from nstlib.images import check_images
from nstlib.networks import PatchGAN, ResNetGenerator


@dataclass(frozen=True)
class CycleRecipe(Recipe):
    """How a CycleGAN is trained. Weights and pool are the paper's; what departs from it is what a laptop can do in minutes."""

    width: int = 32  # 64 in the paper
    dropout: float = 0.0
    l1_weight: float = 0.0  # there are no pairs
    cycle_weight: float = 10.0  # lambda in Eq. (3)
    identity_weight: float = 5.0  # half of it, as in section 5.2
    generator_lr: float = 1e-3  # 2e-4 in the paper, for batches of one frame; here a batch has eight of each kind
    discriminator_lr: float = 1e-3  # equal, as there; at a tenth of it, the generators were content to leave lines white
    beta1: float = 0.5
    generator_steps: int = 1
    schedule: str = "one-cycle"  # constant, then falling, in the paper
    blocks: int = 6  # residual; as the paper's at 128 pixels
    pool: int = 48  # earlier paintings that the discriminators are shown again; 50 in the paper

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 2 or self.pool < self.batch_size:
            raise ValueError(f"batch_size must be at least 2 and pool no smaller, not {self.batch_size!r} and {self.pool!r}")


class CycleGAN(Colorizer):
    """A generator that colors line-art and one that draws it, and a discriminator for either; no frame is seen with its lines.

    Args:
        condition, size, seed: as in ``Colorizer``.
        recipe: a ``CycleRecipe``.

    Raises:
        ValueError: an argument is none of these.
    """

    recipe_type = CycleRecipe

    def __init__(
        self, condition: str | Condition = "canny", size: int = 64, *, recipe: CycleRecipe | None = None, seed: int = 0
    ):
        recipe = recipe or CycleRecipe()
        if not isinstance(recipe, CycleRecipe):
            raise ValueError(f"recipe must be a CycleRecipe, not {recipe!r}")
        super().__init__(condition, size, recipe=recipe, seed=seed)

    def _networks(self) -> tuple[nn.Module, nn.Module]:
        return Generators(self.recipe), Discriminators(self.recipe, self.size)

    @torch.inference_mode()
    def draw(self, image: Tensor) -> Tensor:
        """Take the other direction: colours to line-art.

        Args:
            image: shape (B, 3, H, W), RGB in [0, 1].

        Returns:
            Shape (B, 1, H, W) in [0, 1], ink on paper.

        Raises:
            ImageError: not such images.
        """
        scaled = scale_lab(rgb_to_lab(check_images(image).to(self.device).float()))
        drawn = self.generator.eval().draw(scaled.to(memory_format=torch.channels_last))
        return ((drawn[:, :1] + 1) / 2).clamp(0, 1)

    def training_step(self, frames: Tensor, training: Training) -> dict[str, Tensor]:
        """One step on a batch (B, 3, H, W), RGB in [0, 1]: line-art of its first half, colours of its second.

        Eq. (1)-(3) of the paper, with least squares in place of the logarithms (section 4).
        """
        generator, discriminator, fabric = training.generator, training.discriminator, training.fabric
        condition, colors = self.inputs(frames)
        lines, colors = as_lab(condition[: len(frames) // 2]), colors[len(frames) // 2 :]
        colorized, drawn = generator(lines, "colorize"), generator(colors, "draw")
        losses = {}

        if training.step % self.recipe.generator_steps == 0:
            shown = self.discriminator.remembered(colorized.detach().float(), drawn.detach().float())
            real = discriminator(colors, "colors"), discriminator(lines, "lines")
            fake = discriminator(shown[0], "colors"), discriminator(shown[1], "lines")
            losses["discriminator"] = (
                sum((r - 1).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)) / 4
            )
            training.discriminator_optimizer.zero_grad()
            fabric.backward(losses["discriminator"])
            training.discriminator_optimizer.step()

        judged = training.judge(colorized, "colors"), training.judge(drawn, "lines")
        losses["adversarial"] = sum((logits - 1).square().mean() for logits in judged)
        # there and back again: what it was
        losses["cycle"] = F.l1_loss(generator(colorized, "draw").float(), lines)
        losses["cycle"] = losses["cycle"] + F.l1_loss(generator(drawn, "colorize").float(), colors)
        # what is in colours already stays, and so does what is drawn already
        losses["identity"] = F.l1_loss(generator(colors, "colorize").float(), colors)
        losses["identity"] = losses["identity"] + F.l1_loss(generator(lines, "draw").float(), lines)
        self._improve_generator(losses, training)
        return losses


class Generators(nn.Module):
    """Both directions in one module."""

    def __init__(self, recipe: CycleRecipe):
        super().__init__()
        self.colorize = ResNetGenerator(recipe.width, recipe.blocks)
        self.draw = ResNetGenerator(recipe.width, recipe.blocks)

    def forward(self, image: Tensor, task: str = "colorize") -> Tensor:
        """Line-art (B, 1, H, W) or scaled CIELAB (B, 3, H, W), in [-1, 1], to scaled CIELAB."""
        return getattr(self, task)(as_lab(image))


class Discriminators(nn.Module):
    """Is this in colours as frames are; is this line-art? With a pool of earlier paintings (section 4; A. Shrivastava et al.,
    CVPR 2017), which checkpoints keep."""

    def __init__(self, recipe: CycleRecipe, size: int):
        super().__init__()
        self.colors = PatchGAN(recipe.width, in_channels=3)
        self.lines = PatchGAN(recipe.width, in_channels=3)
        for kind in ("colors", "lines"):
            self.register_buffer(f"{kind}_pool", torch.zeros(recipe.pool, 3, size, size))
        self.register_buffer("filled", torch.tensor(0))

    def forward(self, image: Tensor, kind: str) -> Tensor:
        """Scaled CIELAB (B, 3, H, W) to logits."""
        return getattr(self, kind)(image)

    @torch.no_grad()
    def remembered(self, colorized: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """While the pool fills, what is given; then, for every other image, an earlier one, whose place it takes."""
        pools, new = (self.colors_pool, self.lines_pool), (colorized, drawn)
        free = min(len(self.colors_pool) - int(self.filled), len(colorized))
        if free:
            for pool, images in zip(pools, new, strict=True):
                pool[self.filled : self.filled + free] = images[:free]
            self.filled += free
            return new
        shown = []
        for pool, images in zip(pools, new, strict=True):
            places = torch.randperm(len(pool))[: len(images)].to(images.device)
            earlier = (torch.rand(len(images)) < 0.5).to(images.device)
            shown.append(torch.where(earlier[:, None, None, None], pool[places], images))
            pool[places[earlier]] = images[earlier]
        return shown[0], shown[1]


def as_lab(image: Tensor) -> Tensor:
    """Line-art (B, 1, H, W) as scaled CIELAB (B, 3, H, W), lightness alone; what has three channels stays."""
    return image if image.shape[1] == 3 else torch.cat([image, torch.zeros_like(image).expand(-1, 2, -1, -1)], dim=1)
