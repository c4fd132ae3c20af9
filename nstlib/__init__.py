"""Perceptual loss for image-to-image translation: neural style transfer, taught and replicated."""

from nstlib.assets import AssetError, asset_path
from nstlib.images import ImageError, load_image, save_image
from nstlib.losses import PerceptualLoss, content_loss, gram_matrix, style_loss, total_variation
from nstlib.transfer import DivergenceError, StyleTransfer, TransferError, TransferResult, stylize
from nstlib.vgg import FeatureExtractor

__all__ = [
    "AssetError",
    "DivergenceError",
    "FeatureExtractor",
    "ImageError",
    "PerceptualLoss",
    "StyleTransfer",
    "TransferError",
    "TransferResult",
    "asset_path",
    "content_loss",
    "gram_matrix",
    "load_image",
    "save_image",
    "style_loss",
    "stylize",
    "total_variation",
]
