"""Three style transfers as others write them, on the VGG-16 that comes with nstlib, to be compared with it in one run.

Each is a loop of our own with the settings of theirs, in float32 and torchvision's memory layout. It yields the image after
every iteration, as it can be saved: (1, 3, H, W), RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import nstlib
from nstlib.images import resize
from nstlib.vgg import PREPROCESSING, layer_names

STYLE_LAYERS = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
CONTENT_LAYER = "relu4_2"


class Network:
    """torchvision's VGG-16 module with nstlib's weights.

    Args:
        pooling: "max" or "average".
        device: where to compute.
        border: padding of the first convolution, "zeros" or "replicate".
    """

    def __init__(self, pooling: str, device: torch.device, border: str = "zeros") -> None:
        layers = torchvision.models.vgg16(weights=None).features[: layer_names().index("relu5_1") + 1]
        for theirs, ours in zip(layers, nstlib.FeatureExtractor(layers=["relu5_1"]).net, strict=True):
            if isinstance(theirs, nn.Conv2d):
                theirs.load_state_dict(ours.state_dict())
        if border == "replicate":
            first = nn.Conv2d(3, 64, kernel_size=3, padding=1, padding_mode="replicate")
            first.load_state_dict(layers[0].state_dict())
            layers[0] = first
        if pooling == "average":
            layers = nn.Sequential(*[nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer for layer in layers])
        self.layers = layers.requires_grad_(False).eval().to(device)
        mean, std = PREPROCESSING["caffe"]
        self.mean, self.std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Features (N, M) of an image, M positions, by layer."""
        x, found = (image - self.mean) / self.std, {}
        for name, layer in zip(layer_names(), self.layers, strict=False):
            x = layer(x)
            if name in STYLE_LAYERS or name == CONTENT_LAYER:
                found[name] = x[0].flatten(1)
        return found


class Tutorial:
    """PyTorch's tutorial, with nstlib's relative losses: one scale, L-BFGS without line search, pixels clamped in the closure.

    Attributes:
        lowest: the lowest loss so far.
    """

    def __init__(self, content: Tensor, style: Tensor) -> None:
        self.content, self.network, self.lowest = content, Network("average", content.device), float("inf")
        with torch.no_grad():
            self.target = self.network(content)[CONTENT_LAYER]
            self.grams = {layer: self._gram(f) for layer, f in self.network(style).items() if layer in STYLE_LAYERS}

    def images(self, iterations: int) -> Iterator[Tensor]:
        """The image after each iteration."""
        image = (255 * self.content).clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([image], max_iter=1, tolerance_grad=0, tolerance_change=0)

        def closure() -> Tensor:
            with torch.no_grad():
                image.clamp_(0, 255)
            optimizer.zero_grad()
            loss = 1e6 * self._loss(image / 255)  # large, so that L-BFGS's first step is not lost in rounding
            loss.backward()
            self.lowest = min(self.lowest, loss.item() / 1e6)
            return loss

        for _ in range(iterations):
            optimizer.step(closure)
            yield (image.detach() / 255).clamp(0, 1)

    @torch.no_grad()
    def loss_of(self, image: Tensor) -> float:
        """The loss of an image as it can be saved."""
        return float(self._loss(image.clamp(0, 1)))

    def _loss(self, image: Tensor) -> Tensor:
        features = self.network(image)
        content = (features[CONTENT_LAYER] - self.target).square().sum() / self.target.square().sum()
        style = sum((self._gram(features[k]) - a).square().sum() / a.square().sum() for k, a in self.grams.items())
        roughness = (image.diff(dim=3).square().sum() + image.diff(dim=2).square().sum()) / image.numel()
        return content + 8 * style / len(self.grams) + 10 * roughness

    @staticmethod
    def _gram(f: Tensor) -> Tensor:
        return f @ f.T / f.shape[1]


def neural_style_pt(content: Tensor, style: Tensor, iterations: int = 1000) -> Iterator[Tensor]:
    """github.com/ProGamerGov/neural-style-pt, neural_style.py with its defaults: from noise, one scale, L-BFGS."""
    network = Network("max", content.device)

    def gram(f: Tensor) -> Tensor:
        return f @ f.T / f.numel()

    with torch.no_grad():
        target = network(content)[CONTENT_LAYER]
        grams = {layer: gram(f) for layer, f in network(style).items() if layer in STYLE_LAYERS}
    # 0 to 255, less the mean color
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(content.shape, generator=generator).mul(0.001).to(content.device).requires_grad_(True)
    optimizer = torch.optim.LBFGS([image], max_iter=1, tolerance_grad=-1, tolerance_change=-1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        features = network(image / 255 + network.mean)
        loss = 5 * F.mse_loss(features[CONTENT_LAYER], target)
        for layer, a in grams.items():
            loss = loss + 100 * F.mse_loss(gram(features[layer]), a)
        loss = loss + 1e-3 * (image.diff(dim=3).abs().sum() + image.diff(dim=2).abs().sum())
        loss.backward()
        return loss

    for _ in range(iterations):
        optimizer.step(closure)
        yield (image.detach() / 255 + network.mean).clamp(0, 1)


def style_transfer_pytorch(content: Tensor, style: Tensor, first: int = 1000, iterations: int = 500) -> Iterator[Tensor]:
    """github.com/crowsonkb/style-transfer-pytorch with its defaults: scales a factor of sqrt 2 apart from 128 px on, means and
    covariances, Adam, averaged iterates.

    Args:
        first, iterations: at the coarsest scale, and at each of the others.
    """
    network, weights = Network("max", content.device, border="replicate"), torch.tensor([256.0, 64, 16, 4, 1])
    weights = weights / weights.sum()
    end = max(content.shape[2:])
    scales = sorted({round(end / 2 ** (i / 2)) for i in range(20) if round(end / 2 ** (i / 2)) >= min(128, end)})
    image, state = resize(content, scales[0]), None
    for scale in scales:
        with torch.no_grad():
            there = resize(content, scale)
            target = network(there)[CONTENT_LAYER]
            gaussians = {layer: _Gaussian(f) for layer, f in network(resize(style, scale)).items() if layer in STYLE_LAYERS}
        image = F.interpolate(image, there.shape[2:], mode="bicubic").clamp(0, 1).detach().requires_grad_(True)
        optimizer = torch.optim.Adam([image], lr=0.02, betas=(0.9, 0.99))
        if state is not None:
            moments = state["state"][0]
            moments["exp_avg"] = F.interpolate(moments["exp_avg"], there.shape[2:], mode="bicubic")
            moments["exp_avg_sq"] = F.interpolate(moments["exp_avg_sq"], there.shape[2:], mode="bilinear").relu()
            optimizer.load_state_dict(state)
        average, left = 0.01 * image.detach(), 0.99
        for _ in range(first if scale == scales[0] else iterations):
            optimizer.zero_grad()
            features = network(image)
            loss = 0.015 * F.mse_loss(features[CONTENT_LAYER], target) + 2 * _roughness(image)
            for weight, (layer, gaussian) in zip(weights, gaussians.items(), strict=True):
                loss = loss + weight * gaussian.distance(features[layer])
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                image.clamp_(0, 1)
                average, left = 0.99 * average + 0.01 * image, 0.99 * left
            yield (average / (1 - left)).clamp(0, 1)
        state, image = optimizer.state_dict(), average / (1 - left)


class _Gaussian:
    """Mean and covariance of a style's features, and the Wasserstein distance of others from them, by Newton and Schulz."""

    def __init__(self, features: Tensor) -> None:
        self.mean, self.covariance = self._moments(features)
        self.root = _NewtonSchulz.apply(self.covariance)

    def distance(self, features: Tensor) -> Tensor:
        mean, covariance = self._moments(features)
        both = _NewtonSchulz.apply(self.root @ covariance @ self.root)
        return F.mse_loss(mean, self.mean) + (self.covariance + covariance - 2 * both).diagonal().mean()

    @staticmethod
    def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
        mean = features.mean(1)
        covariance = features @ features.T / features.shape[1] - torch.outer(mean, mean)
        return mean, covariance + 1e-4 * torch.eye(len(mean), device=mean.device)


class _NewtonSchulz(torch.autograd.Function):
    """The square root of a matrix in twelve iterations, and its gradient by the Lyapunov equation in twelve more."""

    @staticmethod
    def forward(ctx, a: Tensor) -> Tensor:
        norm, three = a.norm(), 3 * torch.eye(len(a), device=a.device)
        y, z = a / norm, three / 3
        for _ in range(12):
            t = (three - z @ y) / 2
            y, z = y @ t, t @ z
        root = y * norm.sqrt()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        norm, three = root.norm(), 3 * torch.eye(len(root), device=root.device)
        a, q = root / norm, gradient / norm
        for _ in range(12):
            rest = three - a @ a
            q = (q @ rest - a.T @ (a.T @ q - q @ a)) / 2
            a = a @ rest / 2
        return q / 2


def _roughness(image: Tensor) -> Tensor:
    """Total variation on nine points."""
    x = F.pad(image, (1, 1, 1, 1), "replicate")
    here, left, right = slice(1, -1), slice(None, -1), slice(1, None)
    across = (x[..., here, 2:] - x[..., here, here]).square().mean() / 3
    down = (x[..., 2:, here] - x[..., here, here]).square().mean() / 3
    diagonals = (x[..., right, right] - x[..., left, left]).square().mean() + (
        x[..., right, left] - x[..., left, right]
    ).square().mean()
    return 2 * (across + down + diagonals / 12)
