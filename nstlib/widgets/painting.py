"""Painting in the background, without widgets: a style transfer without an end, and the thread that advances it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nstlib.statistics import STYLE_LAYERS
from nstlib.transfer import StyleTransfer

REFRESH = 0.1  # seconds between pictures, at least: more than ten a second nobody sees, and slow connections choke on them


@dataclass(frozen=True)
class Weights:
    """What the sliders say; never changed, only replaced, so that a thread that reads it once reads all of it."""

    content: float = 1.0
    style: float = 8.0
    tv: float = 10.0
    layers: tuple[tuple[str, float], ...] = tuple(STYLE_LAYERS.items())


class Painting:
    """A style transfer without an end, whose weights may be replaced at any time. One thread at a time may advance it.

    Args:
        begin: makes the transfer; called at the first step, for it takes a while.
        weights: those of the transfer that ``begin`` makes.
        show: called with this painting when there is something to see.
        clock: seconds.

    Attributes:
        weights: replace it to bend the picture.
        image: the picture as last shown, (1, 3, H, W), RGB in [0, 1]; None before the first.
        transfer: the style transfer; None before the first step.
    """

    def __init__(
        self,
        begin: Callable[[], StyleTransfer],
        weights: Weights,
        show: Callable[[Painting], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.weights = self._in_use = weights
        self.image: Tensor | None = None
        self._begin, self._show, self._clock = begin, show, clock
        self.transfer: StyleTransfer | None = None
        self._shown = -math.inf

    @property
    def history(self) -> list[dict[str, float]]:
        """What every step returned."""
        return self.transfer.history if self.transfer else []

    @property
    def weights_in_use(self) -> Weights:
        """The weights of the last step."""
        return self._in_use

    def open(self) -> StyleTransfer:
        """Make the transfer and show where it starts, unless that was done; return it."""
        if self.transfer is None:
            self.transfer = self._begin()
            self.show()
        return self.transfer

    def advance(self) -> None:
        """Take one step, with the newest weights; show it unless something was shown just now."""
        transfer = self.open()
        weights = self.weights  # read once: the sliders may replace it meanwhile
        if weights != self._in_use:
            transfer.reweight(weights.content, weights.style, weights.tv, dict(weights.layers))
            self._in_use = weights
        transfer.step()
        if self._clock() - self._shown >= REFRESH:
            self.show()

    def show(self) -> None:
        """Show the picture as it stands, if there is one."""
        if self.transfer is None:
            return
        self.image = self.transfer.image
        self._show(self)
        self._shown = self._clock()


class Worker(threading.Thread):
    """Advances a painting in the background; it dies with the kernel.

    Args:
        painting: its own from now on.
        failed: called with the exception that ended the thread, if one did.
    """

    def __init__(self, painting: Painting, failed: Callable[[Exception], None]):
        super().__init__(name="nstlib-lab", daemon=True)
        self.painting = painting
        self._failed = failed
        self._going, self._stopping, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._until = math.inf

    def go(self, steps: int | None = None) -> None:
        """Paint ``steps`` more steps, or until told otherwise."""
        with self._lock:
            self._until = math.inf if steps is None else len(self.painting.history) + steps
            self._going.set()

    def pause(self) -> None:
        """Finish the step and wait."""
        self._going.clear()

    def stop(self) -> None:
        """End the thread, and wait until it has."""
        self._stopping.set()
        self._going.set()
        if self.is_alive():
            self.join()

    @property
    def going(self) -> bool:
        """Whether it paints, or will as soon as it can."""
        return self.is_alive() and self._going.is_set()

    def run(self) -> None:
        """Paint until told to stop; ``threading.Thread`` calls this."""
        try:
            self.painting.open()
            while True:
                if not self._going.is_set():
                    self.painting.show()  # what the refresh rate kept back
                    self._going.wait()
                if self._stopping.is_set():
                    return
                self.painting.advance()
                with self._lock:
                    if len(self.painting.history) >= self._until:
                        self._going.clear()
        except Exception as error:
            self._failed(error)
