"""The networks: a U-Net generator, a PatchGAN discriminator, and CycleGAN's small network from colors to lines.

The first two follow K. Nazeri, E. Ng, M. Ebrahimi, "Image Colorization Using Generative Adversarial Networks", 2018, section 3,
and the code published with it: 4 x 4 kernels, batch norm, ``width`` 64. Ours start from He's initial weights; theirs from
TensorFlow's variance scaling with its defaults (scale 1, fan-in).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from nstlib.arguments import choice, number, whole_number

NORMS = ("batch", "spectral")


def checked_fold(value: int, name: str = "fold") -> int:
    """A ``fold`` that a U-Net can have.

    Raises:
        ValueError: it is neither 1 nor an even number up to 16.
    """
    if whole_number(value, name, 1, 16) % 2 and value > 1:
        raise ValueError(f"{name} must be 1 or an even number, not {value}")
    return int(value)


class UNet(nn.Module):
    """Generator: halve the condition down to about 2 x 2, double it up again, and pass every scale across (skip connections).

    At 256 pixels and width 64 the encoder has 64-64-128-256-512-512-512-512 channels, at 32 pixels 64-128-256-512-512; the
    first layer keeps the size, the others halve it. Source: O. Ronneberger, P. Fischer, T. Brox, "U-Net", MICCAI 2015;
    P. Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, section 3.2.1.

    With ``fold`` f above 1 the network works on a smaller picture with more channels: every square of f x f pixels becomes
    f^2 channels of one place, and at the end the other way around (sub-pixel convolution: W. Shi et al., "Real-Time Single
    Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016). At 256 pixels and
    fold 4 it costs little more than the plain network at 64. One more level, folded by f / 2 only, then sees the condition
    again and draws the detail: without it colors are right inside of things and bleed at their edges. The last two doublings
    repeat pixels and convolve them, and the output is a 3 x 3 convolution: with transposed and 1 x 1 convolutions a grid of f
    pixels shows in the picture (A. Odena, V. Dumoulin, C. Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016).

    Args:
        size: shorter side of the images in pixels, at least 8 times ``fold``; sets how often they are halved.
        width: channels of the first layer.
        dropout: probability in the three deepest decoder layers while training; the only noise, as in pix2pix (Eq. 4 has none).
        output_gain: factor on the last layer's initial weights; below 1, tanh begins far from its ends.
        in_channels, out_channels: of condition and result.
        fold: side in pixels of the squares that become channels, even and at most 16; 1 is the plain network.
        widest: the deep layers have at most so many times the channels of the first.
        base: what the network's output is added to, made from the condition, (B, in_channels, H, W) to (B, out_channels, H, W);
            the network then predicts a residual (K. Zhang et al., "Beyond a Gaussian Denoiser", TIP 2017).

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        size: int = 256,
        width: int = 64,
        dropout: float = 0.0,
        output_gain: float = 1.0,
        in_channels: int = 1,
        out_channels: int = 3,
        fold: int = 1,
        widest: int = 8,
        base: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.fold, self.base = checked_fold(fold), base
        size = whole_number(size, "size", 8 * fold) // fold
        whole_number(width, "width", 1)
        whole_number(widest, "widest", 1)
        number(dropout, "dropout", least=0, below=1)
        number(output_gain, "output_gain", above=0)
        halvings = int(math.log2(size)) - 1
        first = 0 if size >= 256 else 1  # small images start twice as wide, as in the code of Nazeri et al. 2018
        widths = [width, *(width * min(2**i, widest) for i in range(first, halvings + first))]
        self.encoder = nn.ModuleList([_down(in_channels * fold**2, width, stride=1)])
        self.encoder.extend(_down(a, b) for a, b in itertools.pairwise(widths))
        self.decoder = nn.ModuleList()
        channels = widths[-1]
        for i, skipped in enumerate(reversed(widths[:-1])):
            up = _resize_up if fold > 1 and i == halvings - 1 else _up
            self.decoder.append(up(channels, skipped, dropout if i < 3 else 0.0))
            channels = 2 * skipped
        self.outer, self.outer_fold, kernel = None, fold, 1
        if fold > 1:
            self.outer_fold, kernel = fold // 2, 3
            thin, seen = max(1, width // 2), in_channels * self.outer_fold**2
            self.outer = nn.ModuleList([_resize_up(channels, thin, 0.0), _refine(thin + seen, width)])
            channels = width
        self.output = nn.Conv2d(channels, out_channels * self.outer_fold**2, kernel, padding=kernel // 2)
        _initialize(self)
        with torch.no_grad():
            self.output.weight *= output_gain

    def forward(self, condition: Tensor) -> Tensor:
        """(B, in_channels, H, W), any H and W, to (B, out_channels, H, W) in [-1, 1], or that much beside ``base``."""
        height, width = condition.shape[2:]
        padded = pad(condition, self.fold * 2 ** len(self.decoder))
        x = F.pixel_unshuffle(padded, self.fold)
        scales = []
        for down in self.encoder:
            x = down(x)
            scales.append(x)
        for up, skipped in zip(self.decoder, reversed(scales[:-1]), strict=True):
            x = torch.cat([up(x), skipped], dim=1)
        if self.outer is not None:
            up, refine = self.outer
            x = refine(torch.cat([up(x), F.pixel_unshuffle(padded, self.outer_fold)], dim=1))
        x = F.pixel_shuffle(torch.tanh(self.output(x)), self.outer_fold)[:, :, :height, :width]
        return x if self.base is None else self.base(condition) + x


class PatchGAN(nn.Module):
    """Discriminator: is this patch of pixels real or fake, given its condition?

    A logit sees ``fold`` times 16, 34 or 70 pixels a side, after 1, 2 or 3 halvings. Source: Isola et al. 2017, sections 3.2.2
    and 6.1.2: C64-C128-C256-C512 at width 64 and 3 halvings, batch norm except in the first layer.

    Args:
        width: channels of the first layer.
        in_channels: of all inputs together.
        halvings: convolutions of stride 2; one of stride 1 and the logits' own come after them.
        norm: "batch", or "spectral" (T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018)
            of every convolution and no batch norm. Batch norm normalizes real and fake batches separately, which hides much of
            the difference between them.
        fold: squares of so many pixels a side become channels first, as in ``UNet``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, width: int = 64, in_channels: int = 4, halvings: int = 3, fold: int = 1, norm: str = "batch"):
        super().__init__()
        choice(norm, "norm", NORMS)
        self.fold = whole_number(fold, "fold", 1, 16)
        widths = [width * 2**i for i in range(whole_number(halvings, "halvings", 1, 5) + 1)]
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels * fold**2, width, kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            *(_down(a, b, batch_norm=norm == "batch") for a, b in itertools.pairwise(widths[:-1])),
            _down(widths[-2], widths[-1], stride=1, batch_norm=norm == "batch"),
            nn.Conv2d(widths[-1], 1, kernel_size=4, padding=2),
        )
        _initialize(self)
        if norm == "spectral":
            for layer in [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]:
                spectral_norm(layer)

    @property
    def patch(self) -> int:
        """Side in pixels of what one logit sees."""
        side = 1
        for layer in reversed([layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]):
            side = side * layer.stride[0] + layer.kernel_size[0] - layer.stride[0]
        return side * self.fold

    def forward(self, *images: Tensor) -> Tensor:
        """Condition (B, 1, H, W) and image (B, 3, H, W), say, to logits, (B, 1, H', W'); positive for real."""
        x = pad(torch.cat(images, dim=1), self.fold)
        return self.layers(F.pixel_unshuffle(x, self.fold))


class LineNetwork(nn.Module):
    """Colors to line-art: five 3 x 3 convolutions, which see 11 pixels, about what an edge operator sees.

    Args:
        width: channels between them.
        in_channels: of the image.
    """

    def __init__(self, width: int = 32, in_channels: int = 3):
        super().__init__()
        widths = [in_channels, width, width, width, width]
        layers = [
            layer
            for a, b in itertools.pairwise(widths)
            for layer in (nn.Conv2d(a, b, kernel_size=3, padding=1, padding_mode="replicate"), nn.LeakyReLU(0.2, inplace=True))
        ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, kernel_size=3, padding=1, padding_mode="replicate"))
        _initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W), any H and W, to logits of white, (B, 1, H, W)."""
        return self.layers(image)


def pad(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of ``multiple``."""
    height, width = images.shape[2:]
    if height % multiple == width % multiple == 0:
        return images  # padding by nothing would copy them
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _down(in_channels: int, out_channels: int, stride: int = 2, batch_norm: bool = True) -> nn.Sequential:
    # 4 x 4 kernels have no middle: at stride 1 the extra row and column of padding go to the lower right
    pad = nn.ZeroPad2d((1, 2, 1, 2) if stride == 1 else 1)
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=4, stride=stride, bias=not batch_norm)
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return nn.Sequential(pad, convolution, *norm, nn.LeakyReLU(0.2, inplace=True))


def _up(in_channels: int, out_channels: int, dropout: float) -> nn.Sequential:
    convolution = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=False)
    layers = [convolution, nn.BatchNorm2d(out_channels), *([nn.Dropout(dropout)] if dropout else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _resize_up(in_channels: int, out_channels: int, dropout: float) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    layers = [nn.BatchNorm2d(out_channels), *([nn.Dropout(dropout)] if dropout else []), nn.ReLU(inplace=True)]
    return nn.Sequential(nn.Upsample(scale_factor=2), convolution, *layers)


def _refine(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.2, inplace=True))


def _initialize(network: nn.Module) -> None:
    """He initialization (K. He et al., ICCV 2015) by the number of inputs that reach an output."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
        elif isinstance(layer, nn.ConvTranspose2d):
            # of the 4 x 4 kernel only 2 x 2 meet any one output
            inputs = layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / inputs))
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
