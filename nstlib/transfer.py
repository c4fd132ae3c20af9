"""Style transfer: the pixels of an image are optimised until it has the content of one image and the style of another.

Source: Gatys, Ecker and Bethge, CVPR 2016; the poster's section "Style transfer". Departures, each for a reason:

- VGG-16 in place of Gatys's VGG-19, because its weights can be shipped; ``arch`` and ``weights`` choose.
- Coarse to fine. The picture is painted small first and then refined, as in Gatys et al., "Controlling Perceptual Factors in
  Neural Style Transfer" (CVPR 2017, section 6): strokes can be larger than VGG's receptive field, and most steps cost little.
- Relative losses. Each layer's loss is divided by its value for features that are all zero. In Eq. (3) this is a choice of
  w_l; with it all layers count alike, and the same weights serve VGG-16 and VGG-19, either pooling, and any size.
- The loss is that of the picture as it can be shown, clipped to [0, 1].
"""

from __future__ import annotations

import hashlib
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from nstlib.files import atomic_write
from nstlib.images import ImageError, Source, as_image, resize
from nstlib.losses import check_weight, content_loss, gram_matrix, style_loss, total_variation
from nstlib.vgg import FeatureExtractor, fast_precision

CONTENT_LAYERS = {"relu4_2": 1.0}
STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0}

SCALE_STEP = 1.9  # each scale of the pyramid is at most this much larger than the one before
SHORTEST_SIDE = 32  # pixels; relu5_1 then still has 2 x 2 positions
HISTORY = 20  # gradients that L-BFGS remembers; 60 gained nothing
OUT_OF_RANGE = 2.6e4  # weight of the mean squared distance by which pixels leave [0, 1]
DIVERGED = 100.0  # times the first loss of a scale
CHECKPOINT_SECONDS = 10.0
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, the Y of YIQ


class TransferError(RuntimeError):
    """A transfer that cannot go on: a state that is not its own, an unreadable checkpoint."""


class DivergenceError(TransferError):
    """The loss is not finite any more, or has grown beyond all bounds. ``StyleTransfer.best`` keeps the best image so far."""


@dataclass(frozen=True)
class Region:
    """A part of the picture and the style it shall get."""

    share: float  # of the picture
    grams: dict[str, Tensor]  # layer -> target Gram matrix A
    zero: dict[str, Tensor]  # layer -> E_l of all-zero features
    masks: dict[str, Tensor | None]  # layer -> (1, 1, H', W'), in [0, 1]; None is everywhere


class StyleTransfer:
    """The optimisation, one step at a time.

    >>> transfer = StyleTransfer("photo.jpg", "painting.jpg", size=512, steps=300)
    >>> while not transfer.done:
    ...     losses = transfer.step()

    Args:
        content, style: paths, bytes, PIL images, or tensors (1, 3, H, W), RGB in [0, 1]; they may differ in size and shape.
            ``style`` may be a list of several.
        content_weight, style_weight, tv_weight: weights of the content loss, the style loss and the total variation (a mean
            over pixels here). Losses are relative: 1 is the loss of all-zero features.
        content_layers, style_layers: layer name -> weight; only their proportions count.
        style_blend: proportions of several styles, one number each; equal if None.
        masks: where on the content image each style is painted: one per style, tensors (H, W) or (1, 1, H, W) in [0, 1], of
            any size. Style statistics are then taken within each mask, and pixels under no mask get no style.
        size: longer side of the result in pixels.
        steps: optimisation steps in all, shared equally among the scales.
        coarsest: longer side at which the pyramid begins; ``coarsest=size`` paints at one scale.
        optimizer: "lbfgs" (with a strong-Wolfe line search) or "adam".
        init: what the picture starts as: "content", "style" or "noise".
        seed: of the noise.
        preserve_color: paint with the style's brightness only and keep the content's colours (Gatys et al., "Preserving
            Color in Neural Artistic Style Transfer", arXiv 1606.05897, section 3: luminance-only transfer).
        arch, weights, pooling: as in ``FeatureExtractor``; average pooling, as Gatys et al. prefer.
        precision: of the convolutions; None takes ``fast_precision`` of the device.
        device: None takes the GPU if there is one.

    Raises:
        nstlib.ImageError: an image cannot be used.
        ValueError: another argument cannot; the message names it.
        nstlib.AssetError: VGG's weights cannot be had.
    """

    def __init__(
        self,
        content: Source,
        style: Source | Sequence[Source],
        *,
        content_weight: float = 1.0,
        style_weight: float = 8.0,
        tv_weight: float = 10.0,
        content_layers: Mapping[str, float] = CONTENT_LAYERS,
        style_layers: Mapping[str, float] = STYLE_LAYERS,
        style_blend: Sequence[float] | None = None,
        masks: Sequence[Tensor] | None = None,
        size: int = 512,
        steps: int = 300,
        coarsest: int = 160,
        optimizer: str = "lbfgs",
        init: str = "content",
        seed: int = 0,
        preserve_color: bool = False,
        arch: str = "vgg16",
        weights: str | os.PathLike[str] | None = "imagenet",
        pooling: str = "average",
        precision: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.device = _device(device)
        self.size = _whole(size, "size", SHORTEST_SIDE)
        self.steps = _whole(steps, "steps", 1)
        self._weigh(content_weight, style_weight, tv_weight, style_layers)
        self.content_layers = _proportions(content_layers, "content_layers")
        self.optimizer_name = _one_of(optimizer, "optimizer", ("lbfgs", "adam"))
        self.init = _one_of(init, "init", ("content", "style", "noise"))
        self.seed = _whole(seed, "seed", 0)

        self.content = as_image(content, "content").to(self.device)
        styles = list(style) if isinstance(style, list | tuple) else [style]
        if not styles:
            raise ValueError("style is an empty list")
        names = ["style"] if len(styles) == 1 else [f"style[{i}]" for i in range(len(styles))]
        self.styles = [as_image(s, name).to(self.device) for s, name in zip(styles, names, strict=True)]
        blend = style_blend if style_blend is not None else [1.0] * len(styles)
        if not isinstance(blend, list | tuple):
            raise ValueError(f"style_blend must be a list, one number a style, not {blend!r}")
        if len(blend) != len(styles):
            raise ValueError(f"style_blend has {len(blend)} numbers for {len(styles)} styles")
        self.blend = list(_proportions(dict(enumerate(blend)), "style_blend").values())
        self.masks = None if masks is None else self._check_masks(masks)

        self.preserve_color = bool(preserve_color)
        if self.preserve_color:
            self.styles = [_match_luminance(s, self.content) for s in self.styles]

        longest = max(self.content.shape[2:])
        height, width = (max(1, round(side * self.size / longest)) for side in self.content.shape[2:])
        if min(height, width) < SHORTEST_SIDE:
            raise ImageError(f"content: {width} x {height} pixels at size {self.size}; each side needs {SHORTEST_SIDE}")
        smallest = math.ceil(SHORTEST_SIDE * max(height, width) / min(height, width))
        self.scales = pyramid(self.size, self.steps, max(_whole(coarsest, "coarsest", SHORTEST_SIDE), smallest))

        self.extractor = FeatureExtractor(
            arch,
            weights,
            list(dict.fromkeys([*self.content_layers, *self.style_layers])),
            pooling,
            precision or fast_precision(self.device),
        ).to(self.device)

        self.history: list[dict[str, float]] = []
        self._enter_scale(0, self._first_image())

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
        return self._show(self._visible(self._evaluated))

    @property
    def best(self) -> Tensor:
        """The picture with the lowest loss at the current scale."""
        return self._show(self._visible(self._best))

    # -- what a user does --

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
        if self.scale + 1 < len(self.scales) and self.step_count >= sum(n for _, n in self.scales[: self.scale + 1]):
            self._enter_scale(self.scale + 1, self._visible(self._best))
        self.optimizer.step(self._closure)
        # Adam's losses are those of the image that it stepped from; L-BFGS has evaluated the image it arrived at, except
        # when the line search went back to an earlier trial
        if self.optimizer_name == "lbfgs":
            self._closure()
        losses = {
            "step": self.step_count + 1,
            "size": self.scales[self.scale][0],
            **self._losses,
            "seconds": time.perf_counter() - started,
        }
        self.history.append(losses)
        return losses

    @torch.no_grad()
    def losses_of(self, image: Tensor) -> dict[str, float]:
        """The losses of any image of the current scale's size: "content", "style", "tv" and "total", as ``step`` gives them."""
        return {name: float(value) for name, value in self._losses_of(image.to(self.device)).items()}

    def reweight(self, content_weight: float, style_weight: float, tv_weight: float, style_layers: Mapping[str, float]) -> None:
        """Change the weights and go on from the picture as it is.

        ``best`` begins anew, for losses with other weights cannot be compared; so does L-BFGS, whose memory is of the old loss.

        Args:
            content_weight, style_weight, tv_weight, style_layers: as in the constructor; the layers must be the same.

        Raises:
            ValueError: a weight cannot be used, or the layers are others. The weights are then as they were.
        """
        if set(style_layers) != set(self.style_layers):
            raise ValueError(f"style_layers must be {', '.join(self.style_layers)}, not {', '.join(map(str, style_layers))}")
        self._weigh(content_weight, style_weight, tv_weight, style_layers)
        self.__dict__.pop("_identity", None)  # it is another transfer now
        if self.optimizer_name == "lbfgs":
            self.optimizer = self._new_optimizer()
        self._best_total = self._first_total = math.inf
        self._evaluate()

    def state_dict(self) -> dict[str, Any]:
        """All that ``load_state_dict`` needs to go on as if never interrupted: tensors, numbers and strings only."""
        return {
            "identity": self._identity,
            "scale": self.scale,
            "pixels": self.pixels.detach().clone(),
            "evaluated": self._evaluated.clone(),
            "best": self._best.clone(),
            "best_total": self._best_total,
            "first_total": self._first_total,
            "history": [dict(entry) for entry in self.history],
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, made by ``state_dict`` of a transfer with the same arguments.

        Raises:
            TransferError: the state is of another transfer; the message says what differs.
        """
        try:
            mine, theirs = self._identity, state["identity"]
            different = [key for key in mine if mine[key] != theirs.get(key)]
            if different:
                raise TransferError(f"this state is of another transfer; different: {', '.join(different)}")
            self._enter_scale(state["scale"], None)
            self._best = state["best"].to(self.device)
            self._best_total, self._first_total = state["best_total"], state["first_total"]
            self.history = [dict(entry) for entry in state["history"]]
            self.optimizer.load_state_dict(state["optimizer"])
            self.pixels.data.copy_(state["evaluated"])
            self._evaluate()
            self.pixels.data.copy_(state["pixels"])
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise TransferError(f"this is not the state of a transfer ({type(error).__name__}: {error})") from error

    # -- how it works --

    def _weigh(self, content_weight: float, style_weight: float, tv_weight: float, style_layers: Mapping[str, float]) -> None:
        weights = {"content_weight": content_weight, "style_weight": style_weight, "tv_weight": tv_weight}
        checked = {name: check_weight(weight, name) for name, weight in weights.items()}
        if not sum(checked.values()):
            raise ValueError("content_weight, style_weight and tv_weight are all 0: there is nothing to optimise")
        layers = _proportions(style_layers, "style_layers")
        self.content_weight, self.style_weight, self.tv_weight = checked.values()
        self.style_layers = layers

    def _new_optimizer(self) -> torch.optim.Optimizer:
        if self.optimizer_name == "adam":
            return torch.optim.Adam([self.pixels], lr=0.02)
        return torch.optim.LBFGS(
            [self.pixels],
            max_iter=1,
            max_eval=25,
            history_size=HISTORY,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

    def _enter_scale(self, scale: int, start: Tensor | None) -> None:
        """Prepare targets, pixels and optimizer for one scale of the pyramid."""
        self.scale = scale
        size = self.scales[scale][0]
        content = resize(self.content, size)
        shape = (content.shape[2], content.shape[3])
        with torch.no_grad():
            features = self.extractor(_gray(content) if self.preserve_color else content)
            self._content_targets = {layer: features[layer] for layer in self.content_layers}
            sizes = {layer: features[layer].shape[2:] for layer in self.style_layers}
            grams = [self._style_grams(resize(style, size)) for style in self.styles]
        if self.masks is None:
            # blending targets has the same gradient as blending the losses of several targets, and costs as one
            blended = {layer: sum(b * g[layer] for b, g in zip(self.blend, grams, strict=True)) for layer in self.style_layers}
            self._regions = [self._region(None, blended, sizes)]
        else:
            masks = [resize(mask, shape) for mask in self.masks]
            self._regions = [self._region(mask, g, sizes) for mask, g in zip(masks, grams, strict=True)]

        start = content if start is None else resize(start, shape)
        # L-BFGS's first step has length 1 (sum of absolute values). In this unit that moves pixels by one grey level on
        # average; with pixels in [0, 1] it would vanish in rounding, and the line search would have to find the scale.
        self._unit = start.numel() / 255 if self.optimizer_name == "lbfgs" else 1.0
        self.pixels = (start / self._unit).clone().requires_grad_(True)
        self.optimizer = self._new_optimizer()
        self._evaluated: Tensor | None = None
        self._best_total = self._first_total = math.inf
        self._evaluate()

    def _closure(self) -> Tensor:
        """Loss and gradient at the current pixels; what was just computed there is not computed again."""
        if self._evaluated is None or not torch.equal(self.pixels.detach(), self._evaluated):
            self._evaluate()
        self.pixels.grad = self._gradient.clone()
        return self._total

    def _losses_of(self, image: Tensor) -> dict[str, Tensor]:
        features = self.extractor(image)
        content = sum(
            weight * content_loss(features[layer], target) / target.float().square().sum().clamp_min(1e-12)
            for layer, weight in self.content_layers.items()
            for target in [self._content_targets[layer]]
        )
        style = sum(region.share * self._style_loss(features, region) for region in self._regions)
        tv = total_variation(image) / image.numel()
        total = self.content_weight * content + self.style_weight * style + self.tv_weight * tv
        return {"content": content, "style": style, "tv": tv, "total": total}

    def _evaluate(self) -> None:
        pixels = self.pixels * self._unit
        image = pixels.clamp(0, 1)
        losses = self._losses_of(image)
        # clipping has no gradient out there; this brings strays back
        objective = losses["total"] + OUT_OF_RANGE * (pixels - image).square().mean()
        (self._gradient,) = torch.autograd.grad(objective, self.pixels)

        self._evaluated = self.pixels.detach().clone()
        self._total = objective.detach()
        self._losses = {name: float(value.detach()) for name, value in losses.items()}
        if not (math.isfinite(float(self._total)) and bool(torch.isfinite(self._gradient).all())):
            raise DivergenceError(f"step {self.step_count + 1}: the loss or its gradient is not finite")
        if self._losses["total"] < self._best_total:
            self._best_total, self._best = self._losses["total"], self._evaluated
        if math.isinf(self._first_total):
            self._first_total = self._losses["total"]
        elif self.optimizer_name == "adam" and self._losses["total"] > DIVERGED * self._first_total:
            raise DivergenceError(f"step {self.step_count + 1}: the loss is {DIVERGED:g} times what it was at the beginning")

    def _style_loss(self, features: Mapping[str, Tensor], region: Region) -> Tensor:
        """Eq. (3) for one region, with w_l = weight / (E_l of all-zero features)."""
        return sum(
            weight / region.zero[layer] * style_loss(gram_matrix(features[layer], region.masks[layer]), region.grams[layer])
            for layer, weight in self.style_layers.items()
        )

    def _region(self, mask: Tensor | None, grams: dict[str, Tensor], sizes: Mapping[str, Sequence[int]]) -> Region:
        return Region(
            share=1.0 if mask is None else float(mask.mean()),
            grams=grams,
            zero={layer: style_loss(torch.zeros_like(gram), gram).clamp_min(1e-12) for layer, gram in grams.items()},
            masks={layer: None if mask is None else F.interpolate(mask, size, mode="area") for layer, size in sizes.items()},
        )

    def _style_grams(self, style: Tensor) -> dict[str, Tensor]:
        features = self.extractor(style)
        return {layer: gram_matrix(features[layer]) for layer in self.style_layers}

    def _first_image(self) -> Tensor:
        if self.init == "content":
            return _gray(self.content) if self.preserve_color else self.content
        if self.init == "style":
            return self.styles[0]
        shape = resize(self.content, self.scales[0][0]).shape
        return torch.rand(shape, generator=torch.Generator().manual_seed(self.seed)).to(self.device)

    def _visible(self, pixels: Tensor) -> Tensor:
        return (pixels * self._unit).clamp(0, 1)

    def _show(self, image: Tensor) -> Tensor:
        """With ``preserve_color``: the content's colours under the picture's luminance (Y of YIQ; I and Q stay)."""
        if not self.preserve_color:
            return image
        content = resize(self.content, (image.shape[2], image.shape[3]))
        return (content + _gray(image) - _gray(content)).clamp(0, 1)

    def _check_masks(self, masks: Sequence[Tensor]) -> list[Tensor]:
        if not isinstance(masks, list | tuple):
            raise ValueError(f"masks must be a list, one tensor a style, not {type(masks).__name__}")
        if len(masks) != len(self.styles):
            raise ValueError(f"masks: {len(masks)} for {len(self.styles)} styles; each style needs its own")
        checked = []
        for i, mask in enumerate(masks):
            if not isinstance(mask, Tensor) or mask.ndim not in (2, 4) or (mask.ndim == 4 and mask.shape[:2] != (1, 1)):
                raise ValueError(f"masks[{i}] must be a tensor (H, W) or (1, 1, H, W); torch.from_numpy makes one of an array")
            mask = mask.float().reshape(1, 1, *mask.shape[-2:]).to(self.device)
            if not torch.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1 or mask.max() == 0:
                raise ValueError(f"masks[{i}] must lie in [0, 1] and not be empty")
            checked.append(mask)
        return checked

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """What makes this transfer this one: arguments, and digests of the images."""
        return {
            "content": _digest([self.content]),
            "style": _digest(self.styles),
            "masks": _digest(self.masks or []),
            "style_blend": self.blend,
            "content_weight": self.content_weight,
            "style_weight": self.style_weight,
            "tv_weight": self.tv_weight,
            "content_layers": list(self.content_layers.items()),
            "style_layers": list(self.style_layers.items()),
            "size, steps or coarsest": [list(scale) for scale in self.scales],
            "optimizer": self.optimizer_name,
            "init": self.init,
            "seed": self.seed,
            "preserve_color": self.preserve_color,
            "arch": self.extractor.arch,
            "weights": _digest(self.extractor.parameters()),
            "pooling": self.extractor.pooling,
            "precision": str(self.extractor.precision),
        }


@dataclass(frozen=True)
class TransferResult:
    """What ``stylize`` returns."""

    image: Tensor  # (1, 3, H, W), RGB in [0, 1]: the best image of the finest scale reached
    history: list[dict[str, float]]  # what every step returned
    diverged: str | None = None  # why the run ended early, if it did


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

    Raises:
        As ``StyleTransfer``; TransferError: ``checkpoint`` cannot be read, is of another transfer, or lies in a folder that
            cannot be written to.

    Warns:
        RuntimeWarning: the run diverged, and the best image so far is returned; or a checkpoint could not be written.
    """
    if checkpoint is not None and not os.access(Path(checkpoint).parent, os.W_OK):
        raise TransferError(f"checkpoint {str(checkpoint)!r}: its folder does not exist or cannot be written to")
    transfer = StyleTransfer(content, style, **settings)
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
    return TransferResult(transfer.best, transfer.history, diverged)


def pyramid(size: int, steps: int, coarsest: int) -> list[tuple[int, int]]:
    """Longer side and steps of each scale, coarse to fine: sizes in geometric progression, steps in equal shares."""
    count = 1 if coarsest >= size else math.ceil(math.log(size / coarsest) / math.log(SCALE_STEP)) + 1
    count = min(count, steps)
    sizes = [round(size * (coarsest / size) ** (i / (count - 1))) for i in range(count - 1, 0, -1)] + [size]
    shares = [steps // count] * count
    shares[-1] += steps % count
    return list(zip(sizes, shares, strict=True))


def _gray(image: Tensor) -> Tensor:
    """Luminance in all three channels."""
    weights = torch.tensor(LUMINANCE, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)
    return (image * weights).sum(dim=1, keepdim=True).expand_as(image)


def _match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """The style in gray, with the mean and spread of the content's luminance (arXiv 1606.05897, section 3)."""
    style, content = _gray(style), _gray(content)
    return ((style - style.mean()) / style.std().clamp_min(1e-6) * content.std() + content.mean()).clamp(0, 1)


def _device(device: torch.device | str | None) -> torch.device:
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return chosen


def _whole(value: int, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value


def _one_of(value: str, name: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _proportions(weights: Mapping[Any, float], name: str) -> dict[Any, float]:
    """Weights made to sum to 1."""
    if not isinstance(weights, Mapping):
        raise ValueError(f"{name} must map names of layers to weights, as {{'relu4_2': 1}}, not {weights!r}")
    checked = {key: check_weight(weight, f"{name}[{key!r}]") for key, weight in weights.items()}
    total = sum(checked.values())
    if not total:
        raise ValueError(f"{name} must hold at least one weight above 0")
    return {key: weight / total for key, weight in checked.items()}


def _digest(tensors: Any) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


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
