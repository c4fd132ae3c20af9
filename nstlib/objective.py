"""The objective of style transfer at one size: an image goes in, its named losses come out.

Content loss, style loss and total variation with their weights, for one style, a blend of several, or one style per region.

Source: Gatys, Ecker and Bethge, CVPR 2016, section 2.3; regions: Gatys et al., "Controlling Perceptual Factors in Neural Style
Transfer", CVPR 2017, section 4.1. One departure: losses are relative. Each layer's loss is divided by its value for features
that are all zero. In Eq. (3) this is a choice of w_l; with it all layers count alike, and the same weights serve VGG-16 and
VGG-19, either pooling, and any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nstlib.arguments import choice, proportions
from nstlib.arguments import weight as checked_weight
from nstlib.images import resize
from nstlib.losses import content_loss, total_variation
from nstlib.statistics import CONTENT_LAYERS, STYLE_LAYERS, TARGETS, GaussianTarget, GramTarget
from nstlib.vgg import FeatureExtractor

TILE = 1024  # side in pixels of the pieces in which large images are worked on; their features would fill the memory


class LossWeights:
    """The weights of the losses, checked.

    Args:
        content, style, tv: weights of content loss, style loss and total variation.
        content_layers, style_layers: layer name -> weight; only their proportions count.

    Raises:
        ValueError: a weight is negative or not finite, or all are 0.
    """

    def __init__(
        self,
        content: float = 1.0,
        style: float = 8.0,
        tv: float = 10.0,
        content_layers: Mapping[str, float] = CONTENT_LAYERS,
        style_layers: Mapping[str, float] = STYLE_LAYERS,
    ) -> None:
        self.content = checked_weight(content, "content_weight")
        self.style = checked_weight(style, "style_weight")
        self.tv = checked_weight(tv, "tv_weight")
        if not self.content + self.style + self.tv:
            raise ValueError("content_weight, style_weight and tv_weight are all 0: there is nothing to optimize")
        self.style_layers = proportions(style_layers, "style_layers")
        self.content_layers = proportions(content_layers, "content_layers")

    @property
    def layers(self) -> list[str]:
        """All layers that are used, each once."""
        return list(dict.fromkeys([*self.content_layers, *self.style_layers]))


@dataclass(frozen=True)
class Region:
    """A part of the image and the style that it gets."""

    share: float  # of the image
    targets: Mapping[str, GramTarget | GaussianTarget]  # of the style, by layer
    masks: Mapping[str, Tensor | None]  # layer -> (1, 1, H', W'), in [0, 1]; None is everywhere


@dataclass(frozen=True)
class Tile:
    """A window of an image, whose features are computed apart from those of other tiles. Rows and columns, in pixels."""

    inner: tuple[slice, slice]  # all tiles' together fill the image
    outer: tuple[slice, slice]  # what the features in the inner window depend on

    def crop(self, image: Tensor) -> Tensor:
        """The outer window of an image (1, 3, H, W), as a view."""
        rows, columns = self.outer
        return image[..., rows, columns]

    def of(self, features: Mapping[str, Tensor], strides: Mapping[str, int]) -> dict[str, Tensor]:
        """The part in the inner window, of features of the outer one."""
        window = [slice(i.start - o.start, i.stop - o.start) for i, o in zip(self.inner, self.outer, strict=True)]
        return {layer: _part(f, window, strides[layer]) for layer, f in features.items()}


def cut(height: int, width: int, side: int, margin: int) -> list[Tile]:
    """Cut an image into tiles: square, but those at the lower and right border.

    Args:
        height, width: of the image, in pixels.
        side: of a tile in pixels, a multiple of 16, so that all layers' positions fall on whole pixels.
        margin: how much further a tile's features see, to each side; a multiple of 16.
    """

    def parts(length: int) -> list[tuple[slice, slice]]:
        starts = range(0, max(length - 15, 1), side)  # no tile is too small for the deepest layer
        ends = [*starts[1:], length]
        return [(slice(a, b), slice(max(0, a - margin), min(length, b + margin))) for a, b in zip(starts, ends, strict=True)]

    return [Tile((y, x), (outer_y, outer_x)) for y, outer_y in parts(height) for x, outer_x in parts(width)]


def _part(features: Tensor, window: Sequence[slice], stride: int) -> Tensor:
    rows, columns = (slice(part.start // stride, part.stop // stride) for part in window)
    return features[..., rows, columns]


def _blend(moments: Sequence[Mapping[str, list[Tensor]]], shares: Sequence[float]) -> dict[str, list[Tensor]]:
    """The moments of a blend of styles, by layer: means of the styles' moments, weighted by ``shares``."""

    def mixed(same: Sequence[Tensor]) -> Tensor:
        return sum((share * moment for share, moment in zip(shares, same, strict=True)), start=torch.zeros(()))

    return {layer: [mixed(same) for same in zip(*(style[layer] for style in moments), strict=True)] for layer in moments[0]}


class _Known(torch.autograd.Function):
    """A value of an image whose gradient was computed along with it."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient * ctx.saved_tensors[0], None, None


Moments = dict[tuple[int, str], list[Tensor]]  # of each region's number and layer


class StyleObjective:
    """What a style transfer minimizes at one size.

    >>> objective = StyleObjective(extractor, content, [style])
    >>> losses = objective(image)
    >>> losses["total"].backward()

    Images larger than a tile are computed tile by tile. Losses and gradients are those of the whole image. This needs less
    memory, and about twice the time for each pixel.

    Args:
        extractor: gives the features of ``weights.layers``.
        content: shape (1, 3, H, W), RGB in [0, 1].
        styles: one or more, each (1, 3, H', W'), RGB in [0, 1], at the scale at which it is matched.
        weights: of the losses; may be replaced at any time by others of the same layers.
        blend: proportions of the styles, which sum to 1; equal if None. Without masks only.
        masks: one a style, each (1, 1, H'', W'') in [0, 1]: where on the content image it is matched.
        statistic: what of the features is matched: "gram", the Gram matrix (Eq. 2), or "gaussian", mean and covariance
            (``nstlib.wasserstein_loss``).
        tile: side of the tiles in pixels, a multiple of 16.

    Raises:
        ValueError: there is no such statistic.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        content: Tensor,
        styles: Sequence[Tensor],
        weights: LossWeights | None = None,
        blend: Sequence[float] | None = None,
        masks: Sequence[Tensor] | None = None,
        statistic: str = "gram",
        tile: int = TILE,
    ) -> None:
        self.extractor, self.tile, self.strides = extractor, tile, extractor.strides
        self.weights = weights = weights or LossWeights()
        target = TARGETS[choice(statistic, "statistic", list(TARGETS))]
        self.moments_of = target.moments
        self.tiles = self._cut(content)
        self._positions = {k: math.prod(side // stride for side in content.shape[2:]) for k, stride in self.strides.items()}
        with torch.no_grad():
            self.content_targets = self._content_features(content)
            moments = [self._style_moments(style) for style in styles]
            if masks is None:
                everywhere = dict.fromkeys(weights.style_layers)
                blended = _blend(moments, blend or [1 / len(styles)] * len(styles))
                self.regions = [Region(1.0, {layer: target(*found) for layer, found in blended.items()}, everywhere)]
            else:
                areas = [resize(mask, (content.shape[2], content.shape[3])) for mask in masks]
                self.regions = [
                    Region(
                        float(area.mean()),
                        {layer: target(*found) for layer, found in style.items()},
                        {layer: self._shrunk(area, layer) for layer in weights.style_layers},
                    )
                    for area, style in zip(areas, moments, strict=True)
                ]
        self.content_norms = {k: target.float().square().sum().clamp_min(1e-12) for k, target in self.content_targets.items()}

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Losses of an image of the content's size.

        Args:
            image: shape (1, 3, H, W), RGB in [0, 1].

        Returns:
            Scalars, not yet weighted: "content" and "style", relative, and "tv", a mean over the image's values; "total", their
            weighted sum. Call ``backward`` on "total" only.
        """
        weights = self.weights
        if len(self.tiles) == 1:
            features, (tile,) = self._features(image, self.tiles[0]), self.tiles
            content, style = self._content_loss(features, tile), self._style_loss(self._moments(features, tile))
            seen = weights.content * content + weights.style * style
        else:
            content, style, gradient = self._in_tiles(image.detach())
            seen = _Known.apply(image, weights.content * content + weights.style * style, gradient)
        tv = total_variation(image) / image.numel()
        return {"content": content, "style": style, "tv": tv, "total": seen + weights.tv * tv}

    def _in_tiles(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Content loss, style loss, and the gradient of their weighted sum.

        The moments are means over positions. A first pass over the tiles adds them up for the whole image, and then gives the
        style loss and its gradient with respect to the moments. A second pass backpropagates this gradient to the pixels.
        """
        content, moments = image.new_zeros(()), Moments()
        with torch.no_grad():
            for tile in self.tiles:
                features = self._features(tile.crop(image), tile)
                content = content + self._content_loss(features, tile)
                for key, found in self._moments(features, tile).items():
                    moments[key] = [a + b for a, b in zip(moments[key], found, strict=True)] if key in moments else found
        leaves = [moment.requires_grad_(True) for found in moments.values() for moment in found]
        style = self._style_loss(moments)
        downhill = torch.autograd.grad(style, leaves)
        gradient = torch.zeros_like(image)
        for tile in self.tiles:
            crop = tile.crop(image).clone().requires_grad_(True)
            features = self._features(crop, tile)
            found = [moment for part in self._moments(features, tile).values() for moment in part]
            style_part = sum(((g * m).sum() for g, m in zip(downhill, found, strict=True)), start=torch.zeros(()))
            value = self.weights.content * self._content_loss(features, tile) + self.weights.style * style_part
            tile.crop(gradient).add_(torch.autograd.grad(value, crop)[0])
        return content, style.detach(), gradient

    def _cut(self, image: Tensor) -> list[Tile]:
        margin = -(-self.extractor.reach // 16) * 16
        return cut(image.shape[2], image.shape[3], self.tile, margin)

    def _features(self, crop: Tensor, tile: Tile) -> dict[str, Tensor]:
        return tile.of(self.extractor(crop), self.strides)

    def _shrunk(self, area: Tensor, layer: str) -> Tensor:
        """A mask at the size of a layer's features."""
        return F.interpolate(area, [side // self.strides[layer] for side in area.shape[2:]], mode="area")

    def _content_features(self, content: Tensor) -> dict[str, Tensor]:
        whole: dict[str, Tensor] = {}
        for tile in self._cut(content):
            features = self._features(tile.crop(content), tile)
            for layer in self.weights.content_layers:
                part, stride = features[layer], self.strides[layer]
                size = [side // stride for side in content.shape[2:]]
                whole.setdefault(layer, part.new_empty((1, part.shape[1], *size)))
                _part(whole[layer], tile.inner, stride).copy_(part)
        return whole

    def _style_moments(self, style: Tensor) -> dict[str, list[Tensor]]:
        """What is matched of a style image, by layer."""
        whole: dict[str, list[Tensor]] = {}
        for tile in self._cut(style):
            features = self._features(tile.crop(style), tile)
            for layer in self.weights.style_layers:
                part = features[layer]
                share = part[0, 0].numel() / math.prod(side // self.strides[layer] for side in style.shape[2:])
                found = [share * moment for moment in self.moments_of(part, None)]
                whole[layer] = [a + b for a, b in zip(whole[layer], found, strict=True)] if layer in whole else found
        return whole

    def _moments(self, features: Mapping[str, Tensor], tile: Tile) -> Moments:
        """A tile's part of what is matched of an image: the tiles' parts add up."""
        moments = Moments()
        for number, region in enumerate(self.regions):
            for layer, mask in region.masks.items():
                part = features[layer]
                share: float | Tensor
                if mask is None:
                    share = part[0, 0].numel() / self._positions[layer]
                    inside = None
                else:
                    inside = _part(mask, tile.inner, self.strides[layer])
                    share = inside.sum() / mask.sum().clamp_min(1e-8)
                moments[number, layer] = [share * moment for moment in self.moments_of(part, inside)]
        return moments

    def _style_loss(self, moments: Moments) -> Tensor:
        """Eq. (3), with w_l = weight / (E_l of all-zero features), each region by its share of the image."""
        losses = (
            self.regions[number].share * self.weights.style_layers[layer] * self.regions[number].targets[layer].loss(*found)
            for (number, layer), found in moments.items()
        )
        return sum(losses, start=torch.zeros(()))

    def _content_loss(self, features: Mapping[str, Tensor], tile: Tile) -> Tensor:
        """Eq. (1) of a tile, relative: the tiles' parts add up."""
        losses = (
            weight * content_loss(features[layer], _part(target, tile.inner, self.strides[layer])) / self.content_norms[layer]
            for layer, weight in self.weights.content_layers.items()
            for target in [self.content_targets[layer]]
        )
        return sum(losses, start=torch.zeros(()))
