"""The optimization of the pixels of one image, at one size: loss, gradient, step, and the best image so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nstlib.autograd import own_autograd

HISTORY = 20  # gradients that L-BFGS remembers; 60 gained nothing
MEMORY = 1.2e9  # bytes that it may take for them; at 4096 x 3072 pixels that is three
OUT_OF_RANGE = 2.6e4  # weight of the mean squared distance by which pixels leave [0, 1]
DIVERGED = 100.0  # times the first loss
LEAST = 0.01  # a smaller first loss counts as this: at a perfect start, every step increases the loss


class TransferError(RuntimeError):
    """A transfer that cannot go on: a state that is not its own, an unreadable checkpoint."""


class DivergenceError(TransferError):
    """The loss is not finite or, with Adam, over 100 times the first. ``StyleTransfer.best`` keeps the best image so far."""


def clip(pixels: Tensor) -> Tensor:
    """To [0, 1], with the gradient 1 where 0 <= pixels <= 1, and 0 outside."""
    return torch.where((pixels >= 0) & (pixels <= 1), pixels, pixels.detach().clamp(0, 1))


class PixelOptimizer:
    """An image whose pixels are optimized.

    The loss is computed on the image clipped to [0, 1], as it can be shown. The gradient of this clipping is 1 in [0, 1], ends
    included, so that black and white pixels can change, too. Outside, it is 0; a penalty brings those pixels back. (The
    gradient of ``torch.clamp`` at the ends is 1 or 0, depending on the version of PyTorch.)

    Args:
        objective: takes an image (1, 3, H, W) and returns named losses; "total" is minimized.
        start: shape (1, 3, H, W), RGB in [0, 1].
        method: "lbfgs" (with a strong-Wolfe line search) or "adam".

    Attributes:
        pixels: the leaf tensor, in units of ``unit``.
        unit: the RGB value that 1 in ``pixels`` stands for.
        value: "total" plus the penalty, at the last evaluation.
        gradient: of ``value`` with respect to ``pixels``.
        losses: named losses of ``image``, as floats.
        best_total: the lowest "total" so far.

    Raises:
        DivergenceError: the loss of ``start`` is not finite.
    """

    def __init__(self, objective: Callable[[Tensor], dict[str, Tensor]], start: Tensor, method: str = "lbfgs") -> None:
        self.objective, self.method = objective, method
        # L-BFGS's first step has length 1 (sum of absolute values). In this unit that moves pixels by one gray level on
        # average; with pixels in [0, 1] it would vanish in rounding, and the line search would have to find the scale.
        self.unit = start.numel() / 255 if method == "lbfgs" else 1.0
        with torch.inference_mode(False):
            self.pixels = (start / self.unit).detach().clone().requires_grad_(True)
        self._optimizer = self._new_optimizer()
        self._evaluated: Tensor  # the pixels of the last evaluation
        self.restart()

    @property
    def image(self) -> Tensor:
        """The image at the last evaluation, (1, 3, H, W), RGB in [0, 1]."""
        return self._clipped(self._evaluated)

    @property
    def best(self) -> Tensor:
        """The image with the lowest total loss, (1, 3, H, W), RGB in [0, 1]."""
        return self._clipped(self._best)

    def restart(self) -> None:
        """Begin anew from the pixels as they are: a new objective, or new weights.

        ``best`` begins anew, because losses of different objectives cannot be compared. L-BFGS begins anew, because its memory
        belongs to the old loss. Adam keeps its running means.
        """
        if self.method == "lbfgs":
            self._optimizer = self._new_optimizer()
        self.best_total = self.first_total = math.inf
        self.evaluate()

    @own_autograd
    def step(self) -> dict[str, float]:
        """Take one step.

        Returns:
            ``losses``: with Adam those before the step, with L-BFGS those after it.

        Raises:
            DivergenceError: the loss is not finite or, with Adam, which has no line search to prevent it, a hundred times the
                first one.
        """
        self._optimizer.step(self._closure)
        if self.method == "lbfgs":
            self._closure()  # the line search may have gone back to an earlier trial
        return self.losses

    @own_autograd
    def evaluate(self) -> None:
        """Compute losses and gradient at the pixels.

        Raises:
            DivergenceError: as ``step``.
        """
        pixels = self.pixels * self.unit
        image = clip(pixels)
        losses = self.objective(image)
        value = losses["total"] + OUT_OF_RANGE * (pixels - image).square().mean()
        (self.gradient,) = torch.autograd.grad(value, self.pixels)

        self._evaluated = self.pixels.detach().clone()
        self.value = value.detach()
        self.losses = {name: float(loss.detach()) for name, loss in losses.items()}
        if not (math.isfinite(float(self.value)) and bool(torch.isfinite(self.gradient).all())):
            raise DivergenceError("the loss or its gradient is not finite")
        if self.losses["total"] < self.best_total:
            self.best_total, self._best = self.losses["total"], self._evaluated
        if math.isinf(self.first_total):
            self.first_total = self.losses["total"]
        elif self.method == "adam" and self.losses["total"] > DIVERGED * max(self.first_total, LEAST):
            raise DivergenceError(f"the loss is {DIVERGED:g} times what it was at the beginning")

    def state_dict(self) -> dict[str, Any]:
        """All that ``load_state_dict`` needs to go on as if never interrupted."""
        return {
            "pixels": self.pixels.detach().clone(),
            "evaluated": self._evaluated.clone(),
            "best": self._best.clone(),
            "best_total": self.best_total,
            "first_total": self.first_total,
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, of an optimization of the same objective and size."""
        self._best = state["best"].to(self.pixels.device)
        self.best_total, self.first_total = state["best_total"], state["first_total"]
        self._optimizer.load_state_dict(state["optimizer"])
        self.pixels.data.copy_(state["evaluated"])
        self.evaluate()
        self.pixels.data.copy_(state["pixels"])

    def _closure(self) -> float:
        """Loss and gradient at the pixels; what was just computed there is not computed again."""
        if not torch.equal(self.pixels.detach(), self._evaluated):
            self.evaluate()
        self.pixels.grad = self.gradient.clone()
        return float(self.value)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        if self.method == "adam":
            return torch.optim.Adam([self.pixels], lr=0.02)
        return torch.optim.LBFGS(
            [self.pixels],
            max_iter=1,
            max_eval=25,
            history_size=max(3, min(HISTORY, int(MEMORY / (8 * self.pixels.numel())))),
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

    def _clipped(self, pixels: Tensor) -> Tensor:
        return (pixels * self.unit).clamp(0, 1)
