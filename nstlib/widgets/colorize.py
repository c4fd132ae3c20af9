"""The colorization lab: a frame becomes a condition and is colorized again, following the sliders."""

from __future__ import annotations

import inspect
import time
from typing import Any

import ipywidgets as widgets

from nstlib.anime import AnimeFrames
from nstlib.edges import OPERATORS, Condition, is_drawing
from nstlib.frames import middle_square
from nstlib.images import resize
from nstlib.metrics import color_accuracy
from nstlib.model import ColorizationModel
from nstlib.training import Frames
from nstlib.widgets.base import WIDE, Lab, picture, reporting, row, slider, upload_button, uploaded_image


class ColorizeLab(Lab):
    """From a frame to its line-art to its colorization, following the slider: frame, condition, colorized side by side.

    Args:
        colorizers: one or more. The one that was trained on the chosen operator colorizes; if there is none, the last.
        frames: a dataset of (3, H, W), RGB in [0, 1], to pick from; default: held-out frames of the show (``AnimeFrames``).

    Raises:
        ValueError: no colorizer.
        nstlib.AssetError: the art is missing or damaged.
    """

    def __init__(self, *colorizers: ColorizationModel, frames: Frames | None = None):
        super().__init__()
        if not colorizers:
            raise ValueError("ColorizeLab needs a colorizer")
        self._colorizers = colorizers
        self._size = max(colorizer.frame_size for colorizer in colorizers)
        self._frames: Frames = frames if frames is not None else AnimeFrames("shots", self._size, length=100)
        self._frame = self._frames[0][None]
        first = colorizers[-1].condition

        self.number = widgets.IntSlider(description="frame", value=0, min=0, max=len(self._frames) - 1, **WIDE)
        operators = [name for name in OPERATORS if name not in ("mixed", "given")]
        self.operator = widgets.Dropdown(
            options=operators,
            value=first.operator if first.operator in operators else "canny",
            description="condition",
            **WIDE,
        )
        self.sigma = slider(widgets.FloatSlider, "σ, in pixels", value=1.0, min=0.0, max=4, step=0.1)
        self.sigma.value = _sigma(first)
        self.number.observe(self._on_number, "value")
        for control in (self.operator, self.sigma):
            control.observe(self._on_condition, "value")
        self.line_art = widgets.Checkbox(description="my picture is line-art", value=False, indent=False)
        self.line_art.observe(self._on_condition, "value")
        upload = upload_button("Picture of your own", self.upload)
        self.pictures = {name: widgets.HTML(layout={"width": "32%"}) for name in ("frame", "condition", "colorized")}
        self.measured = widgets.HTML()
        self.children = (
            row(*self.pictures.values(), justify_content="space-between"),
            self.measured,
            row(widgets.VBox([self.number, self.operator, self.sigma]), widgets.VBox([upload, self.line_art])),
            self.message,
        )
        self._colorize()

    def _colorize(self) -> None:
        operator = self.operator.value
        colorizer = next((c for c in self._colorizers if c.condition.operator == operator), self._colorizers[-1])
        supersample = colorizer.condition.supersample
        drawn = self.line_art.value
        self.sigma.disabled = drawn or operator == "grayscale"
        settings = dict(colorizer.condition.settings) if colorizer.condition.operator == operator else {}
        if operator != "grayscale":
            settings["sigma"] = self.sigma.value
        frame = resize(self._frame, (colorizer.frame_size, colorizer.frame_size))
        condition = Condition(operator, supersample=supersample, **settings)
        started = time.perf_counter()
        lines = colorizer.drawing_condition(self._frame) if drawn else condition(frame)
        truth = condition.downsample(frame)
        colorized = colorizer.colorize(lines).cpu()
        seconds = time.perf_counter() - started
        name = "your line-art" if drawn else _name(condition)
        shown = {
            "frame": (truth, "frame", "the frame"),
            "condition": (lines.expand(-1, 3, -1, -1), name, f"the frame's condition: {name}"),
            "colorized": (colorized, "colorized", "the frame, colorized from its condition"),
        }
        for name, (image, caption, alt) in shown.items():
            self.pictures[name].value = picture(image, caption, alt)
        by = f"colorized in {1000 * seconds:.0f} ms by the colorizer trained on {_name(colorizer.condition)}"
        if drawn:  # there are no true colors to compare with
            self.measured.value = by
            return
        accuracy = [color_accuracy(colorized, truth, threshold).item() for threshold in (2, 5)]
        self.measured.value = f"{by}; accuracy {accuracy[0]:.2f} at t = 2, {accuracy[1]:.2f} at t = 5"

    @reporting
    def _on_number(self, change: Any) -> None:
        self._frame = self._frames[self.number.value][None]
        self.line_art.value = False
        self._colorize()

    @reporting
    def _on_condition(self, change: Any) -> None:
        self._colorize()

    @reporting
    def upload(self, change: Any) -> None:
        """Take an uploaded file, the "new" of ``change``, as the frame."""
        if change["new"]:
            self._frame = middle_square(uploaded_image(change["new"]))
            self.line_art.value = is_drawing(self._frame)
            self._colorize()


def _sigma(condition: Condition) -> float:
    """The width of the condition's blur, given or by default; 1 if it has none."""
    parameters = inspect.signature(OPERATORS[condition.operator]).parameters
    default = parameters["sigma"].default if "sigma" in parameters else 1.0
    return float(condition.settings.get("sigma", default))


def _name(condition: Condition) -> str:
    """As "canny, σ = 1"."""
    sigma = condition.settings.get("sigma")
    return condition.operator if sigma is None else f"{condition.operator}, σ = {sigma:.3g}"
