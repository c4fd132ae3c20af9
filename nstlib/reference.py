"""A colorizer that is shown colors: key frames of the same scene, which are colored already, or a few dabs of paint.

A ``Colorizer`` learns the colors of one show. This one learns where to look colors up, so it can color places and characters
that it never saw. The poster's authors also went this way: H. Thasarathan, K. Nazeri, M. Ebrahimi, "Automatic Temporally
Coherent Video Colorization", 2019, arXiv 1904.09527 (TCVC); their network is given the previous frame.

Trained on the show's own colors, the network would memorize them. So both frames of a pair are recolored in the same random way
(``recolor``), and only the reference shows the new colors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nstlib.arguments import share
from nstlib.color import gray_to_scaled_lab
from nstlib.correspondence import CELL, Carried, Correspondence, matching_loss, position_loss
from nstlib.edges import Condition
from nstlib.hints import KNOWN, Dab, hints_map, known_everywhere, random_hints
from nstlib.images import Source, as_image, check_images, resize, shape_with
from nstlib.model import ColorizationModel
from nstlib.networks import UNet, pad
from nstlib.positions import decode_positions
from nstlib.recipe import LaptopRecipe, UNetRecipe
from nstlib.training import Trainer


class ReferenceNetwork(nn.Module):
    """Generator: carry the colors of references over, lay the hints on them, and correct what comes out.

    The U-Net predicts a residual, and for each pixel how much of the residual counts. A network that painted the frame from
    scratch would blur colors that are right already: in a trial on unseen scenes, the accuracy (t = 2) of the carried colors
    was 0.26, and that of a frame painted from them 0.15.

    Args:
        size, width, output_gain, fold, widest: of the U-Net, as in ``nstlib.networks.UNet``.
        grayscale: whether the condition is the gray, which gives the lightness.
    """

    def __init__(self, size: int, width: int, output_gain: float, fold: int, widest: int, grayscale: bool):
        super().__init__()
        self.correspondence = Correspondence(width)
        self.painter = UNet(
            size,
            width,
            output_gain=output_gain,
            in_channels=2 + 2 * KNOWN + 1 + KNOWN,  # condition, carried colors and condition, carried means, confidence, hints
            out_channels=4,  # a residual, and how much of it counts
            fold=fold,
            widest=widest,
        )
        self.shown = _shown_on_gray if grayscale else _shown

    def forward(
        self, condition: Tensor, references: Sequence[tuple[Tensor, Tensor]], hints: Tensor
    ) -> tuple[Tensor, Carried | None]:
        """Paint.

        Args:
            condition: shape (B, 1, H, W) in [-1, 1].
            references: any number; of each its condition (B, 1, H', W') in [-1, 1] and its known colors (B, 4, H', W').
            hints: known colors, shape (B, 4, H, W).

        Returns:
            Scaled CIELAB, (B, 3, H, W); and what the references give, for the frame padded to multiples of ``CELL``, or None
            if there are no references.
        """
        height, width = condition.shape[2:]
        padded, hints = pad(condition, CELL), pad(hints, CELL)
        carried = None
        if references:
            carried = self.correspondence(padded, [(pad(one, CELL), pad(colors, CELL)) for one, colors in references])
            coarse = F.interpolate(torch.cat([carried.means, carried.confidence], dim=1), scale_factor=CELL)
            seen = torch.cat([padded, carried.colors, carried.condition, coarse, hints], dim=1)
        else:
            seen = torch.cat([padded, padded.new_zeros(len(padded), 2 * KNOWN + 2, *padded.shape[2:]), hints], dim=1)
        residual, much = self.painter(seen.contiguous(memory_format=torch.channels_last)).split([3, 1], dim=1)
        fake = self.shown(seen) + (1 + much) / 2 * residual
        return fake[..., :height, :width], carried


def _shown(seen: Tensor) -> Tensor:
    """Of all that the U-Net sees, the colors that it is shown: those of a hint where there is one, else the carried ones."""
    hints, known = seen[:, -KNOWN:-1], seen[:, -1:]
    return hints + (1 - known) * seen[:, 1:KNOWN]  # hints are 0 where nothing is known


def _shown_on_gray(seen: Tensor) -> Tensor:
    return torch.cat([gray_to_scaled_lab(seen[:, :1])[:, :1], _shown(seen)[:, 1:]], dim=1)


def recolor(colors: Tensor, kept: float, lightness: bool) -> Tensor:
    """Recolor the images of each group alike: a random smooth map of colors to colors.

    The plane of a and b is rotated and scaled about gray. Then two random sine waves, functions of L, a and b, are added to a
    and b, and to L if ``lightness`` is True.

    Args:
        colors: groups of n images, shape (B, n, 3, H, W), scaled CIELAB.
        kept: share of the groups that keep their colors.
        lightness: whether L changes, too. From grayscale it must not: the condition shows it.

    Returns:
        The same shape.
    """
    batch, device = len(colors), colors.device

    def drawn(*shape: int, normal: bool = False) -> Tensor:
        return (torch.randn if normal else torch.rand)(batch, *shape).to(device)

    angle = drawn() * 2 * math.pi
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(batch, 2, 2)
    stretch = 0.4 + 0.9 * drawn(1, 1, 1, 1)
    mapped = torch.cat([colors[:, :, :1], stretch * torch.einsum("bij,bnjhw->bnihw", turn, colors[:, :, 1:])], dim=2)
    seen = colors * colors.new_tensor([1, 2, 2])[:, None, None]  # a and b rarely go beyond 0.5
    height = colors.new_tensor([0.25 if lightness else 0, 0.18, 0.18])[:, None, None]
    for _ in range(2):
        wave = torch.einsum("bij,bnjhw->bnihw", 3 * drawn(3, 3, normal=True), seen)
        mapped = mapped + height * torch.sin(wave + 2 * math.pi * drawn(1, 3, 1, 1))
    keep = (drawn(1, 1, 1, 1) < kept).to(colors.dtype)
    return keep * colors + (1 - keep) * mapped.clamp(-1, 1)


def thicken(lines: Tensor, share: float) -> Tensor:
    """Lines as other pens draw them: two or three pixels wide.

    Args:
        lines: one pixel wide, shape (B, 1, H, W), black is -1 and white 1.
        share: of the images whose lines become wider, half of them by one pixel and half by two.

    Returns:
        The same shape.
    """
    two = -F.max_pool2d(F.pad(-lines, (0, 1, 0, 1), mode="replicate"), 2, stride=1)
    three = -F.max_pool2d(-lines, 3, stride=1, padding=1)
    draw = torch.rand(len(lines), 1, 1, 1).to(lines.device)
    return torch.where(draw < share / 2, two, torch.where(draw < share, three, lines))


def bounded_l1(fake: Tensor, real: Tensor, most: float = 0.1) -> Tensor:
    r"""Mean over pixels of :math:`m e / (e + m)`, e the mean of a pixel's absolute differences: like L1 where e is small, and
    never more than m.

    L1 is minimal at the median of the colors that a pixel may have, so it moves the network away from a carried color that is
    probably right. This loss hardly grows once a color is far off. In a trial on unseen scenes with L1, the accuracy (t = 2) of
    the carried colors was 0.34, and after the U-Net's correction 0.29. The loss is a form of the robust error function of S.
    Geman and D. McClure, 1987.

    Args:
        fake, real: shape (B, 3, H, W), scaled CIELAB.
        most: m.
    """
    error = (fake - real).abs().mean(dim=1)
    return (most * error / (error + most)).mean()


@dataclass(frozen=True)
class ReferenceRecipe(UNetRecipe):
    """How a colorizer that is shown colors is trained: U-Net, learning rate and schedule as in the colorizers' recipe "laptop".

    There is no GAN: recolored frames have no colors that are typical of real ones, and in a trial the discriminator stayed at
    chance. TCVC, which keeps the colors of its show, has one.

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    batch_size: int = LaptopRecipe.batch_size
    generator_lr: float = LaptopRecipe.generator_lr
    beta1: float = LaptopRecipe.beta1
    beta2: float = LaptopRecipe.beta2
    schedule: str = LaptopRecipe.schedule
    width: int = LaptopRecipe.width
    fold: int = LaptopRecipe.fold
    widest: int = 3
    output_gain: float = LaptopRecipe.output_gain
    referenced: float = 0.9  # share of the frames that have their reference
    kept: float = 0.2  # share of these that keep their colors
    hinted: float = 0.5  # share of the frames that have dabs of their true colors
    thickened: float = 0.5  # share of the frames, and of the references, whose lines are wider than one pixel
    color_weight: float = 100.0  # of ``bounded_l1``
    matching_weight: float = 1.0  # of ``nstlib.correspondence.matching_loss``
    position_weight: float = 1.0  # of ``nstlib.correspondence.position_loss``

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("referenced", "kept", "hinted", "thickened"):
            self.check(name, share)


class ReferenceColorizer(ColorizationModel):
    """A generator that colors frames from a condition and the colors that it is shown.

    It is trained on pairs of frames (6, H, W), a reference and a frame to color: ``nstlib.AnimePairs``, say.

    Args:
        condition, size, seed: as in ``nstlib.model.ColorizationModel``.
        recipe: a ``ReferenceRecipe``; None takes its defaults.

    Raises:
        ValueError: an argument is none of these.
    """

    recipe_type = ReferenceRecipe
    recipe: ReferenceRecipe

    def __init__(
        self, condition: str | Condition = "canny", size: int = 256, *, recipe: ReferenceRecipe | None = None, seed: int = 0
    ):
        super().__init__(condition, size, ReferenceRecipe() if recipe is None else recipe, seed)
        if self.condition.operator == "given":
            raise ValueError("condition must be an operator that finds the lines of a reference, not 'given'")

    def build_networks(self) -> tuple[nn.Module, None]:
        """Correspondence and U-Net, of the recipe's width and fold."""
        recipe, grayscale = self.recipe, self.condition.operator == "grayscale"
        return ReferenceNetwork(self.size, recipe.width, recipe.output_gain, recipe.fold, recipe.widest, grayscale), None

    @property
    def frame_channels(self) -> tuple[int, ...]:
        """Of a pair: RGB twice, or each with its condition; and four more where the positions are known."""
        return (6, 8, 10, 12)

    def target(self, frames: Tensor) -> Tensor:
        """The second of each pair."""
        return _pair(frames)[1]

    def _colorize_batch(self, batch: Tensor, condition: Tensor) -> Tensor:
        return self.colorize(condition, reference=self.condition.truth(_pair(batch)[0]))

    @torch.no_grad()
    def colorize(self, condition: Tensor, *, reference: Source | Sequence[Source] = (), hints: Sequence[Dab] = ()) -> Tensor:
        """Color.

        Args:
            condition: shape (B, 1, H, W) in [0, 1], of any size, ink on paper, as the operators in ``nstlib.edges`` give it.
            reference: a frame with the colors wanted, or several: each a path, bytes, a PIL image, or a tensor, RGB in [0, 1],
                of shape (1, 3, H', W') for all, or (B, 3, H', W').
            hints: dabs of colors, for all.

        Returns:
            Shape (B, 3, H, W), RGB in [0, 1].

        Raises:
            ImageError: not such a condition, or a reference that is no image.
        """
        check_images(condition, "condition", channels=1)
        batch = len(condition)
        known = hints_map(hints, *shape_with(condition, self.size)).to(self.device).expand(batch, -1, -1, -1)
        several = list(reference) if isinstance(reference, list | tuple) else [cast("Source", reference)]
        return self._colorize(condition, [self._reference(one, batch) for one in several], known)

    def _reference(self, reference: Source, batch: int) -> tuple[Tensor, Tensor]:
        """A reference's condition and known colors, as the network sees them."""
        image = reference if isinstance(reference, Tensor) else as_image(reference, "reference")
        check_images(image, "reference")
        small = resize(image, shape_with(image, self.frame_size))
        condition, colors = self.inputs(small.to(self.device, torch.float32))
        return condition.expand(batch, -1, -1, -1), known_everywhere(colors).expand(batch, -1, -1, -1)

    def training_step(self, frames: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """One step on a batch.

        Args:
            frames: pairs, shape (B, 6, H, W): a reference's RGB in [0, 1], then a frame's; or (B, 10, H, W), with the positions
                that ``nstlib.positions.encode_positions`` wrote.
            trainer: holds the network and takes the step.

        Returns:
            Losses, not yet weighted: "color", "matching" and, where positions are known, "position".
        """
        recipe = self.recipe
        (reference_condition, reference), (condition, real) = (self.inputs(part) for part in _pair(frames))
        lines = self.condition.operator != "grayscale"
        if lines:
            condition, reference_condition = (thicken(one, recipe.thickened) for one in (condition, reference_condition))
        shown = (torch.rand(len(frames), 1, 1, 1) < recipe.referenced).to(real)
        recolored = recolor(torch.stack([reference, real], dim=1), recipe.kept, lightness=lines)
        reference = torch.where(shown > 0, recolored[:, 0], reference)
        real = torch.where(shown > 0, recolored[:, 1], real).contiguous(memory_format=torch.channels_last)
        known = known_everywhere(reference) * shown
        fake, carried = trainer.generator(condition, [(reference_condition, known)], random_hints(real, recipe.hinted))
        losses = {
            "color": bounded_l1(fake.float(), real),
            "matching": matching_loss(carried, pad(real, CELL), shown.flatten()),
        }
        if frames.shape[1] in (10, 12):
            every = self.condition.supersample
            truth = decode_positions(frames[:, -4:], *frames.shape[2:])[:, :, every // 2 :: every, every // 2 :: every] / every
            beyond = (0, -truth.shape[3] % CELL, 0, -truth.shape[2] % CELL)
            losses["position"] = position_loss(carried, F.pad(truth, beyond, value=math.nan))
        trainer.update_generator(losses)
        return losses


def _pair(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Reference and frame, each RGB or a condition beside RGB."""
    each = 4 if frames.shape[1] in (8, 12) else 3
    return frames[:, :each], frames[:, each : 2 * each]
