"""Metrics: color accuracy (Table 1), PSNR, SSIM, perceptual distance, edge agreement.

All take images (B, 3, H, W), RGB in [0, 1], prediction first, and give one value an image, shape (B,).
"""

from __future__ import annotations

import kornia.metrics
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nstlib.arguments import choice, number
from nstlib.color import AB_RANGE, lab_to_rgb, rgb_to_lab
from nstlib.edges import canny
from nstlib.images import ImageError, check_images
from nstlib.vgg import FeatureExtractor


def color_accuracy(pred: Tensor, target: Tensor, threshold: float = 2.0, channels: str = "lab") -> Tensor:
    """The share of pixels whose color is right within ``threshold`` percent of each channel's range, in CIELAB.

        acc = mean over pixels of [ |rL - rL^| <= t  and  |ra - ra^| <= 2.2 t  and  |rb - rb^| <= 2.2 t ]

    with r = round to integer. The poster does not define its accuracy; this is the metric of the code that two
    of its authors published with Nazeri, Ng, Ebrahimi 2018 (arXiv 1803.05400). There t is 2; the paper reports t = 2 and 5.

    Args:
        pred, target: shape (B, 3, H, W), RGB in [0, 1].
        threshold: t, in percent, 0 or more.
        channels: "lab", as above; or "ab", color alone, so that lightness gives nothing away.

    Returns:
        Shape (B,), in [0, 1].

    Raises:
        ImageError: not such images, of different shapes, or NaN.
        ValueError: no such threshold or channels.
    """
    _check_pair(pred, target)
    number(threshold, "threshold", least=0)
    choice(channels, "channels", ("lab", "ab"))
    return _share_within(_rounded_lab(pred), _rounded_lab(target), threshold, channels)


def _rounded_lab(image: Tensor) -> Tensor:
    return rgb_to_lab(image.float()).round()


def _share_within(pred_lab: Tensor, target_lab: Tensor, threshold: float, channels: str) -> Tensor:
    # L has a range of 100, a and b of 220; the small number is for values of 2.2 t that binary fractions just miss
    limits = pred_lab.new_tensor([threshold, *([2 * AB_RANGE / 100 * threshold] * 2)])[:, None, None] + 1e-4
    right = (pred_lab - target_lab).abs() <= limits
    if channels == "ab":
        right = right[:, 1:]
    return right.all(dim=1).float().mean(dim=(1, 2))


def psnr(pred: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over RGB; infinite for equal images.

    Raises:
        ImageError: not such images, of different shapes, or NaN.
    """
    _check_pair(pred, target)
    return torch.stack([kornia.metrics.psnr(*pair, 1.0) for pair in zip(pred, target, strict=True)])


def ssim(pred: Tensor, target: Tensor) -> Tensor:
    """Structural similarity over RGB, Gaussian window of 11 pixels, where it lies within the image; Z. Wang et al., 2004.

    Raises:
        ImageError: not such images, of different shapes, NaN, or under 11 pixels a side.
    """
    _check_pair(pred, target)
    if min(pred.shape[2:]) < 11:
        raise ImageError(f"SSIM's window is 11 pixels wide; {pred.shape[3]} x {pred.shape[2]} is too small")
    return kornia.metrics.ssim(pred, target, window_size=11, padding="valid").mean(dim=(1, 2, 3))


def edge_agreement(pred: Tensor, target: Tensor, sigma: float = 1.0) -> dict[str, Tensor]:
    """Do Canny's lines of the prediction lie where the target's do, on the very pixel?

    Precision: the share of the prediction's lines that lie on the target's; recall: the share of the target's that the
    prediction has; F1, their harmonic mean. The usual evaluation of contours (D. Martin, C. Fowlkes, J. Malik, PAMI 2004)
    tolerates small shifts. We do not: frames of 64 pixels are crowded with lines, so with this tolerance even a mirrored frame
    would reach 0.7.

    Args:
        pred, target: shape (B, 3, H, W), RGB in [0, 1].
        sigma: Canny's, in pixels.

    Returns:
        "edge_precision", "edge_recall", "edge_f1", each of shape (B,), in [0, 1]; 1 where neither image has a line.

    Raises:
        ImageError: not such images, of different shapes, or NaN.
    """
    _check_pair(pred, target)
    lines = [1 - canny(image, sigma) for image in (pred, target)]
    both = (lines[0] * lines[1]).sum(dim=(1, 2, 3))
    count = [image.sum(dim=(1, 2, 3)) for image in lines]
    none = (count[0] + count[1] == 0).float()
    precision, recall = (both / number.clamp_min(1) + none for number in count)
    f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
    return {"edge_precision": precision, "edge_recall": recall, "edge_f1": f1}


class PerceptualDistance(nn.Module):
    """How different two images look to VGG: the distance of unit-length features, averaged over five layers.

    LPIPS (R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, Eq. 1) with
    all its weights w equal to 1: its "baseline" version. The calibrated weights are not included. Eq. 1 sums over the layers;
    this is their mean. 0 for equal images; values compare with each other, not with published ones.
    """

    LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")

    def __init__(self) -> None:
        super().__init__()
        self.extractor = FeatureExtractor(layers=list(self.LAYERS))

    @torch.no_grad()
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W), RGB in [0, 1], to (B,).

        Raises:
            ImageError: not such images, of different shapes, or NaN.
        """
        _check_pair(pred, target)
        features = self.extractor(pred), self.extractor(target)
        distances = [
            (F.normalize(features[0][layer], dim=1) - F.normalize(features[1][layer], dim=1)).square().sum(1).mean(dim=(1, 2))
            for layer in self.LAYERS
        ]
        return torch.stack(distances).mean(0)


def measure(pred: Tensor, target: Tensor) -> dict[str, Tensor]:
    """All that Table 1 and its neighbors report, one value an image, each of shape (B,).

    "accuracy" (t = 2), "accuracy_5" (t = 5), "accuracy_ab" and "accuracy_ab_5" (the same in a and b only), "psnr" in dB,
    "ssim".

    Raises:
        ImageError: as ``color_accuracy`` and ``ssim``.
    """
    _check_pair(pred, target)
    labs = _rounded_lab(pred), _rounded_lab(target)  # once for all four: it is most of their work
    return {
        "accuracy": _share_within(*labs, 2, "lab"),
        "accuracy_5": _share_within(*labs, 5, "lab"),
        "accuracy_ab": _share_within(*labs, 2, "ab"),
        "accuracy_ab_5": _share_within(*labs, 5, "ab"),
        "psnr": psnr(pred, target),
        "ssim": ssim(pred, target),
    }


def gray_baseline(target: Tensor) -> Tensor:
    """What a colorizer without color gives: the target's lightness, a = b = 0.

    Args:
        target: shape (B, 3, H, W), RGB in [0, 1].

    Returns:
        Shape (B, 3, H, W), RGB in [0, 1].
    """
    lab = rgb_to_lab(check_images(target))
    return lab_to_rgb(torch.cat([lab[:, :1], torch.zeros_like(lab[:, 1:])], dim=1))


def mean_color(images: Tensor) -> Tensor:
    """The images' mean color, taken in CIELAB: what a colorizer would give that knows nothing but the average.

    Args:
        images: shape (B, 3, H, W), RGB in [0, 1].

    Returns:
        Shape (1, 3, 1, 1), RGB in [0, 1].
    """
    return lab_to_rgb(rgb_to_lab(check_images(images)).mean(dim=(0, 2, 3), keepdim=True))


def _check_pair(pred: Tensor, target: Tensor) -> None:
    check_images(pred, "pred")
    check_images(target, "target")
    if pred.shape != target.shape:
        raise ImageError(f"pred has shape {tuple(pred.shape)}, target {tuple(target.shape)}")
