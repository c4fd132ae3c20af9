"""CycleGAN for line-art: colors without pairs, the poster's second piece of "future research".

Source: J.-Y. Zhu, T. Park, P. Isola, A. A. Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017. Two generators, from line-art to colors and back, learn from line-art of some frames and the colors of
others.

The paper learns both directions. Here one of them is known: Canny's operator turns colors into line-art. The operator has no
gradient, so a small network learns to imitate it from frames and their own lines; no other loss changes this network. With
``operator_weight`` 0 both directions are learned, as in the paper. In our runs the two generators then probably agreed on a
code (compare C. Chu, A. Zhmoginov, M. Sandler, "CycleGAN, a Master of Steganography", 2017, arXiv 1712.02950).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nstlib.arguments import number, whole_number
from nstlib.color import rgb_to_lab, scale_lab
from nstlib.edges import Condition
from nstlib.images import check_images
from nstlib.model import ColorizationModel
from nstlib.networks import LineNetwork, PatchGAN, UNet
from nstlib.recipe import LaptopRecipe
from nstlib.training import Trainer


@dataclass(frozen=True)
class CycleRecipe(LaptopRecipe):
    """How a CycleGAN is trained. Networks, learning rates and schedule are those of the colorizers' recipe "laptop".

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    # of a batch, half gives its lines and half its colors; the paper has width 64, and a learning rate that is constant first
    discriminator_halvings: int = 1  # with fold 4, patches of 32 pixels
    pool: int = 48  # earlier fakes that the discriminators are shown again; 50 in the paper
    noise: float = 0.05  # standard deviation, on fake colors before lines are read from them: no room for a hidden code
    cycle_colors_weight: float = 100.0  # of the L1 distance, as lambda in Eq. (4) of the poster; 10 in the paper
    cycle_lines_weight: float = 2.0  # of the cross-entropy; at 10, lines are embossed on the colors
    operator_weight: float = 10.0  # of the cross-entropy; at 0 the way back is learned by the other losses, as in the paper

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("noise", number, least=0)
        self.check("batch_size", whole_number, least=2)
        self.check("pool", whole_number, least=self.batch_size)


class CycleGAN(ColorizationModel):
    """A generator from line-art to colors and one back, and their discriminators, trained without pairs.

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
        self, condition: str | Condition = "canny", size: int = 128, *, recipe: CycleRecipe | None = None, seed: int = 0
    ):
        super().__init__(condition, size, CycleRecipe() if recipe is None else recipe, seed)

    def build_networks(self) -> tuple[nn.Module, nn.Module]:
        """Both generators, and the discriminators."""
        return Generators(self.size, self.recipe), Discriminators(self.recipe)

    @torch.inference_mode()
    def draw(self, image: Tensor) -> Tensor:
        """Take the other direction: colors to line-art.

        Args:
            image: shape (B, 3, H, W), RGB in [0, 1].

        Returns:
            Shape (B, 1, H, W) in [0, 1], ink on paper.

        Raises:
            ImageError: not such images.
        """
        scaled = scale_lab(rgb_to_lab(check_images(image).to(self.device).float()))
        return self.generator.eval()(scaled.to(memory_format=torch.channels_last), "to_lines").sigmoid()

    def training_step(self, frames: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """One step: the discriminators on their turn, the generators always. Least squares in place of logarithms (section 4).

        Args:
            frames: shape (B, 3, H, W), RGB in [0, 1]. The first half gives its lines, the second half its colors.
            trainer: holds the networks and takes the steps.

        Returns:
            Losses, not yet weighted: "cycle_colors", "cycle_lines" and, where its weight is not 0, "operator"; on the GAN's
            turn "adversarial" and "discriminator".
        """
        recipe, weights = self.recipe, self.recipe.weights
        known = bool(weights["operator"])  # the way back: the operator's, or learned
        adversarial = weights["adversarial"] and trainer.turn(recipe.adversarial_every)
        half = len(frames) // 2
        condition, colors = self.inputs(frames)
        lines, colors = condition[:half], colors[half:]
        fake_colors = trainer.generator(lines, "to_colors")
        drawn = trainer.generator(colors, "to_lines").float()  # logits of white
        # the operator's lines are black or white; sampled, they hold no gray that could carry a code
        fake_lines = 2 * torch.bernoulli(drawn.detach().sigmoid()) - 1 if known else 2 * drawn.sigmoid() - 1
        pairs = {"colors": (colors, fake_colors.float())}  # kind -> real, fake
        if not known:
            pairs["lines"] = (lines, fake_lines)
        losses = {}

        if adversarial and trainer.turn(recipe.adversarial_every * recipe.generator_steps):
            loss = torch.zeros((), device=frames.device)
            for kind, (real, fake) in pairs.items():
                pooled = cast(ImagePool, self.discriminator.pools[kind]).query(fake.detach())
                real_logits, fake_logits = trainer.discriminator(real, kind), trainer.discriminator(pooled, kind)
                loss = loss + ((real_logits - 1).square().mean() + fake_logits.square().mean()) / (2 * len(pairs))
            trainer.update_discriminator(loss)
            losses["discriminator"] = loss

        generator_losses = {}
        if adversarial:
            logits = [trainer.frozen(self.discriminator, fake, kind) for kind, (_, fake) in pairs.items()]
            generator_losses["adversarial"] = torch.stack([(one - 1).square().mean() for one in logits]).sum()
        # cycle consistency: after both directions, the colors and the lines should be what they were
        cycled_colors = trainer.generator(fake_lines, "to_colors")
        generator_losses["cycle_colors"] = F.l1_loss(cycled_colors.float(), colors)
        seen = fake_colors + recipe.noise * torch.randn_like(fake_colors)
        read = trainer.frozen(self.generator, seen, "to_lines") if known else trainer.generator(seen, "to_lines").float()
        generator_losses["cycle_lines"] = F.binary_cross_entropy_with_logits(read, (lines + 1) / 2)
        if known:  # a frame's own lines are free, and say nothing about the colors of the other half
            generator_losses["operator"] = F.binary_cross_entropy_with_logits(drawn, (condition[half:] + 1) / 2)
        trainer.update_generator(generator_losses)
        return {**losses, **generator_losses}


class Generators(nn.Module):
    """Both directions in one module."""

    def __init__(self, size: int, recipe: CycleRecipe):
        super().__init__()
        self.to_colors = UNet(size, recipe.width, output_gain=recipe.output_gain, fold=recipe.fold, widest=recipe.widest)
        self.to_lines = LineNetwork(max(1, recipe.width // 2))

    def forward(self, image: Tensor, direction: str = "to_colors") -> Tensor:
        """Line-art (B, 1, H, W) in [-1, 1] to scaled CIELAB (B, 3, H, W), or that to logits of white (B, 1, H, W)."""
        return getattr(self, direction)(image)


class Discriminators(nn.Module):
    """A PatchGAN that tells real from fake colors, and a pool of earlier fakes; a second pair for lines if ``to_lines`` is
    learned by the GAN (``operator_weight`` 0)."""

    def __init__(self, recipe: CycleRecipe):
        super().__init__()
        channels = {"colors": 3} if recipe.operator_weight else {"colors": 3, "lines": 1}
        self.kinds = nn.ModuleDict(
            {
                kind: PatchGAN(
                    recipe.width, number, halvings=recipe.discriminator_halvings, fold=max(1, recipe.fold // 2), norm="spectral"
                )
                for kind, number in channels.items()
            }
        )
        self.pools = nn.ModuleDict({kind: ImagePool(recipe.pool) for kind in channels})

    def forward(self, image: Tensor, kind: str) -> Tensor:
        """Scaled CIELAB (B, 3, H, W) or lines (B, 1, H, W) to logits."""
        return self.kinds[kind](image)


class ImagePool(nn.Module):
    """Earlier fakes, so that the discriminator does not forget them (section 4; A. Shrivastava et al., CVPR 2017).

    Checkpoints hold the pool; with several processes, they hold the first process's pool. The pool is not a buffer, because the
    trainer copies the first process's buffers to all processes.

    Args:
        capacity: how many images it holds.
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.images: Tensor | None = None

    @torch.no_grad()
    def query(self, images: Tensor) -> Tensor:
        """While the pool fills, return ``images`` as they are. Then, with probability 1/2 each, replace an image by an earlier
        one from the pool and put the image in its place.

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
