"""Style transfer in one pass: a network learns one painting, and then paints any photograph in a fraction of a second.

``StyleTransfer`` optimizes the pixels of one image and begins anew for each image. Here a network is trained, on many photos
and with the same kind of losses; afterward, one forward pass replaces the optimization. Source: J. Johnson, A. Alahi, L.
Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from nstlib.arguments import shown, whole_number
from nstlib.datasets import Frames
from nstlib.devices import fast_precision
from nstlib.images import Source, as_image, resize, shape_with
from nstlib.losses import PerceptualLoss, gram_matrix, style_loss, total_variation
from nstlib.networks import pad
from nstlib.recipe import TrainingRecipe
from nstlib.run_folder import ModelError
from nstlib.training import Trainer
from nstlib.weights import read_network, write_network

CONTENT_LAYER = "relu2_2"  # section 4.1
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
METADATA = "nstlib.fast_style"  # the key of the configuration in a saved file


class RandomCrops(Dataset[Tensor]):
    """Square pieces of pictures, in random places and at random scales, half of them mirrored: (3, size, size), RGB in [0, 1].

    Piece ``i`` depends on the pictures, ``seed`` and ``i`` only.

    Args:
        pictures: paths, bytes, PIL images, or tensors (1, 3, H, W), RGB in [0, 1].
        size: side of the pieces in pixels.
        length: how many pieces there are.
        seed: of the choice.

    Raises:
        ValueError: there is no picture, ``size`` is below 16, ``length`` is below 1, or ``seed`` is negative.
        ImageError: a picture cannot be read.
    """

    def __init__(self, pictures: Sequence[Source], size: int = 256, length: int = 1000, seed: int = 0):
        if not pictures:
            raise ValueError("pictures are empty: there is nothing to crop")
        self.pictures = [as_image(picture, f"picture {i}") for i, picture in enumerate(pictures)]
        self.size, self.length = whole_number(size, "size", 16), whole_number(length, "length", 1)
        self.seed = whole_number(seed, "seed", 0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        which = int(torch.randint(len(self.pictures), (), generator=generator))
        scale, top, left, mirrored = torch.rand(4, generator=generator).tolist()
        picture = self.pictures[which]
        side = int(min(picture.shape[2:]) * (0.4 + 0.6 * scale))
        y, x = int(top * (picture.shape[2] - side + 1)), int(left * (picture.shape[3] - side + 1))
        piece = resize(picture[:, :, y : y + side, x : x + side], (self.size, self.size))[0]
        return piece.flip(2) if mirrored < 0.5 else piece


class StyleNetwork(nn.Module):
    """Halve, residual blocks, double: the network of Johnson et al. on squares of 2 x 2 pixels, a quarter of the work.

    Departures: the first and the last layer work on the image folded by 2, with kernels of 5 x 5 places in place of 9 x 9
    pixels; pixels are repeated and convolved in place of transposed convolutions, which leave a checkerboard; instance norm in
    place of batch norm (D. Ulyanov, A. Vedaldi, V. Lempitsky, 2016, arXiv 1607.08022).

    Args:
        width: channels of the first layer; the deepest have four times as many.
        blocks: number of residual blocks.
    """

    def __init__(self, width: int = 32, blocks: int = 5):
        super().__init__()
        whole_number(width, "width", 1)
        whole_number(blocks, "blocks", 0)
        self.layers = nn.Sequential(
            *_layer(12, width, 5),
            *_layer(width, 2 * width, stride=2),
            *_layer(2 * width, 4 * width, stride=2),
            *(_Residual(4 * width) for _ in range(blocks)),
            nn.Upsample(scale_factor=2),
            *_layer(4 * width, 2 * width),
            nn.Upsample(scale_factor=2),
            *_layer(2 * width, width),
            nn.Conv2d(width, 12, kernel_size=5, padding=2, padding_mode="reflect"),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), RGB in [0, 1], any H and W from 16 on, to the same shape, in [0, 1]."""
        height, width = image.shape[2:]
        x = self.layers(F.pixel_unshuffle(pad(image, 8) - 0.5, 2))
        return torch.sigmoid(F.pixel_shuffle(x, 2))[:, :, :height, :width]


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(*_layer(channels, channels), *_layer(channels, channels)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _layer(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, padding_mode="reflect", bias=False)
    return convolution, nn.InstanceNorm2d(out_channels, affine=True), nn.ReLU(inplace=True)


@dataclass(frozen=True)
class FastStyleRecipe(TrainingRecipe):
    """How a network learns a painting. The weights are of relative losses, each about 1 where there are no features.

    Raises:
        ValueError: a setting is out of its range, or all weights are 0.
    """

    epochs: int = 20
    batch_size: int = 4  # as in section 4.1
    generator_lr: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.99
    schedule: str = "one-cycle"
    width: int = 32
    blocks: int = 5
    content_weight: float = 1.0
    style_weight: float = 8.0
    tv_weight: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("width", whole_number, least=1)
        self.check("blocks", whole_number, least=0)


class FastStyle:
    """A network that paints in the style of one painting.

    >>> fast = FastStyle(asset_path("scream"))
    >>> fast.fit(RandomCrops(photographs))
    >>> fast.stylize("photo.jpg")

    Args:
        style: the painting: a path, bytes, a PIL image, or a tensor (1, 3, H, W), RGB in [0, 1].
        size: side in pixels of the pieces that it is trained on; the painting's shorter side is brought to the same.
        recipe: a ``FastStyleRecipe``; None takes its defaults.
        seed: of initial weights and of the order of the pieces.

    Attributes:
        history: one entry an epoch: "content", "style" and "tv", relative and not yet weighted, and "seconds".

    Raises:
        ImageError: the painting cannot be read.
        ValueError: another argument is none of these.
    """

    collapse = (0.0, 0.0)  # of no meaning: there is no discriminator
    frame_channels: tuple[int, ...] = (3,)

    def __init__(self, style: Source, size: int = 256, *, recipe: FastStyleRecipe | None = None, seed: int = 0):
        self.recipe = FastStyleRecipe() if recipe is None else recipe
        if not isinstance(self.recipe, FastStyleRecipe):
            raise ValueError(f"recipe must be a FastStyleRecipe, not {shown(recipe)}")
        self.frame_size, self.seed = whole_number(size, "size", 32), whole_number(seed, "seed", 0)
        image = as_image(style, "style")
        self.style = resize(image, shape_with(image, self.frame_size))
        self.history: list[dict[str, float]] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator: nn.Module = StyleNetwork(self.recipe.width, self.recipe.blocks)
        self.discriminator: nn.Module | None = None
        self._loss: PerceptualLoss | None = None

    def training_step(self, frames: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """One step on photographs (B, 3, H, W), RGB in [0, 1]; returns the losses by name, relative, not yet weighted."""
        losses = self.losses(trainer.generator(frames).float(), frames)
        trainer.update_generator(losses)
        return losses

    def losses(self, painted: Tensor, photographs: Tensor) -> dict[str, Tensor]:
        """The losses of pictures, painted from photographs: "content", "style" and "tv", relative, not yet weighted.

        Args:
            painted, photographs: shape (B, 3, H, W), RGB in [0, 1].
        """
        if self._loss is None or self.style.device != photographs.device:
            self.style = self.style.to(photographs.device)
            self._loss = relative_loss(self.style)
        content, style = self._loss.parts(painted, photographs, self.style)
        return {"content": content, "style": style, "tv": total_variation(painted) / painted.numel()}

    def fit(self, photographs: Frames, **settings: Any) -> list[dict[str, float]]:
        """Train for ``recipe.epochs`` epochs.

        Args:
            photographs: a dataset of (3, size, size), RGB in [0, 1]: ``RandomCrops``, say.
            settings: ``frames_per_epoch``, ``folder``, ``fabric``, ``workers``, ``progress`` and ``callback``, and the errors,
                as in ``nstlib.training.Trainer``.

        Returns:
            ``history``.
        """
        return Trainer(self, photographs, **settings).fit()

    @torch.no_grad()
    def stylize(self, image: Source) -> Tensor:
        """Paint a picture, of any size from 16 pixels on.

        Args:
            image: a path, bytes, a PIL image, or a tensor (1, 3, H, W), RGB in [0, 1].

        Returns:
            Shape (1, 3, H, W), the picture's size, RGB in [0, 1], on the CPU. Strokes have the same size in pixels as in
            training, so in a larger picture they look finer.

        Raises:
            ImageError: it cannot be read.
        """
        network = self.generator.eval()
        device = next(network.parameters()).device
        picture = as_image(image, "image").to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=fast_precision(device) == torch.bfloat16):
            return network(picture).float().cpu()

    def config(self) -> dict[str, Any]:
        """Model, size, recipe and seed, as plain values."""
        return {"model": "FastStyle", "size": self.frame_size, "recipe": asdict(self.recipe), "seed": self.seed}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network, its painting and its configuration (``nstlib.weights``).

        Raises:
            ModelError: the path cannot be written.
        """
        painting = (self.style * 255).round().to(torch.uint8)
        tensors = {**self.generator.state_dict(), "style": painting}
        write_network(path, tensors, METADATA, {**self.config(), "history": self.history})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FastStyle:
        """Read what ``save`` wrote.

        Raises:
            ModelError: missing, damaged, or no such network.
        """
        tensors, config = read_network(path, METADATA)
        try:
            style = tensors.pop("style").float() / 255
            fast = cls(style, config["size"], recipe=FastStyleRecipe(**config["recipe"]), seed=config["seed"])
            fast.generator.load_state_dict(tensors)
            fast.history = config["history"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{str(path)!r} is no network that learned a painting ({error})") from error
        return fast


def relative_loss(style: Tensor) -> PerceptualLoss:
    """A perceptual loss of the layers of Johnson et al., relative to a painting. The style loss is 1 if all features are zero.
    The content loss is 1 if the mean squared error of the features equals the mean square of the painting's features.

    Args:
        style: the painting, shape (1, 3, H, W), RGB in [0, 1].
    """
    precision = fast_precision(style.device)
    loss = PerceptualLoss({CONTENT_LAYER: 1.0}, dict.fromkeys(STYLE_LAYERS, 1.0), precision=precision).to(style.device)
    with torch.no_grad():
        features = loss.extractor(style)
        loss.content[CONTENT_LAYER] = 1 / float(features[CONTENT_LAYER].float().square().mean())
        for layer in STYLE_LAYERS:
            gram = gram_matrix(features[layer])
            loss.style[layer] = 1 / (len(STYLE_LAYERS) * float(style_loss(torch.zeros_like(gram), gram)))
    return loss
