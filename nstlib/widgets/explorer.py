"""A picture that follows sliders: for one knob, or a few, in the middle of a lesson."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from torch import Tensor

from nstlib.widgets.base import Lab, picture, reporting, row, slider


class Explorer(Lab):
    """Sliders, and a picture that is drawn again whenever one of them moves.

    >>> Explorer(lambda sigma: canny(frame, sigma).expand(-1, 3, -1, -1), alt="Canny's lines", sigma=(1.0, 0.0, 4.0))

    Args:
        draw: takes the sliders' values by name and gives an image, (1, 3, H, W), RGB in [0, 1].
        alt: what the picture shows, for those who cannot see it.
        sliders: name -> (value at the start, least, most). Three whole numbers (``int``) make a slider of whole numbers.

    Raises:
        ValueError: no slider, or a value at the start that is not between least and most.
    """

    def __init__(self, draw: Callable[..., Tensor], alt: str, **sliders: tuple[float, float, float]):
        super().__init__()
        if not sliders:
            raise ValueError("an Explorer needs a slider")
        self._draw, self._alt = draw, alt
        self.sliders: dict[str, Any] = {}
        for name, (value, least, most) in sliders.items():
            if not least <= value <= most:
                raise ValueError(f"{name} starts at {value:g}, which is not between {least:g} and {most:g}")
            whole = all(isinstance(number, int) for number in (value, least, most))
            kind, step = (widgets.IntSlider, 1) if whole else (widgets.FloatSlider, (most - least) / 100)
            self.sliders[name] = slider(kind, name, value=value, min=least, max=most, step=step)
            self.sliders[name].observe(self._on_slider, "value")
        self.picture = widgets.HTML(layout={"width": "48%"})
        self.children = (row(self.picture, widgets.VBox(list(self.sliders.values()))), self.message)
        self._update()

    def _update(self) -> None:
        values = {name: control.value for name, control in self.sliders.items()}
        caption = ", ".join(f"{name} = {value:.3g}" for name, value in values.items())
        self.picture.value = picture(self._draw(**values), caption, f"{self._alt}, with {caption}")

    @reporting
    def _on_slider(self, change: Any) -> None:
        self._update()
