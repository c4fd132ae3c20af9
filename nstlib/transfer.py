"""Style transfer: the pixels of an image are optimized until it has the content of one image and the style of another.

Source: Gatys, Ecker and Bethge, CVPR 2016; the poster's section "Style transfer". Departures, each for a reason:

- VGG-16 in place of Gatys's VGG-19, because its weights can be shipped; ``arch`` and ``weights`` choose.
- Coarse to fine. The picture is painted small first and then refined, as in Gatys et al., "Controlling Perceptual Factors in
  Neural Style Transfer" (CVPR 2017, section 6): strokes can be larger than VGG's receptive field, and most steps cost little.
- Relative losses; see ``nstlib.objective``.
- The loss is that of the picture as it can be shown, clipped to [0, 1]; see ``nstlib.pixels``.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from nstlib.arguments import choice, number, whole_number
from nstlib.autograd import own_autograd
from nstlib.devices import choose_device, fast_precision
from nstlib.files import atomic_write
from nstlib.images import ImageError, Source, load_alpha, resize
from nstlib.objective import LossWeights, StyleObjective
from nstlib.pixels import DivergenceError, PixelOptimizer, TransferError
from nstlib.sources import SHORTEST_SIDE, digest, read_init, read_sources, style_size
from nstlib.statistics import CONTENT_LAYERS, SETTINGS
from nstlib.vgg import FeatureExtractor

CHECKPOINT_SECONDS = 10.0


class StyleTransfer:
    """The optimization, one step at a time.

    >>> transfer = StyleTransfer("photo.jpg", "painting.jpg", size=512)
    >>> while not transfer.done:
    ...     losses = transfer.step()

    Each ``statistic`` comes with settings of its own, ``nstlib.statistics.SETTINGS``; an argument that is None takes them.

    Args:
        content, style: paths, bytes, PIL images, or tensors (1, 3, H, W), RGB in [0, 1]; they may differ in size and shape.
            ``style`` may be a list of several.
        statistic: what of the style's features is matched: "gaussian", means and covariances (``nstlib.wasserstein_loss``),
            which paints broad strokes and the style's true colors; or "gram", as Gatys et al. and the poster.
        content_weight, style_weight, tv_weight: weights of the content loss, the style loss and the total variation (here the
            mean over pixels and channels). Losses are relative: 1 is the loss of all-zero features.
        content_layers, style_layers: layer name -> weight; only their proportions count.
        style_blend: proportions of several styles, one number each; equal if None.
        masks: one per style, of any size: 1 (white) where that style is painted on the content image. Paths, PIL images, NumPy
            arrays (H, W), or tensors (H, W) or (1, 1, H, W) in [0, 1]. The picture's statistics are then taken within each
            mask; those of a style image are of the whole image. Pixels under no mask get no style. Not with ``style_blend``.
        style_scale: size of the style's strokes: the style image is matched at this many times ``size``.
        size: longer side of the result in pixels.
        steps: optimization steps in all, shared equally among the scales.
        coarsest: longer side of the first, smallest scale; ``coarsest=size`` paints at one scale.
        optimizer: "adam" or "lbfgs" (with a strong-Wolfe line search).
        init: what the picture starts as: "content", "style" or "noise"; or an image of your own, to continue from an earlier
            result at a larger ``size`` or for more ``steps`` (with ``coarsest=size``, at that size alone).
        seed: of the noise.
        preserve_color: paint with the style's brightness only and keep the content's colors (Gatys et al., "Preserving
            Color in Neural Artistic Style Transfer", arXiv 1606.05897, section 3: luminance-only transfer).
        arch, weights, pooling: as in ``FeatureExtractor``.
        precision: of the convolutions; None takes ``fast_precision`` of the device.
        device: None takes the GPU if there is one.

    Raises:
        nstlib.ImageError: an image cannot be used.
        ValueError: another argument cannot; the message names it.
        nstlib.AssetError: VGG's weights are not available.
    """

    @own_autograd
    def __init__(
        self,
        content: Source,
        style: Source | Sequence[Source],
        *,
        statistic: str = "gaussian",
        content_weight: float | None = None,
        style_weight: float | None = None,
        tv_weight: float | None = None,
        content_layers: Mapping[str, float] = CONTENT_LAYERS,
        style_layers: Mapping[str, float] | None = None,
        style_blend: Sequence[float] | None = None,
        masks: Sequence[Source | np.ndarray] | None = None,
        style_scale: float = 1.0,
        size: int = 512,
        steps: int = 400,
        coarsest: int | None = None,
        optimizer: str | None = None,
        init: str | Source = "content",
        seed: int = 0,
        preserve_color: bool = False,
        arch: str = "vgg16",
        weights: str | os.PathLike[str] | None = "imagenet",
        pooling: str | None = None,
        precision: torch.dtype | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        self.statistic = choice(statistic, "statistic", list(SETTINGS))
        names = ("content_weight", "style_weight", "tv_weight", "style_layers", "coarsest", "optimizer", "pooling")
        given = (content_weight, style_weight, tv_weight, style_layers, coarsest, optimizer, pooling)
        chosen = SETTINGS[self.statistic] | {k: v for k, v in zip(names, given, strict=True) if v is not None}
        self.device = choose_device(device)
        self.style_scale = number(style_scale, "style_scale", above=0)
        self.size = whole_number(size, "size", SHORTEST_SIDE)
        self.steps = whole_number(steps, "steps", 1)
        coarsest = whole_number(chosen["coarsest"], "coarsest", SHORTEST_SIDE)
        self.weights = LossWeights(
            chosen["content_weight"], chosen["style_weight"], chosen["tv_weight"], content_layers, chosen["style_layers"]
        )
        self.method = choice(chosen["optimizer"], "optimizer", ("lbfgs", "adam"))
        self.init = read_init(init, self.device)
        self.seed = whole_number(seed, "seed", 0)
        self.sources = read_sources(content, style, style_blend, masks, preserve_color, self.device)
        self.scales = pyramid(self.size, self.steps, max(coarsest, self._least_size()), chosen["scale_step"])
        precision = precision or fast_precision(self.device)
        self.extractor = FeatureExtractor(arch, weights, self.weights.layers, chosen["pooling"], precision).to(self.device)
        self.history: list[dict[str, float]] = []
        first_shape = resize(self.sources.content, self.scales[0][0]).shape
        self._enter_scale(0, self.sources.first_image(self.init, first_shape, self.seed))

    # -- what a user reads --

    @property
    def step_count(self) -> int:
        """Steps taken."""
        return len(self.history)

    @property
    def done(self) -> bool:
        """Whether all ``steps`` are taken; ``step`` may be called further, at the finest scale."""
        return self.step_count >= self.steps

    @property
    def image(self) -> Tensor:
        """The picture as it stands, (1, 3, H, W), RGB in [0, 1], at the current scale."""
        return self.sources.finished(self.optimizer.image)

    @property
    def best(self) -> Tensor:
        """The picture with the lowest loss at the current scale."""
        return self.sources.finished(self.optimizer.best)

    # -- what a user does --

    @own_autograd
    def step(self) -> dict[str, float]:
        """Take one step of the optimizer.

        Returns:
            Losses of ``image``, relative and not yet weighted: "content", "style", "tv"; "total", their weighted sum; and
            "step", "size" (longer side in pixels), "seconds" (the step's own).

        Raises:
            DivergenceError: the loss is not finite or, with Adam, which has no line search to prevent it, a hundred times that
                at the scale's beginning.
        """
        started = time.perf_counter()
        try:
            if self.scale + 1 < len(self.scales) and self.step_count >= sum(n for _, n in self.scales[: self.scale + 1]):
                self._enter_scale(self.scale + 1, self.optimizer.best)
            losses = self.optimizer.step()
        except DivergenceError as error:
            raise DivergenceError(f"step {self.step_count + 1}: {error}") from None
        entry = {
            "step": self.step_count + 1,
            "size": self.scales[self.scale][0],
            **losses,
            "seconds": time.perf_counter() - started,
        }
        self.history.append(entry)
        return entry

    @own_autograd
    @torch.no_grad()
    def losses_of(self, image: Tensor) -> dict[str, float]:
        """The losses of any image of the current scale's size: "content", "style", "tv" and "total", as ``step`` gives them."""
        return {name: float(value) for name, value in self.objective(image.to(self.device)).items()}

    @own_autograd
    def reweight(self, content_weight: float, style_weight: float, tv_weight: float, style_layers: Mapping[str, float]) -> None:
        """Change the weights and go on from the picture as it is.

        ``best`` begins anew, for losses with other weights cannot be compared; so does L-BFGS, whose memory is of the old loss.

        Args:
            content_weight, style_weight, tv_weight, style_layers: as in the constructor; the layers must be the same.

        Raises:
            ValueError: a weight cannot be used, or the layers are others. The weights are then as they were.
        """
        known = self.weights.style_layers
        if set(style_layers) != set(known):
            raise ValueError(f"style_layers must be {', '.join(known)}, not {', '.join(map(str, style_layers))}")
        self.weights = LossWeights(content_weight, style_weight, tv_weight, self.weights.content_layers, style_layers)
        self.objective.weights = self.weights
        self.optimizer.restart()

    def state_dict(self) -> dict[str, Any]:
        """All that ``load_state_dict`` needs to go on as if never interrupted: tensors, numbers and strings only."""
        return {
            "identity": self._identity(),
            "scale": self.scale,
            "history": [dict(entry) for entry in self.history],
            **self.optimizer.state_dict(),
        }

    @own_autograd
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, made by ``state_dict`` of a transfer with the same arguments.

        Raises:
            TransferError: the state is of another transfer; the message says what differs.
        """
        try:
            mine, theirs = self._identity(), state["identity"]
            different = [key for key in mine if mine[key] != theirs.get(key)]
            if different:
                raise TransferError(f"this state is of another transfer; different: {', '.join(different)}")
            self._enter_scale(state["scale"], self.sources.content)
            self.optimizer.load_state_dict(state)
            self.history = [dict(entry) for entry in state["history"]]
        except TransferError:
            raise
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError) as error:
            raise TransferError(f"this is not the state of a transfer ({type(error).__name__}: {error})") from error

    # -- how it works --

    def _least_size(self) -> int:
        """The longer side in pixels at which the shorter one is ``SHORTEST_SIDE``.

        Raises:
            ImageError: ``size`` is less.
        """
        sides = self.sources.content.shape[2:]
        height, width = (max(1, round(side * self.size / max(sides))) for side in sides)
        if min(height, width) < SHORTEST_SIDE:
            raise ImageError(f"content: {width} x {height} pixels at size {self.size}; each side needs {SHORTEST_SIDE}")
        return math.ceil(SHORTEST_SIDE * max(height, width) / min(height, width))

    def _enter_scale(self, scale: int, start: Tensor) -> None:
        """Prepare objective and pixels for one scale of the pyramid."""
        size, sources = self.scales[scale][0], self.sources
        target = sources.target(size)
        styles = [resize(style, style_size(style, size * self.style_scale)) for style in sources.styles]
        objective = StyleObjective(self.extractor, target, styles, self.weights, sources.blend, sources.masks, self.statistic)
        optimizer = PixelOptimizer(objective, resize(start, (target.shape[2], target.shape[3])), self.method)
        if not optimizer.gradient.any():
            message = f"the gradient is zero in all pixels at size {size}: the picture will stay as it is"
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        # only now: if the loss was not finite, ``best`` is still that of the scale before
        self.scale, self.objective, self.optimizer = scale, objective, optimizer

    def _identity(self) -> dict[str, Any]:
        """What makes this transfer this one: arguments, and digests of the images."""
        weights = self.weights
        return {
            **self._digests,
            "style_blend": self.sources.blend,
            "content_weight": weights.content,
            "style_weight": weights.style,
            "tv_weight": weights.tv,
            "content_layers": list(weights.content_layers.items()),
            "style_layers": list(weights.style_layers.items()),
            "size, steps or coarsest": [list(scale) for scale in self.scales],
            "statistic": self.statistic,
            "optimizer": self.method,
            "init": self.init if isinstance(self.init, str) else digest([self.init]),
            "seed": self.seed,
            "style_scale": self.style_scale,
            "preserve_color": self.sources.preserve_color,
            "arch": self.extractor.arch,
            "pooling": self.extractor.pooling,
            "precision": str(self.extractor.precision),
        }

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {
            "content": digest([self.sources.content]),
            "style": digest(self.sources.styles),
            "masks": digest(self.sources.masks or []),
            "weights": digest(self.extractor.parameters()),
        }


@dataclass(frozen=True)
class TransferResult:
    """What ``stylize`` returns."""

    image: Tensor  # (1, 3, H, W), RGB in [0, 1]: the best image of the finest scale reached
    history: list[dict[str, float]]  # what every step returned
    diverged: str | None = None  # why the run ended early, if it did
    alpha: Tensor | None = None  # (1, 1, H, W), in [0, 1]: the content's transparency, if it has any; for ``save_image``


def stylize(
    content: Source,
    style: Source | Sequence[Source],
    *,
    callback: Callable[[StyleTransfer], bool | None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> TransferResult:
    """Paint ``content`` in the style of ``style``; the whole of ``StyleTransfer`` in one call.

    Args:
        content, style, settings: as in ``StyleTransfer``.
        callback: called after every step with the transfer; returning True stops it.
        checkpoint: a file that holds the state, written every ten seconds and at the end. If it is there at the start, the
            transfer goes on from it, and ends in the same image as one that was never interrupted.
        progress: show a progress bar.

    Returns:
        A ``TransferResult``.

    Raises:
        As ``StyleTransfer``; TransferError: ``checkpoint`` cannot be read, is of another transfer, or lies in a folder that
            cannot be written to.

    Warns:
        RuntimeWarning: the run diverged, and the best image so far is returned; or a checkpoint could not be written.
    """
    if checkpoint is not None and not os.access(Path(checkpoint).parent, os.W_OK):
        raise TransferError(f"checkpoint {str(checkpoint)!r}: its folder does not exist or cannot be written to")
    transfer = StyleTransfer(content, style, **settings)
    alpha = None if isinstance(content, Tensor) else load_alpha(content)
    if checkpoint is not None and Path(checkpoint).exists():
        transfer.load_state_dict(_read_checkpoint(Path(checkpoint)))
    diverged, saved = None, time.monotonic()
    with tqdm(total=transfer.steps, initial=transfer.step_count, desc="painting", unit="step", disable=not progress) as bar:
        while not transfer.done:
            try:
                losses = transfer.step()
            except DivergenceError as error:
                diverged = str(error)
                warnings.warn(
                    f"style transfer diverged ({error}); returning the best image so far", RuntimeWarning, stacklevel=2
                )
                break
            bar.update()
            bar.set_postfix_str(f"{losses['size']} px, loss {losses['total']:.4f}", refresh=False)
            stop = callback is not None and callback(transfer)
            if checkpoint is not None and (stop or transfer.done or time.monotonic() - saved > CHECKPOINT_SECONDS):
                _write_checkpoint(transfer, Path(checkpoint))
                saved = time.monotonic()
            if stop:
                break
    if alpha is not None:
        alpha = resize(alpha, (transfer.best.shape[2], transfer.best.shape[3]))
    return TransferResult(transfer.best, transfer.history, diverged, alpha)


def pyramid(size: int, steps: int, coarsest: int, step: float) -> list[tuple[int, int]]:
    """Longer side and number of steps of each scale, coarse to fine.

    Sizes are in geometric progression, each at most ``step`` times the one before; the scales share the steps equally.
    """
    # 512 is four times sqrt 2 above 128; rounding must not make it five
    count = 1 if coarsest >= size else math.ceil(math.log(size / coarsest) / math.log(step) - 1e-9) + 1
    count = min(count, steps)
    sizes = [round(size * (coarsest / size) ** (i / (count - 1))) for i in range(count - 1, 0, -1)] + [size]
    shares = [steps // count] * count
    shares[-1] += steps % count
    return list(zip(sizes, shares, strict=True))


def _write_checkpoint(transfer: StyleTransfer, path: Path) -> None:
    try:
        with atomic_write(path) as temporary:
            torch.save(transfer.state_dict(), temporary)
    except (OSError, RuntimeError) as error:  # RuntimeError: PyTorch's writer, on a full disk
        # that must not cost the picture
        warnings.warn(f"checkpoint {str(path)!r} could not be written: {error}", RuntimeWarning, stacklevel=3)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        message = (
            f"checkpoint {str(path)!r} is damaged, or not a checkpoint; give another path, or remove it if it is an old one"
        )
        raise TransferError(message) from error
