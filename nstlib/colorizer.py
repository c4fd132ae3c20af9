"""The poster's second half: a conditional GAN that colors anime frames (Equations 4 and 5).

One training step, written out, is ``Colorizer.training_step``; the losses are in ``nstlib.losses``, the networks in
``nstlib.networks``, and the loop around the step in ``nstlib.training``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from nstlib.arguments import choice, number, whole_number
from nstlib.color import gray_to_scaled_lab, scaled_lab_to_rgb
from nstlib.devices import fast_precision
from nstlib.edges import Condition
from nstlib.losses import PerceptualLoss, adversarial_loss, color_loss, discriminator_loss, image_gradient_loss
from nstlib.model import ColorizationModel
from nstlib.networks import NORMS, PatchGAN, UNet
from nstlib.recipe import AdversarialRecipe, LaptopRecipe
from nstlib.training import Trainer

PERCEPTUAL_LOSSES: dict[str, dict[str, Any]] = {  # arguments of ``PerceptualLoss``
    # L1 distances see small errors, too, and shallow layers see colors; after EdgeConnect (Nazeri et al. 2019)
    "l1": {"content": dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 0.25), "distance": "l1"},
    # after Johnson et al. 2016, section 3.2: squares at relu2_2 and relu3_3; the weights even out how large features are
    "squared": {"content": {"relu2_2": 1e-5, "relu3_3": 1e-5}},
}


@dataclass(frozen=True)
class ColorizerRecipe(AdversarialRecipe):
    """How a colorizer is trained. The defaults, the recipe "poster", follow the code of Nazeri et al. 2018 (arXiv 1803.05400;
    github.com/ImagingLab/Colorizing-with-GANs), an earlier paper by two of the poster's authors and a colleague.

    The main departures from that code: dropout is on and is the only noise, as in pix2pix (their 256-pixel network has none);
    initial weights are He's; and batch norm uses its running statistics when the model colors (theirs uses the batch's).
    docs/departures.md lists all departures.

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    discriminator_norm: str = "batch"  # or "spectral"
    dropout: float = 0.5
    l1_weight: float = 100.0  # lambda in Eq. (4); of the mean over pixels and channels
    perceptual_weight: float = 0.0  # of VGG's features; the poster's "future research"
    perceptual_distance: str = "l1"  # or "squared"; see PERCEPTUAL_LOSSES
    perceptual_frames: int = 2  # of a batch, at most, that VGG sees in a step: it costs more than all the rest
    gradient_weight: float = 0.0  # of differences between neighboring pixels (``image_gradient_loss``)
    color_weight: float = 0.0  # of means over squares of 2 x 2 pixels (``color_loss``)

    def __post_init__(self) -> None:
        super().__post_init__()
        choice(self.discriminator_norm, "discriminator_norm", NORMS)
        self.check("perceptual_frames", whole_number, least=1)
        choice(self.perceptual_distance, "perceptual_distance", list(PERCEPTUAL_LOSSES))
        self.check("dropout", number, least=0, below=1)


POSTER = ColorizerRecipe()
LAPTOP = replace(
    POSTER,
    **asdict(LaptopRecipe()),
    dropout=0.0,  # few steps: noise costs accuracy (0.47 with, 0.51 without in a trial)
    discriminator_norm="spectral",  # after 96 steps against a fixed generator its loss is 0.84; with batch norm 1.36
)
RECIPES = {
    "poster": POSTER,
    "laptop": LAPTOP,
    # hours on two cores. Width 32 is too small for that: from grayscale, validation accuracy was 0.763 after 480,000
    # frames and after 600,000; on training frames it ended at 0.770 (seed 0). Deep layers need no more channels.
    "long": replace(LAPTOP, width=64, widest=3),
}


class Colorizer(ColorizationModel):
    """A generator that colors frames from a condition (grayscale, line-art), trained by Equations (4) and (5).

    Args:
        condition, size, seed: as in ``nstlib.model.ColorizationModel``.
        recipe: "poster", "laptop", "long", or a ``ColorizerRecipe``.

    Raises:
        ValueError: an argument is none of these.
    """

    recipe_type = ColorizerRecipe
    recipe: ColorizerRecipe
    discriminator: nn.Module
    collapse = (0.01, 6.0)  # bounds on the loss of Eq. (5), which is 2 log 2 = 1.39 at chance; outside them, training warns

    def __init__(
        self,
        condition: str | Condition = "grayscale",
        size: int = 256,
        *,
        recipe: str | ColorizerRecipe = "poster",
        seed: int = 0,
    ):
        if isinstance(recipe, str):
            recipe = RECIPES[choice(recipe, "recipe", list(RECIPES))]
        super().__init__(condition, size, recipe, seed)

    def build_networks(self) -> tuple[nn.Module, nn.Module]:
        """A U-Net and a PatchGAN of the recipe's width and fold.

        A folded U-Net loses detail that the gray picture has. So from grayscale it predicts a residual: what the gray lacks.
        """
        recipe = self.recipe
        base = gray_to_scaled_lab if recipe.fold > 1 and self.condition.operator == "grayscale" else None
        return (
            UNet(
                self.size, recipe.width, recipe.dropout, recipe.output_gain, fold=recipe.fold, widest=recipe.widest, base=base
            ),
            PatchGAN(
                recipe.width,
                halvings=recipe.discriminator_halvings,
                fold=max(1, recipe.fold // 2),
                norm=recipe.discriminator_norm,
            ),
        )

    def training_step(self, frames: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """One step on a batch: the discriminator on its turn, the generator always.

        Args:
            frames: shape (B, 3, H, W), RGB in [0, 1].
            trainer: holds the networks and takes the steps.

        Returns:
            Losses, not yet weighted: "l1" and, where their weights are not 0, "color", "gradient", "perceptual" and, on the
            GAN's turn, "adversarial"; on the discriminator's turn "discriminator".
        """
        recipe, weights = self.recipe, self.recipe.weights
        adversarial = weights["adversarial"] and trainer.turn(recipe.adversarial_every)
        condition, real = self.inputs(frames)
        fake = trainer.generator(condition)
        losses = {}

        # Equation (5)
        if adversarial and trainer.turn(recipe.adversarial_every * recipe.generator_steps):
            discriminator = trainer.discriminator
            # one after the other: batch norm over both at once would tell them apart by their difference alone
            loss = discriminator_loss(discriminator(condition, real), discriminator(condition, fake.detach()))
            trainer.update_discriminator(loss)
            losses["discriminator"] = loss

        # Equation (4)
        generator_losses = {}
        if adversarial:
            generator_losses["adversarial"] = adversarial_loss(trainer.frozen(self.discriminator, condition, fake))
        generator_losses["l1"] = (fake.float() - real).abs().mean()
        # beyond the poster: colors on the whole, edges, and what VGG sees
        if weights["color"]:
            generator_losses["color"] = color_loss(fake, real)
        if weights["gradient"]:
            generator_losses["gradient"] = image_gradient_loss(fake, real)
        if weights["perceptual"]:
            perceptual_loss = _perceptual_loss(fake.device, recipe.perceptual_distance)
            # nothing is clipped to [0, 1] on the way: clipping would hide from the loss how far outside a color is
            seen = [scaled_lab_to_rgb(images[: recipe.perceptual_frames], clip=False) for images in (fake, real)]
            generator_losses["perceptual"] = perceptual_loss(*seen)
        trainer.update_generator(generator_losses)
        return {**losses, **generator_losses}


@cache
def _perceptual_loss(device: torch.device, distance: str) -> PerceptualLoss:
    return PerceptualLoss(**PERCEPTUAL_LOSSES[distance], precision=fast_precision(device)).to(device)
