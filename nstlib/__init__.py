"""Perceptual loss for image-to-image translation: neural style transfer and anime colorization, taught and replicated."""

from nstlib import edges
from nstlib.assets import AssetError, asset_path
from nstlib.colorizer import Colorizer, ColorizerError, Recipe
from nstlib.cyclegan import CycleGAN, CycleRecipe
from nstlib.edges import Condition
from nstlib.frames import AnimeFrames, FrameFolder, VideoFrames
from nstlib.images import ImageError, load_image, save_image
from nstlib.losses import PerceptualLoss, content_loss, gram_matrix, style_loss, total_variation
from nstlib.medical import MedicalPatches
from nstlib.metrics import color_accuracy
from nstlib.transfer import DivergenceError, StyleTransfer, TransferError, TransferResult, stylize
from nstlib.vgg import FeatureExtractor

__all__ = [
    "AnimeFrames",
    "AssetError",
    "Colorizer",
    "ColorizerError",
    "Condition",
    "CycleGAN",
    "CycleRecipe",
    "DivergenceError",
    "FeatureExtractor",
    "FrameFolder",
    "ImageError",
    "MedicalPatches",
    "PerceptualLoss",
    "Recipe",
    "StyleTransfer",
    "TransferError",
    "TransferResult",
    "VideoFrames",
    "asset_path",
    "color_accuracy",
    "content_loss",
    "edges",
    "gram_matrix",
    "load_image",
    "save_image",
    "style_loss",
    "stylize",
    "total_variation",
]
