"""Conditions for colorization: grayscale, Canny, Sobel and XDoG; images in, one-channel conditions out.

All operators follow one convention: images (B, 3, H, W), RGB in [0, 1], become conditions (B, 1, H, W) in [0, 1] that look like
ink on paper: white is 1, lines are dark. Operators return tensors on the images' device (Canny's hysteresis runs on the CPU).
Canny (also within ``mixed``) and Sobel with a threshold have no gradient; the others are differentiable.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable

import numpy as np
import scipy.ndimage
import skimage.filters
import skimage.morphology
import torch
import torch.nn.functional as F
from torch import Tensor

from nstlib.arguments import choice, number, shown, whole_number
from nstlib.color import luma_bt709
from nstlib.images import check_images, resize

FAINT = 0.12  # darkness below which nothing is taken for ink


def grayscale(image: Tensor) -> Tensor:
    """Luma (BT.709): shape (B, 3, H, W), RGB in [0, 1], to (B, 1, H, W) in [0, 1].

    Raises:
        ImageError: not such images.
    """
    return luma_bt709(check_images(image))


def canny(image: Tensor, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> Tensor:
    """Line-art: black lines one pixel wide (0) on white (1), where Canny's detector finds an edge.

    The last of ``canny_steps``, with the same arguments and errors.

    Returns:
        Shape (B, 1, H, W), values 0 or 1. No gradient flows back: the decisions are steps.
    """
    return _in_pieces(lambda piece: canny_steps(piece, sigma, low, high)["lines"], check_images(image))


@torch.no_grad()
def canny_steps(image: Tensor, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> dict[str, Tensor]:
    """What Canny's detector computes on its way from an image to lines.

    The steps are smoothing, Sobel gradient, non-maximum suppression (only ridges of the gradient's magnitude are kept), and
    hysteresis (of the ridges above ``low``, those connected to one above ``high`` are kept). Steps, border, units and defaults
    are those of ``skimage.feature.canny``. Source: J. Canny, "A Computational Approach to Edge Detection", PAMI 1986.

    Args:
        image: shape (B, 3, H, W), RGB in [0, 1].
        sigma: standard deviation of the Gaussian, in pixels; 0 leaves the image as it is.
        low, high: thresholds on the Sobel magnitude of the luma (kernel 1-2-1; a step from black to white has 4).

    Returns:
        Five tensors (B, 1, H, W), in the order of the steps: "smoothed", the luma, in [0, 1]; "magnitude", of its gradient, in
        [0, 2 sqrt(5)]; "weak" and "strong", the ridges of the magnitude at or above ``low`` and ``high``, 1 on a ridge and 0
        elsewhere; "lines", 0 on a line and 1 elsewhere.

    Raises:
        ImageError: not such images.
        ValueError: ``sigma`` is negative, or not 0 <= low <= high.
    """
    low, high = number(low, "Canny's low"), number(high, "Canny's high")
    if not 0 <= low <= high:
        raise ValueError(f"Canny's thresholds must be 0 <= low <= high, not {shown(low)} and {shown(high)}")
    gray = luma_bt709(_exact(check_images(image)))
    # what lies outside the image does not count: a blurred image of ones tells how much lies inside
    inside = _gaussian(torch.ones_like(gray[:1]), sigma) + torch.finfo(gray.dtype).eps
    smoothed = _gaussian(gray, sigma) / inside
    down, right = gradient(smoothed)
    magnitude = torch.hypot(down, right)
    weak = _ridges(down, right, magnitude) & (magnitude >= low) & (magnitude > 0)
    strong = weak & (magnitude >= high)
    lines = ~_hysteresis(weak, strong)
    steps = {"smoothed": smoothed, "magnitude": magnitude, "weak": weak, "strong": strong, "lines": lines}
    return {name: step.to(image.dtype) for name, step in steps.items()}


def sobel(image: Tensor, sigma: float = 0.0, threshold: float = 0.0) -> Tensor:
    """One minus the Sobel magnitude of the luma: unlike Canny's, lines are as dark as the edge is strong.

    The scale is that of ``skimage.filters.sobel``: a straight step from black to white has the magnitude 0.71, and nothing has
    more than 0.79. Poster, "Future research".

    Args:
        image: shape (B, 3, H, W), RGB in [0, 1].
        sigma: standard deviation in pixels of the Gaussian that smooths the luma first; 0 leaves the luma as it is.
        threshold: if above 0, pixels of a larger magnitude become black (0) and all others white (1). No gradient flows back
            then.

    Returns:
        Shape (B, 1, H, W), in [0, 1]; within 1e-6 of 1 where the image is flat.

    Raises:
        ImageError: not such images.
        ValueError: ``sigma`` or ``threshold`` is negative.
    """
    threshold = number(threshold, "Sobel's threshold", least=0)

    def lines(image: Tensor) -> Tensor:
        down, right = gradient(_gaussian(luma_bt709(_exact(image)), sigma, "replicate"))
        # the small number keeps the square root's slope finite where the image is flat
        magnitude = (((down / 4) ** 2 + (right / 4) ** 2) / 2 + 1e-12).sqrt()
        return ((magnitude <= threshold) if threshold else 1 - magnitude).to(image.dtype)

    return _in_pieces(lines, check_images(image))


def gradient(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's derivatives, downwards and to the right, with the kernel 1-2-1: a step from black to white has 4.

    Args:
        gray: shape (B, 1, H, W).

    Returns:
        Two tensors of the same shape.
    """
    kernel = gray.new_tensor([[-1.0, -2, -1], [0, 0, 0], [1, 2, 1]])
    both = F.conv2d(F.pad(gray, (1, 1, 1, 1), mode="replicate"), torch.stack((kernel, kernel.T))[:, None])
    return both[:, :1], both[:, 1:]


def xdog(image: Tensor, sigma: float = 0.8, k: float = 1.6, p: float = 20.0, epsilon: float = 0.6, phi: float = 10.0) -> Tensor:
    """Extended difference of Gaussians: dark lines and shadows, as inked by hand.

    With G the luma blurred: S = (1 + p) G_sigma - p G_(k sigma); 1 where S >= epsilon, else 1 + tanh(phi (S - epsilon)).
    Source: H. Winnemöller, J. E. Kyprianidis, S. C. Olsen, "XDoG: An eXtended difference-of-Gaussians compendium including
    advanced image stylization", Computers & Graphics 2012, Eq. (5) and (7).

    Args:
        image: shape (B, 3, H, W), RGB in [0, 1].
        sigma: standard deviation of the narrower Gaussian, in pixels; above 0.
        k: ratio of the two Gaussians' standard deviations, above 1; 1.6 approximates the Laplacian of a Gaussian.
        p: how much the edges are sharpened; 0 or more.
        epsilon: the level above which paper stays white.
        phi: how steeply it turns to black below; 0 or more.

    Returns:
        Shape (B, 1, H, W), in [0, 1].

    Raises:
        ImageError: not such images.
        ValueError: a parameter is out of its range.
    """
    sigma, k = number(sigma, "XDoG's sigma", above=0), number(k, "XDoG's k", above=1)
    p, phi = number(p, "XDoG's p", least=0), number(phi, "XDoG's phi", least=0)
    epsilon = number(epsilon, "XDoG's epsilon")

    def lines(image: Tensor) -> Tensor:
        gray = luma_bt709(_exact(image))  # p times a small difference: half precision would lose it
        sharp = (1 + p) * _gaussian(gray, sigma, "replicate") - p * _gaussian(gray, k * sigma, "replicate")
        return torch.where(sharp >= epsilon, 1.0, 1 + torch.tanh(phi * (sharp - epsilon))).to(image.dtype)

    return _in_pieces(lines, check_images(image))


def mixed(image: Tensor) -> Tensor:
    """Line-art of several kinds, for training: each image gets the lines of Canny, Sobel or XDoG. The choice is pseudo-random;
    it depends on the image's pixels alone, not on its place in the batch.

    Args:
        image: shape (B, 3, H, W), RGB in [0, 1].

    Returns:
        Shape (B, 1, H, W), in [0, 1].

    Raises:
        ImageError: not such images.
    """
    check_images(image)
    lots = [zlib.crc32((frame * 255).round().byte().cpu().contiguous().numpy().tobytes()) % 3 for frame in image]
    return torch.cat([(canny, sobel, xdog)[lot](frame[None]) for lot, frame in zip(lots, image, strict=True)])


def _in_pieces(lines: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """``lines`` of images (B, 3, H, W), a few of them at a time: the same values as of all at once, several times as fast.

    On a CPU, oneDNN pads the one channel that a convolution puts out to 16. Above 32 MB, glibc takes such memory from the
    system anew each time, and gives it back, which costs more than the convolution itself.
    """
    count = -(-images[:, 0].numel() // 2**18) if images.device.type == "cpu" else 1  # 16 channels of 2**18 pixels are 16 MB
    # as equal as can be: PyTorch convolves a small image that is alone by other code, with other last bits
    return torch.cat([lines(piece) for piece in images.tensor_split(min(count, len(images)))])


def _exact(gray: Tensor) -> Tensor:
    """As float32, or float64 if it is that already."""
    return gray if gray.dtype == torch.float64 else gray.float()


def _gaussian(gray: Tensor, sigma: float, border: str = "constant") -> Tensor:
    number(sigma, "sigma", least=0, below=1000)
    radius = int(4 * sigma + 0.5)  # as scipy.ndimage
    if not radius:
        return gray
    x = torch.arange(-radius, radius + 1, dtype=gray.dtype, device=gray.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(gray, (radius,) * 4, mode=border)
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])


def _ridges(down: Tensor, right: Tensor, magnitude: Tensor) -> Tensor:
    """Non-maximum suppression: where the magnitude is no lower than one pixel ahead and one pixel back along the gradient. The
    magnitudes there are interpolated between two of the eight neighbors."""
    height, width = magnitude.shape[2:]
    padded = F.pad(magnitude, (1, 1, 1, 1))

    def at(y: int, x: int) -> Tensor:
        return padded[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    steep = down.abs() > right.abs()
    falling = down * right >= 0  # the gradient points along the main diagonal, or against it
    weight = torch.minimum(down.abs(), right.abs()) / torch.maximum(down.abs(), right.abs()).clamp(min=1e-30)
    ridge = torch.ones_like(steep)
    for side in (1, -1):
        vertical = torch.where(falling, at(side, 0), at(-side, 0))
        straight = torch.where(steep, vertical, at(0, side))
        diagonal = torch.where(falling, at(side, side), at(-side, side))
        ridge &= torch.lerp(straight, diagonal, weight) <= magnitude
    ridge[:, :, [0, -1]] = False
    ridge[:, :, :, [0, -1]] = False
    return ridge


def _hysteresis(weak: Tensor, strong: Tensor) -> Tensor:
    """The connected components of ``weak`` (with 8 neighbors) that hold at least one pixel of ``strong``."""
    one_image = np.zeros((3, 3, 3), bool)
    one_image[1] = True  # neighbors within an image, none across the batch
    pieces, count = scipy.ndimage.label(weak[:, 0].cpu().numpy(), one_image)
    kept = np.zeros(count + 1, bool)
    kept[pieces[strong[:, 0].cpu().numpy()]] = True
    return torch.from_numpy(kept[pieces])[:, None].to(weak.device)


def given(image: Tensor) -> Tensor:
    """Line-art that is given beside the colors: the first of four channels (``nstlib.PairFolder``).

    Args:
        image: shape (B, 4, H, W): line-art, ink on paper, then RGB; in [0, 1].

    Returns:
        Shape (B, 1, H, W).

    Raises:
        ImageError: not such images.
    """
    return check_images(image, channels=4)[:, :1]


OPERATORS = {"grayscale": grayscale, "canny": canny, "sobel": sobel, "xdog": xdog, "mixed": mixed, "given": given}


def drawing_to_lines(image: Tensor, size: tuple[int, int] | None = None, thin: bool = True) -> Tensor:
    """A drawing, scan or photograph of line-art as a condition: black lines on white.

    Paper becomes white (each channel is divided by its own level around, so that shadows and tinted paper go), light lines on
    a dark ground are inverted, ink of any color is separated from paper by Otsu's threshold (N. Otsu, IEEE Transactions on
    Systems, Man and Cybernetics 1979), and lines of any thickness are thinned to one pixel (T. Y. Zhang, C. Y. Suen,
    Communications of the ACM 1984).

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
        size: height and width of the result in pixels; default the image's. Lines survive however small it is.
        thin: whether lines are thinned, as Canny's are, or keep their thickness.

    Returns:
        Shape (1, 1, height, width), on the CPU, values 0 or 1. No gradient flows back. An empty page is white.

    Raises:
        ImageError: not such an image.
    """
    darkness = _darkness(check_images(image, batch=1)).amax(dim=1, keepdim=True)
    if min(image.shape[2:]) > 256:
        darkness = F.avg_pool2d(darkness, 3, 1, padding=1)  # a photograph's grain is no ink
    if darkness.max() < FAINT:
        ink = torch.zeros_like(darkness)
    else:
        ink = (darkness > max(FAINT, skimage.filters.threshold_otsu(darkness.numpy()))).float()
    if size is not None and size != tuple(ink.shape[2:]):
        smaller = size[0] < ink.shape[2]
        ink = F.adaptive_max_pool2d(ink, size) if smaller else F.interpolate(ink, size, mode="nearest")
    if thin:
        ink = torch.from_numpy(skimage.morphology.skeletonize(ink[0, 0].numpy() > 0))[None, None].float()
    return 1 - ink


def ink_on_paper(image: Tensor) -> Tensor:
    """A drawing's ink alone, in its own color and at its own size, to lay over other colors: colors times 1 - ink.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1]: a drawing, scan or photograph, as for ``drawing_to_lines``.

    Returns:
        Shape (1, 3, H, W), in [0, 1], on the CPU: how much darker than the paper around it each channel is; 0 on paper, its
        grain and shadows included. Of light lines on a dark ground, how much lighter. No gradient flows back.

    Raises:
        ImageError: not such an image.
    """
    return ((_darkness(check_images(image, batch=1)) - FAINT) / (1 - FAINT)).clamp(0, 1)


def is_drawing(image: Tensor) -> bool:
    """Whether an image looks like line-art: most of it paper, some of it ink, and hardly any color.

    Args:
        image: shape (1, 3, H, W), RGB in [0, 1].
    """
    # small, so that grain and texture do not count
    ink = _darkness(resize(image, 160) if max(image.shape[2:]) > 160 else image)
    darkness = ink.amax(dim=1)
    paper, lines = (darkness < 0.2).float().mean(), (darkness > 0.35).float().mean()
    return bool(paper > 0.6 and 0.005 < lines < 0.35 and (darkness - ink.amin(dim=1)).mean() < 0.06)


def _darkness(image: Tensor) -> Tensor:
    """How much darker than the paper around it each channel is, (1, 3, H, W) in [0, 1]; light lines on a dark ground first
    become dark ones."""
    image = _exact(image.detach()).cpu()
    if luma_bt709(image).median() < 0.5:
        image = 1 - image
    small = F.avg_pool2d(image, max(1, min(image.shape[2:]) // 64))
    window = max(3, min(small.shape[2:]) // 8)
    levels = [torch.from_numpy(scipy.ndimage.percentile_filter(channel.numpy(), 90, window)) for channel in small[0]]
    paper = F.interpolate(torch.stack(levels)[None], image.shape[2:], mode="bilinear").clamp_min(0.05)
    return 1 - (image / paper).clamp(0, 1)


class Condition:
    """An operator with its settings: what a colorizer is given of a frame.

    Args:
        operator: "grayscale", "canny", "sobel", "xdog", "mixed", or "given", for line-art that comes with the frames.
        supersample: lines are found at this many times the size and brought down by the mean over squares of
            ``supersample`` pixels, so that a small picture keeps fine lines, as gray ones.
        settings: of the operator, as in its function: ``sigma``, ``low``, ``high``, ...

    Raises:
        ValueError: no such operator or setting, a setting is no number, or ``supersample`` is not a whole number of 1 to 16.
    """

    def __init__(self, operator: str = "grayscale", *, supersample: int = 1, **settings: float):
        choice(operator, "condition", list(OPERATORS))
        unknown = set(settings) - set(list(inspect.signature(OPERATORS[operator]).parameters)[1:])
        if unknown:
            raise ValueError(f"{operator} has no setting {', '.join(sorted(unknown))}")
        self.operator = operator
        self.supersample = whole_number(supersample, "supersample", 1, 16)
        self.settings = {name: number(value, f"{operator}'s {name}") for name, value in settings.items()}

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), RGB in [0, 1], to (B, 1, H / supersample, W / supersample) in [0, 1].

        Frames of four channels, (B, 4, H, W), bring their condition along as the first (``nstlib.CachedFrames``).

        Raises:
            ImageError: not such images.
            ValueError: a setting is out of its range.
        """
        return self.downsample(given(image) if image.ndim == 4 and image.shape[1] == 4 else self.find(image))

    def find(self, image: Tensor) -> Tensor:
        """(B, 3, H, W), RGB in [0, 1], to (B, 1, H, W) in [0, 1]: what the operator finds, at the image's own size."""
        return OPERATORS[self.operator](image, **self.settings)

    def truth(self, frames: Tensor) -> Tensor:
        """The colors that belong to the condition: RGB of frames (B, 3 or 4, H, W), brought down as the condition is."""
        return self.downsample(frames[:, -3:])

    def downsample(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H / supersample, W / supersample), by the mean over squares.

        Where ``supersample`` does not divide height or width, the last row or column is repeated first.
        """
        side, (height, width) = self.supersample, image.shape[-2:]
        if side == 1:
            return image
        return F.avg_pool2d(F.pad(image, (0, -width % side, 0, -height % side), mode="replicate"), side)

    def config(self) -> dict[str, object]:
        """The arguments with which ``Condition(**config)`` makes the same condition."""
        return {"operator": self.operator, "supersample": self.supersample, **self.settings}
