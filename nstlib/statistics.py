"""What of a style image's features is matched: Gram matrices, as on the poster, or means and covariances; settings for each."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nstlib.losses import feature_covariance, feature_mean, gram_matrix, matrix_root, style_loss, wasserstein_loss

CONTENT_LAYERS = {"relu4_2": 1.0}
STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0}

# what goes well with each statistic. The weights of a Gaussian's layers are about those of K. Crowson's transfer, 256, 64, 16,
# 4 and 1, as shares of relative losses; relu5_1, whose share would be 0.0002, is left out
SETTINGS: dict[str, dict[str, Any]] = {
    "gaussian": {
        "content_weight": 0.04,
        "style_weight": 1.0,
        "tv_weight": 0.06,
        "style_layers": {"relu1_1": 0.1, "relu2_1": 0.5, "relu3_1": 0.36, "relu4_1": 0.04},
        "coarsest": 128,
        "scale_step": math.sqrt(2),
        "optimizer": "adam",
        "pooling": "max",
    },
    "gram": {
        "content_weight": 1.0,
        "style_weight": 8.0,
        "tv_weight": 10.0,
        "style_layers": STYLE_LAYERS,
        "coarsest": 160,
        "scale_step": 1.9,
        "optimizer": "lbfgs",
        "pooling": "average",
    },
}


class GramTarget:
    """What Eq. (2) matches in one layer: the Gram matrix of a style image's features."""

    def __init__(self, gram: Tensor) -> None:
        self.gram = gram
        self.zero = style_loss(torch.zeros_like(gram), gram).clamp_min(1e-12)

    @staticmethod
    def moments(features: Tensor, mask: Tensor | None) -> list[Tensor]:
        """What is matched: means over positions."""
        return [gram_matrix(features, mask)]

    def loss(self, gram: Tensor) -> Tensor:
        """E_l of features with these moments, relative: 1 if they are all zero."""
        return style_loss(gram, self.gram) / self.zero


class GaussianTarget:
    """Mean and covariance of a style image's features in one layer, for ``wasserstein_loss``."""

    def __init__(self, mean: Tensor, gram: Tensor) -> None:
        self.mean, self.root = mean, matrix_root(feature_covariance(mean, gram))
        self.zero = (self.mean.square().sum() + self.root.square().sum()).clamp_min(1e-12)

    @staticmethod
    def moments(features: Tensor, mask: Tensor | None) -> list[Tensor]:
        """What is matched: means over positions."""
        return [feature_mean(features, mask), gram_matrix(features, mask)]

    def loss(self, mean: Tensor, gram: Tensor) -> Tensor:
        """The distance of features with these moments, relative: 1 if they are all zero."""
        return wasserstein_loss(mean, feature_covariance(mean, gram), self.mean, self.root) / self.zero


TARGETS: dict[str, Any] = {"gram": GramTarget, "gaussian": GaussianTarget}
