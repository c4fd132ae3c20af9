"""Perceptual loss for image-to-image translation: neural style transfer and anime colorization, taught and replicated."""

from nstlib import edges
from nstlib.anime import AnimeClip, AnimeFrames
from nstlib.anime_pairs import AnimePairs
from nstlib.assets import AssetError, asset_path
from nstlib.colorizer import Colorizer, ColorizerRecipe
from nstlib.correspondence import match_colors
from nstlib.cyclegan import CycleGAN, CycleRecipe
from nstlib.datasets import CachedFrames
from nstlib.edges import Condition
from nstlib.fast_style import FastStyle, FastStyleRecipe, RandomCrops
from nstlib.frames import FrameFolder, PairFolder, VideoFrames
from nstlib.hints import Dab
from nstlib.images import ImageError, load_alpha, load_image, save_image
from nstlib.losses import (
    PerceptualLoss,
    adversarial_loss,
    color_loss,
    content_loss,
    discriminator_loss,
    feature_covariance,
    feature_distance,
    feature_mean,
    gram_matrix,
    image_gradient_loss,
    matrix_root,
    style_loss,
    total_variation,
    wasserstein_loss,
)
from nstlib.medical import MedicalPatches
from nstlib.metrics import color_accuracy
from nstlib.objective import StyleObjective
from nstlib.reference import ReferenceColorizer, ReferenceRecipe
from nstlib.training import ModelError
from nstlib.transfer import DivergenceError, StyleTransfer, TransferError, TransferResult, stylize
from nstlib.vgg import FeatureExtractor
from nstlib.video import convert_video

__all__ = [
    "AnimeClip",
    "AnimeFrames",
    "AnimePairs",
    "AssetError",
    "CachedFrames",
    "Colorizer",
    "ColorizerRecipe",
    "Condition",
    "CycleGAN",
    "CycleRecipe",
    "Dab",
    "DivergenceError",
    "FastStyle",
    "FastStyleRecipe",
    "FeatureExtractor",
    "FrameFolder",
    "ImageError",
    "MedicalPatches",
    "ModelError",
    "PairFolder",
    "PerceptualLoss",
    "RandomCrops",
    "ReferenceColorizer",
    "ReferenceRecipe",
    "StyleObjective",
    "StyleTransfer",
    "TransferError",
    "TransferResult",
    "VideoFrames",
    "adversarial_loss",
    "asset_path",
    "color_accuracy",
    "color_loss",
    "content_loss",
    "convert_video",
    "discriminator_loss",
    "edges",
    "feature_covariance",
    "feature_distance",
    "feature_mean",
    "gram_matrix",
    "image_gradient_loss",
    "load_alpha",
    "load_image",
    "match_colors",
    "matrix_root",
    "save_image",
    "style_loss",
    "stylize",
    "total_variation",
    "wasserstein_loss",
]
