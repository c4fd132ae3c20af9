"""The poster's losses as pure functions: Eq. (1)-(3) on features, Eq. (4) and (5) on a discriminator's logits.

Every function is differentiable. Losses are scalar tensors. For each image, ``feature_mean`` returns a vector, and
``gram_matrix``, ``feature_covariance`` and ``matrix_root`` return a matrix. Features are what ``nstlib.FeatureExtractor``
returns: tensors of shape (B, N, H, W), N filters over M = H * W positions. Equations (1) to (3) are for one image; over a batch
these losses are summed. Logits may have any shape; (4) and (5) are means over them.

Source: Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016; Goodfellow et al.,
"Generative Adversarial Nets", NeurIPS 2014; the poster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nstlib.arguments import choice, shown
from nstlib.arguments import weight as checked_weight
from nstlib.vgg import FeatureExtractor


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    r"""Poster Eq. (1): :math:`\sum_{ij} (F_{ij} - P_{ij})^2`.

    Gatys et al. (their Eq. 1) put a factor 1/2 in front; the poster does not, and neither do we.

    Args:
        features: F, features of the image being made, shape (B, N, H, W).
        target: P, features of the content image, same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if features.shape != target.shape:
        raise ValueError(f"features and target have different shapes: {tuple(features.shape)} and {tuple(target.shape)}")
    return (_full(features) - _full(target)).square().sum()


def gram_matrix(features: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""How strongly any two filters fire together: :math:`G_{ij} = \frac{1}{M} \sum_k F_{ik} F_{jk}`.

    Gatys et al. (their Eq. 3) sum over the M positions and divide by M² later, in the loss. We divide here: the loss comes
    out the same, and images of different sizes can be compared.

    Args:
        features: F, shape (B, N, H, W).
        mask: weight of each position, shape (1 or B, 1, H, W), not negative; the mean becomes a weighted mean, so that
            the matrix describes one region (Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer",
            CVPR 2017, section 4.1). An empty region gives zeros.

    Returns:
        Shape (B, N, N), symmetric, positive semi-definite.

    Raises:
        ValueError: the mask does not have the features' size.
    """
    f = features.permute(0, 2, 3, 1).flatten(1, 2)  # (B, M, N): no copy for channels_last, as FeatureExtractor gives
    total: int | Tensor
    if mask is None:
        weighted, total = f, f.shape[1]
    else:
        m = _checked_mask(mask, features).to(f.dtype).permute(0, 2, 3, 1).flatten(1, 2)
        weighted, total = f * m, _full(m).sum(dim=1, keepdim=True).clamp_min(1e-8)
    # image by image: the batched product is ten times slower in bfloat16 on a CPU
    return _full(torch.stack([w.mT @ x for w, x in zip(weighted, f, strict=True)])) / total


def style_loss(gram: Tensor, target: Tensor) -> Tensor:
    r"""Poster Eq. (2), with squares: :math:`E_l = \frac{1}{4 N^2} \sum_{ij} (G_{ij} - A_{ij})^2`.

    In our text of the poster it is :math:`\frac{1}{4NM} \sum (G - A)`, without squares. That is no distance (it falls below
    zero, and is least where no filter fires), while the same text says "euclidean distance". Gatys et al.
    (their Eq. 4) have :math:`\frac{1}{4 N^2 M^2} \sum (G - A)^2`; the :math:`1/M^2` is already in our Gram matrices.

    Args:
        gram: G, ``gram_matrix`` of the image being made, shape (B, N, N).
        target: A, ``gram_matrix`` of the style image, same shape (or a batch of 1).

    Raises:
        ValueError: the shapes do not fit.
    """
    if gram.shape[1:] != target.shape[1:] or target.shape[0] not in (1, gram.shape[0]):
        raise ValueError(f"gram and target have different sizes: {tuple(gram.shape)} and {tuple(target.shape)}")
    n = gram.shape[-1]
    return (gram - target).square().sum() / (4 * n**2)


def feature_mean(features: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""How strongly each filter fires: :math:`\mu_i = \frac{1}{M} \sum_k F_{ik}`.

    Args:
        features: F, shape (B, N, H, W).
        mask: as in ``gram_matrix``.

    Returns:
        Shape (B, N).

    Raises:
        ValueError: the mask does not have the features' size.
    """
    f = _full(features)
    if mask is None:
        return f.mean(dim=(2, 3))
    return (f * _checked_mask(mask, features)).sum(dim=(2, 3)) / _full(mask).sum(dim=(2, 3)).clamp_min(1e-8)


def feature_covariance(mean: Tensor, gram: Tensor) -> Tensor:
    r"""How any two filters vary together: :math:`\Sigma_{ij} = G_{ij} - \mu_i \mu_j`.

    Args:
        mean: ``feature_mean``, shape (B, N).
        gram: ``gram_matrix`` of the same features, shape (B, N, N).

    Returns:
        Shape (B, N, N).
    """
    return gram - mean[:, :, None] * mean[:, None, :]


def wasserstein_loss(mean: Tensor, covariance: Tensor, target_mean: Tensor, target_root: Tensor) -> Tensor:
    r"""How far features are from those of a style image, if both are taken for samples of a normal distribution: the squared
    2-Wasserstein distance, :math:`|\mu - \hat\mu|^2 + \mathrm{tr}(\Sigma + \hat\Sigma - 2 (\hat\Sigma^{1/2} \Sigma
    \hat\Sigma^{1/2})^{1/2})`.

    It is the least mean squared distance by which features must be moved to get the other mean and covariance. It grows with
    the square of the activations. Eq. (2) grows with the fourth power, because its Gram matrices already hold squares; so it
    sees the strong filters and hardly the weak ones. Not in the poster. Sources: D. C. Dowson, B. V. Landau, "The Fréchet
    distance between multivariate normal distributions", Journal of Multivariate Analysis 1982; K. Crowson's style transfer
    (github.com/crowsonkb/style-transfer-pytorch) uses it in this place.

    Args:
        mean, covariance: ``feature_mean`` and ``feature_covariance`` of the image being made, shapes (B, N) and (B, N, N).
        target_mean: of the style image, shape (1, N).
        target_root: ``matrix_root`` of the style image's covariance, shape (1, N, N).

    Raises:
        ValueError: the sizes differ.
    """
    if not mean.shape[1:] == target_mean.shape[1:] == covariance.shape[2:] == target_root.shape[2:]:
        shapes = ", ".join(str(tuple(x.shape)) for x in (mean, covariance, target_mean, target_root))
        raise ValueError(f"means and covariances have different sizes: {shapes}")
    traces = covariance.diagonal(dim1=1, dim2=2).sum() + target_root.square().sum() * len(mean)
    return (mean - target_mean).square().sum() + traces - 2 * _TraceOfRoot.apply(covariance, target_root)


def matrix_root(matrix: Tensor) -> Tensor:
    """The square root of covariance matrices: R with R R = ``matrix``, shape (B, N, N), symmetric."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.mT


class _TraceOfRoot(torch.autograd.Function):
    """tr (R C R)^{1/2}, summed over the batch, and its gradient 1/2 R (R C R)^{-1/2} R, by one decomposition into eigenvalues.

    Autograd through the decomposition itself divides by the differences of eigenvalues, which may be 0.
    """

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, root: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(root @ covariance @ root)
        roots = values.clamp_min(0).sqrt()
        # directions in which the features hardly vary: their true gradient is without bound
        safe = roots.clamp_min(1e-3 * roots.amax(dim=1, keepdim=True)).clamp_min(1e-12)
        turned = root @ vectors
        ctx.save_for_backward(turned / safe[:, None] @ turned.mT / 2)
        return roots.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


def total_variation(image: Tensor) -> Tensor:
    r"""Roughness: :math:`\sum_{ij} (x_{i,j+1} - x_{ij})^2 + (x_{i+1,j} - x_{ij})^2`, over all channels.

    Not in the poster. Source: Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them",
    CVPR 2015, with beta = 2.

    Args:
        image: shape (B, C, H, W).
    """
    across = image[..., :, 1:] - image[..., :, :-1]
    down = image[..., 1:, :] - image[..., :-1, :]
    return across.square().sum() + down.square().sum()


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    r"""Poster Eq. (4), its first term: :math:`-\mathbb{E}[\log D(G(x) \mid x)]`. The generator minimizes this plus lambda L1.

    The non-saturating loss of Goodfellow et al. (section 3). D is the sigmoid of the logits s, and -log sigmoid(s) is
    softplus(-s), which neither overflows nor loses digits.

    Args:
        fake_logits: of the discriminator for the generator's images, any shape.
    """
    return F.softplus(-_full(fake_logits)).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""Poster Eq. (5), negated: :math:`-\mathbb{E}[\log D(y \mid x)] - \mathbb{E}[\log (1 - D(G(x) \mid x))]`.

    Eq. (5) is maximized; we minimize its negative. A discriminator at chance, with D = 1/2 everywhere, has the loss
    2 log 2 = 1.386. Like Nazeri et al. 2018, and unlike pix2pix, we do not halve it. On logits s, -log(1 - sigmoid(s)) is
    softplus(s).

    Args:
        real_logits, fake_logits: of the discriminator for real images and for the generator's, any shapes.
    """
    return F.softplus(-_full(real_logits)).mean() + F.softplus(_full(fake_logits)).mean()


def image_gradient_loss(fake: Tensor, real: Tensor) -> Tensor:
    r"""Mean distance of the image gradients: :math:`\mathbb{E}\,|\nabla_{fake} - \nabla_{real}|`.

    The gradient is the difference of neighboring pixels, down and to the right, in every channel. Both are compared with their
    signs: the magnitude alone is the same whether an edge goes up or down. (Sobel's derivatives smooth along the edge, and do
    not see a checkerboard of single pixels.)
    Not in the poster. Source: M. Mathieu, C. Couprie, Y. LeCun, "Deep multi-scale video prediction beyond mean square error",
    ICLR 2016, section 3.2 (theirs compares absolute differences of neighboring pixels).

    Args:
        fake, real: shape (B, C, H, W), any range.

    Raises:
        ValueError: the shapes differ.
    """
    difference = _difference(fake, real)
    return (difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()) / 2


def color_loss(fake: Tensor, real: Tensor, side: int = 2) -> Tensor:
    r"""L1 distance of means over squares of ``side`` x ``side`` pixels: it compares mean colors, not single pixels.

    Not in the poster. Use it beside a perceptual loss, which says little about colors.

    Args:
        fake, real: shape (B, C, H, W), any range. A last row or column that fills no square is left out.
        side: of the squares, in pixels.

    Raises:
        ValueError: the shapes differ.
    """
    return F.avg_pool2d(_difference(fake, real), side).abs().mean()


def feature_distance(features: Tensor, target: Tensor) -> Tensor:
    r"""L1 distance of features, as a share of the target's mean activation: :math:`\sum|F - P| / \sum|P|`.

    Unlike Eq. (1)'s squares it sees small differences, too, and layers with large and with small activations count alike.
    Not in the poster. Source: K. Nazeri, E. Ng, T. Joseph, F. Qureshi, M. Ebrahimi, "EdgeConnect", 2019 (arXiv 1901.00212),
    section 3.2, takes L1 distances of VGG's features; theirs are not divided by the activation.

    Args:
        features: F, of the image being made, shape (B, N, H, W).
        target: P, same shape.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(features, target)
    # sums in single precision without a copy of the features; and the gradient keeps their layout, which that of mean() does
    # not: 0.55 s in place of 0.91 for VGG's loss and its gradient (8 frames of 128 px in bfloat16, one core of an Intel Xeon)
    precision = torch.promote_types(features.dtype, torch.float32)
    difference = torch.linalg.vector_norm(features - target, 1, dtype=precision)
    return difference / torch.linalg.vector_norm(target, 1, dtype=precision).clamp_min(1e-8)


class PerceptualLoss(nn.Module):
    r"""How different two images look to VGG: content and style losses of named layers, for training other networks.

    .. math:: \sum_l c_l \frac{1}{N_l M_l} L_{content}^l + \sum_l s_l E_l

    The mean over features in place of the poster's sum makes the value independent of image size, as in Johnson, Alahi and
    Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016 (Eq. 2). Averaged over the batch.

    The embedded VGG-16 works on values from 0 to 255, so the loss is large: 10^4 to 10^6 for unlike images. Beside a loss on
    pixels, such as L1, begin with weights around 1e-5. With ``distance="l1"``, a layer's content loss is ``feature_distance``
    instead, about 0 to 2.

    Args:
        content: layer name -> weight c_l.
        style: layer name -> weight s_l.
        distance: of the content losses: "squared", as above, or "l1".
        arch, weights, pooling, precision: as in ``FeatureExtractor``.

    Raises:
        ValueError: no mapping, no layer at all, a weight that is negative or not finite, no such distance, or an argument that
            ``FeatureExtractor`` refuses.
    """

    def __init__(
        self,
        content: Mapping[str, float],
        style: Mapping[str, float] | None = None,
        *,
        distance: str = "squared",
        arch: str = "vgg16",
        weights: str | None = "imagenet",
        pooling: str = "max",
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        for kind, layers in (("content", content), ("style", style or {})):
            if not isinstance(layers, Mapping):
                raise ValueError(f"{kind} must map names of layers to weights, as {{'relu3_3': 1}}, not {shown(layers)}")
        self.content, self.style = dict(content), dict(style or {})
        self.distance = choice(distance, "distance", ("squared", "l1"))
        for kind, layers in (("content", self.content), ("style", self.style)):
            for layer, weight in layers.items():
                layers[layer] = checked_weight(weight, f"{kind}[{layer!r}]")
        names = list(dict.fromkeys([*self.content, *self.style]))
        self.extractor = FeatureExtractor(arch, weights, names, pooling, precision)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """The loss of ``image`` against ``target``, both (B, 3, H, W), floating-point RGB in [0, 1]; gradients reach ``image``
        only.

        Raises:
            ValueError: shapes that differ, an empty batch, integers, or a target that leaves [0, 1] by more than a tenth.
        """
        content, style = self.parts(image, target)
        return content + style

    def parts(self, image: Tensor, target: Tensor, style: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Content loss against ``target``, and style loss against another image, ``style``, if one is given.

        Args:
            image, target: as in ``forward``.
            style: shape (1, 3, H', W'), RGB in [0, 1], any size; None takes the target.

        Raises:
            ValueError: as in ``forward``.
        """
        if image.shape != target.shape:
            raise ValueError(f"image and target have different shapes: {tuple(image.shape)} and {tuple(target.shape)}")
        if not (image.is_floating_point() and target.is_floating_point() and image.shape[0]):
            raise ValueError(f"expected floating-point images in [0, 1], got {image.shape[0]} of {image.dtype}, {target.dtype}")
        low, high = target.aminmax()
        if low < -0.1 or high > 1.1:
            raise ValueError(f"target runs from {low:.3g} to {high:.3g}; expected RGB in [0, 1]")
        features = self.extractor(image)
        with torch.no_grad():
            targets = self.extractor(target)
            styles = targets if style is None else self.extractor(style)
        content_part, style_part = image.new_zeros(()), image.new_zeros(())
        for layer, weight in self.content.items():
            if self.distance == "l1":
                content_part = content_part + weight * feature_distance(features[layer], targets[layer])
            else:
                mean = content_loss(features[layer], targets[layer]) / features[layer].numel()
                content_part = content_part + weight * mean
        for layer, weight in self.style.items():
            grams = gram_matrix(features[layer]), gram_matrix(styles[layer])
            style_part = style_part + weight * style_loss(*grams) / len(image)
        return content_part, style_part


def _checked_mask(mask: Tensor, features: Tensor) -> Tensor:
    batch, _, *size = features.shape
    if mask.shape not in ((1, 1, *size), (batch, 1, *size)):
        raise ValueError(f"features of shape {tuple(features.shape)} do not go with a mask of shape {tuple(mask.shape)}")
    return mask


def _difference(x: Tensor, target: Tensor) -> Tensor:
    _check_shapes(x, target)
    return _full(x) - _full(target)


def _check_shapes(x: Tensor, target: Tensor) -> None:
    if x.shape != target.shape:
        raise ValueError(f"the shapes differ: {tuple(x.shape)} and {tuple(target.shape)}")


def _full(x: Tensor) -> Tensor:
    """Single precision, unless it is double: sums of many half-precision values go wrong."""
    return x if x.dtype == torch.float64 else x.float()
