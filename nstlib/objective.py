"""The objective of style transfer at one size: an image goes in, its named losses come out.

Content loss, style loss and total variation with their weights, for one style, a blend of several, or one style per region.

Source: Gatys, Ecker and Bethge, CVPR 2016, section 2.3; regions: Gatys et al., "Controlling Perceptual Factors in Neural Style
Transfer", CVPR 2017, section 4.1. One departure: losses are relative. Each layer's loss is divided by its value for features
that are all zero. In Eq. (3) this is a choice of w_l; with it all layers count alike, and the same weights serve VGG-16 and
VGG-19, either pooling, and any size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nstlib.arguments import proportions
from nstlib.arguments import weight as checked_weight
from nstlib.images import resize
from nstlib.losses import content_loss, gram_matrix, style_loss, total_variation
from nstlib.vgg import FeatureExtractor

CONTENT_LAYERS = {"relu4_2": 1.0}
STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0}


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
    grams: dict[str, Tensor]  # layer -> target Gram matrix A
    zero: dict[str, Tensor]  # layer -> E_l of all-zero features
    masks: dict[str, Tensor | None]  # layer -> (1, 1, H', W'), in [0, 1]; None is everywhere


class StyleObjective:
    """What a style transfer minimizes at one size.

    >>> objective = StyleObjective(extractor, content, [style])
    >>> losses = objective(image)
    >>> losses["total"].backward()

    Args:
        extractor: gives the features of ``weights.layers``.
        content: shape (1, 3, H, W), RGB in [0, 1].
        styles: one or more, each (1, 3, H', W'), RGB in [0, 1], at the scale at which it is matched.
        weights: of the losses; may be replaced at any time by others of the same layers.
        blend: proportions of the styles, which sum to 1; equal if None. Without masks only.
        masks: one a style, each (1, 1, H'', W'') in [0, 1]: where on the content image it is matched.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        content: Tensor,
        styles: Sequence[Tensor],
        weights: LossWeights | None = None,
        blend: Sequence[float] | None = None,
        masks: Sequence[Tensor] | None = None,
    ) -> None:
        self.extractor = extractor
        self.weights = weights = weights or LossWeights()
        blend = blend if blend is not None else [1 / len(styles)] * len(styles)
        with torch.no_grad():
            features = extractor(content)
            self.content_targets = {layer: features[layer] for layer in weights.content_layers}
            sizes = {layer: features[layer].shape[2:] for layer in weights.style_layers}
            grams = [self.style_grams(style) for style in styles]
        if masks is None:
            # blending targets has the same gradient as blending the losses of several targets, and costs as one
            zero = torch.zeros(())
            blended = {layer: sum((b * g[layer] for b, g in zip(blend, grams, strict=True)), start=zero) for layer in sizes}
            self.regions = [self._region(None, blended, sizes)]
        else:
            masks = [resize(mask, (content.shape[2], content.shape[3])) for mask in masks]
            self.regions = [self._region(mask, g, sizes) for mask, g in zip(masks, grams, strict=True)]

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Losses of an image of the content's size.

        Args:
            image: shape (1, 3, H, W), RGB in [0, 1].

        Returns:
            Scalars: "content", "style" and "tv", relative and not yet weighted; "total", their weighted sum.
        """
        weights = self.weights
        features = self.extractor(image)
        content = sum(
            weight * content_loss(features[layer], target) / target.float().square().sum().clamp_min(1e-12)
            for layer, weight in weights.content_layers.items()
            for target in [self.content_targets[layer]]
        )
        style = sum(region.share * self._style_loss(features, region) for region in self.regions)
        tv = total_variation(image) / image.numel()
        total = weights.content * content + weights.style * style + weights.tv * tv
        return {"content": content, "style": style, "tv": tv, "total": total}

    def style_grams(self, style: Tensor) -> dict[str, Tensor]:
        """Gram matrices A of a style image: style layer -> (1, N, N)."""
        features = self.extractor(style)
        return {layer: gram_matrix(features[layer]) for layer in self.weights.style_layers}

    def _style_loss(self, features: Mapping[str, Tensor], region: Region) -> Tensor:
        """Eq. (3) for one region, with w_l = weight / (E_l of all-zero features)."""
        losses = (
            weight / region.zero[layer] * style_loss(gram_matrix(features[layer], region.masks[layer]), region.grams[layer])
            for layer, weight in self.weights.style_layers.items()
        )
        return sum(losses, start=torch.zeros(()))

    @staticmethod
    def _region(mask: Tensor | None, grams: dict[str, Tensor], sizes: Mapping[str, Sequence[int]]) -> Region:
        return Region(
            share=1.0 if mask is None else float(mask.mean()),
            grams=grams,
            zero={layer: style_loss(torch.zeros_like(gram), gram).clamp_min(1e-12) for layer, gram in grams.items()},
            masks={layer: None if mask is None else F.interpolate(mask, size, mode="area") for layer, size in sizes.items()},
        )
