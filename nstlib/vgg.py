"""VGG as a representation extractor (poster, Figure 1): an image goes in, the activations of named layers come out.

Layers are named as in the papers: ``conv4_2`` is the second convolution of block 4, ``relu4_2`` its rectified output,
``pool4`` the pooling that ends the block. Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
Image Recognition", ICLR 2015.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nstlib.arguments import choice, shown
from nstlib.assets import AssetError, asset_path
from nstlib.images import ImageError

CONVOLUTIONS_PER_BLOCK = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)

# Input conventions, for RGB in [0, 1]: the network sees (x - mean) / std. Oxford's own networks (Caffe) were trained on
# 0-255 values minus the mean color, blue first; torchvision's were trained anew. They are different networks.
PREPROCESSING = {
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
    "torchvision": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def layer_names(arch: str = "vgg16") -> list[str]:
    """All layers of ``arch`` ("vgg16" or "vgg19"), from the input on: conv1_1, relu1_1, ..., pool5."""
    choice(arch, "arch", list(CONVOLUTIONS_PER_BLOCK))
    names = []
    for block, count in enumerate(CONVOLUTIONS_PER_BLOCK[arch], start=1):
        for i in range(1, count + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return names


class FeatureExtractor(nn.Module):
    """The activations of named VGG layers; frozen, and nothing past the deepest layer asked for is computed.

    Args:
        arch: "vgg16" or "vgg19".
        weights: "imagenet", the Oxford VGG-16 that comes with the repository; "torchvision", torchvision's own ImageNet
            weights (downloaded once, needs the internet); the path of a safetensors file named as torchvision names them
            (``features.0.weight``, ...; metadata ``preprocessing`` is "caffe" or, if absent, "torchvision"); or None,
            random He initialization from a fixed seed.
        layers: names of layers, such as "relu4_2"; see ``layer_names``.
        pooling: "max", as VGG was trained, or "average", which Gatys et al. (section 2) found slightly more appealing.
        precision: what the convolutions compute in. ``torch.bfloat16`` is several times faster where the processor has
            matrix units for it (see ``nstlib.devices.fast_precision``), with 8 bits of mantissa in place of 24.

    Raises:
        ValueError: an argument is none of these.
        nstlib.AssetError: the weights are missing, damaged, of another network, or cannot be downloaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        arch: str = "vgg16",
        weights: str | os.PathLike[str] | None = "imagenet",
        layers: Sequence[str] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"),
        pooling: str = "max",
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        names = layer_names(arch)
        layers = [layers] if isinstance(layers, str) else list(layers)
        unknown = [name for name in layers if name not in names]
        if unknown or not layers:
            raise ValueError(f"layers must be some of {', '.join(names)}; " + (f"not {unknown}" if unknown else "none given"))
        choice(pooling, "pooling", ("max", "average"))
        if precision not in (torch.float32, torch.float64, torch.bfloat16):
            raise ValueError(f"precision must be torch.bfloat16, float32 or float64, not {shown(precision)}")

        self.arch, self.layers, self.pooling, self.precision = arch, layers, pooling, precision
        self.net = nn.Sequential()
        deepest = max(names.index(name) for name in layers)
        channels = 3
        for name in names[: deepest + 1]:
            block = int(name.removeprefix("conv").removeprefix("relu").removeprefix("pool")[0])
            if name.startswith("conv"):
                # skip_init: weights are filled in below, and drawing them would move the global random state
                module: nn.Module = nn.utils.skip_init(nn.Conv2d, channels, WIDTHS[block - 1], kernel_size=3, padding=1)
                channels = WIDTHS[block - 1]
            elif name.startswith("relu"):
                # in place would overwrite the convolution's output, which may have been asked for
                module = nn.ReLU(inplace=name.replace("relu", "conv") not in layers)
            else:
                module = nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2)
            self.net.add_module(name, module)

        preprocessing = self._load(weights)
        mean, std = PREPROCESSING[preprocessing]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        # channels_last is the layout in which convolution kernels are fastest: 2.3 -> 1.7 s for a loss and its gradient at
        # 512 px in float32 on two cores, 0.9 -> 0.6 s in bfloat16
        self.net.to(precision).to(memory_format=torch.channels_last)
        self.requires_grad_(False).eval()

    @property
    def strides(self) -> dict[str, int]:
        """Pixels from one position to the next, of each layer asked for."""
        stride, strides = 1, {}
        for name, module in self.net.named_children():
            stride *= 2 if isinstance(module, nn.MaxPool2d | nn.AvgPool2d) else 1
            strides[name] = stride
        return {layer: strides[layer] for layer in self.layers}

    @property
    def reach(self) -> int:
        """How many pixels to either side the features of a position depend on, at most."""
        stride, reach = 1, 0
        for module in self.net:
            if isinstance(module, nn.Conv2d):
                reach += stride
            elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
                reach, stride = reach + stride, 2 * stride
        return reach

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of ``image`` in every layer asked for.

        Args:
            image: shape (B, 3, H, W), RGB in [0, 1] (values outside are not clipped: an image being optimized may stray).

        Returns:
            Layer name -> tensor (B, N, H', W') of dtype ``precision``, in the order in which the layers were asked for.

        Raises:
            nstlib.ImageError: not three channels, not floating-point, or too small for the deepest layer.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ImageError(f"expected an image tensor of shape (B, 3, H, W), got {tuple(image.shape)}")
        if not image.is_floating_point():
            raise ImageError(f"expected floating-point values in [0, 1], got {image.dtype}")
        halvings = sum(isinstance(module, nn.MaxPool2d | nn.AvgPool2d) for module in self.net)
        if min(image.shape[2:]) < 2**halvings:
            height, width = image.shape[2:]
            raise ImageError(f"an image of {width} x {height} pixels is too small: this extractor needs {2**halvings}")
        x = (image - self.mean) / self.std
        x = x.to(dtype=self.precision, memory_format=torch.channels_last)
        features = {}
        for name, module in self.net.named_children():
            x = module(x)
            if name in self.layers:
                features[name] = x
        return {name: features[name] for name in self.layers}

    def _load(self, weights: str | os.PathLike[str] | None) -> str:
        """Fill the convolutions; return the name of the preprocessing that goes with the weights."""
        if weights is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                for module in self.net:
                    if isinstance(module, nn.Conv2d):
                        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                        nn.init.zeros_(module.get_parameter("bias"))
            return "torchvision"
        if not isinstance(weights, str | os.PathLike):
            raise ValueError(f"weights must be 'imagenet', 'torchvision', a path or None, not {shown(weights)}")
        if weights == "torchvision":
            tensors, preprocessing = _torchvision_weights(self.arch), "torchvision"
        else:
            if weights == "imagenet" and self.arch != "vgg16":
                raise ValueError("weights='imagenet' comes with the repository for arch='vgg16' only; use 'torchvision'")
            path = asset_path("vgg16") if weights == "imagenet" else Path(weights)
            tensors, preprocessing = _read_weights(path)

        # torchvision numbers convolutions, activations and poolings alike
        for index, (name, module) in enumerate(self.net.named_children()):
            if isinstance(module, nn.Conv2d):
                for kind, parameter in module.named_parameters():
                    key = f"features.{index}.{kind}"
                    if key not in tensors or tensors[key].shape != parameter.shape:
                        found = tuple(tensors[key].shape) if key in tensors else "nothing"
                        raise AssetError(
                            f"weights {weights!r} are not those of {self.arch}: "
                            f"{key} ({name}) should be {tuple(parameter.shape)}, found {found}"
                        )
                    if not torch.isfinite(tensors[key]).all():
                        raise AssetError(f"weights {weights!r}: {key} ({name}) holds NaN or infinity")
                    parameter.data.copy_(tensors[key])
        if preprocessing == "caffe":
            # trained on blue, green, red: turn the first filters round, once, in place of every image
            filters = self.net.get_parameter("conv1_1.weight").data
            filters.copy_(filters.flip(1))
        return preprocessing


def _torchvision_weights(arch: str) -> dict[str, Tensor]:
    from torchvision import models  # slow to import, and only needed here

    weights = {"vgg16": models.VGG16_Weights, "vgg19": models.VGG19_Weights}[arch].IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no disk; or the file does not match its hash
        raise AssetError(
            f"torchvision's weights for {arch} could not be had from {weights.url} ({error}). Check the connection, or use "
            "weights='imagenet', the VGG-16 that comes with the repository."
        ) from error


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise AssetError(f"weights {str(path)!r} cannot be read as safetensors: {error}") from error
    preprocessing = metadata.get("preprocessing", "torchvision")
    if preprocessing not in PREPROCESSING:
        raise AssetError(f"weights {str(path)!r}: preprocessing {preprocessing!r} is none of {', '.join(PREPROCESSING)}")
    return tensors, preprocessing
