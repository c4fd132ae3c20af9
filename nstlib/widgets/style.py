"""The style lab: a style transfer to be steered by sliders while it paints."""

from __future__ import annotations

import atexit
import functools
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from torch import Tensor

from nstlib.arguments import whole_number
from nstlib.assets import asset_path
from nstlib.fast_style import FastStyle
from nstlib.images import ImageError, Source, as_image, load_image, resize, save_image
from nstlib.sources import SHORTEST_SIDE
from nstlib.statistics import STYLE_LAYERS
from nstlib.transfer import StyleTransfer
from nstlib.widgets.base import WIDE, Lab, button, picture, reporting, row, slider, upload_button, uploaded_image
from nstlib.widgets.painting import Painting, Weights, Worker
from nstlib.widgets.palette import CONTENT, INK, STYLE

CURVE = (240, 80, 150)  # of the loss curve: width and height in pixels, points at most
SOURCE = 480  # pixels to which content and style are brought down for show
PAINTINGS = {  # that come with the repository: title, name of the asset
    "The Scream": "scream",
    "The Starry Night": "starry-night",
    "Café Terrace at Night": "cafe-terrace",
    "The Night Café": "night-cafe",
    "The Church at Auvers": "church-at-auvers",
}
GIVEN = "as given"
LEARNED = "The Scream"  # the painting of the button "Instant"
COLAB = "pictures painted in the background do not show on Colab; this button paints some steps at a time"


class StyleLab(Lab):
    """A style transfer to be steered while it paints: content, picture and style side by side, sliders below.

    When a slider moves, painting goes on from the current picture with the new weights. The picture is painted coarse first,
    then finer, then at full size until it is paused. One lab paints at a time: opening a lab ends the thread of the lab before.

    Args:
        content, style: paths, bytes, PIL images, or tensors (1, 3, H, W), RGB in [0, 1].
        size: longer side of the painting in pixels.
        steps: shared equally among the scales, coarse to fine; after them, painting goes on at full size.
        steps_per_press: steps that the button of that name takes.

    Attributes:
        painting: what is painted now.
        worker: the thread that paints; None on Colab.

    Raises:
        nstlib.ImageError: an image cannot be used.
        ValueError: another argument cannot.
    """

    active: StyleLab | None = None  # the lab whose thread paints

    def __init__(self, content: Source, style: Source, *, size: int = 224, steps: int = 90, steps_per_press: int = 20):
        super().__init__()
        self.images = {"content": as_image(content, "content"), "style": as_image(style, "style")}
        self.size = whole_number(size, "size", SHORTEST_SIDE)
        self.steps = whole_number(steps, "steps", 1)
        self.steps_per_press = whole_number(steps_per_press, "steps_per_press", 1)
        self.worker: Worker | None = None
        self._in_colab = "google.colab" in sys.modules

        self.content_weight = slider(widgets.FloatLogSlider, "content", value=1.0, min=-2, max=2, step=0.1)
        self.style_weight = slider(widgets.FloatLogSlider, "style", value=10**0.9, min=-1, max=3, step=0.1)
        self.tv_weight = slider(widgets.FloatLogSlider, "total variation", value=10.0, min=-1, max=3, step=0.1)
        self.layer_weights = {
            name: slider(widgets.FloatSlider, name, value=1, min=0, max=1, step=0.05) for name in STYLE_LAYERS
        }
        for control in (self.content_weight, self.style_weight, self.tv_weight, *self.layer_weights.values()):
            control.observe(self._on_weight, "value")
        self.pooling = widgets.Dropdown(options=["average", "max"], description="pooling", **WIDE)
        self.init = widgets.Dropdown(options=["content", "style", "noise"], description="start from", **WIDE)
        for control in (self.pooling, self.init):
            control.observe(self._on_choice, "value")
        self.menu = widgets.Dropdown(options=[GIVEN, *PAINTINGS], description="style image", **WIDE)
        self.menu.observe(self._on_painting, "value")
        self._given = self.images["style"]

        shares = {"content": "27%", "painting": "44%", "style": "27%"}
        self.pictures = {name: widgets.HTML(layout={"width": share}) for name, share in shares.items()}
        self.progress, self.curve = widgets.HTML(), widgets.HTML()
        self.children = self._layout()
        for name, image in self.images.items():
            self._show_source(name, image)
        self.reset()

    def _layout(self) -> tuple[widgets.Widget, ...]:
        """Pictures, progress, buttons, message, sliders: from top to bottom."""
        start = button("Start", self._on_start, "paint until paused")
        start.disabled = self._in_colab
        chunk = COLAB if self._in_colab else f"paint {self.steps_per_press} steps, then pause"
        buttons = (
            start,
            button("Pause", self._on_pause, "stop painting; the picture stays"),
            button(f"{self.steps_per_press} steps", self._on_steps, chunk),
            button("Reset", self._on_reset, "begin anew"),
            button("Instant", self._on_instant, f"paint as {LEARNED}, in one pass of a network"),
            button("Save", self._on_save, "write the picture as PNG into the notebook's folder"),
            upload_button("Content image", functools.partial(self.upload, "content")),
            upload_button("Style image", functools.partial(self.upload, "style")),
        )
        heading = [widgets.HTML(f"<b>{text}</b>") for text in ("weights of the losses", "weights of the style's layers")]
        losses = [heading[0], self.content_weight, self.style_weight, self.tv_weight, self.pooling, self.init, self.menu]
        return (
            row(*self.pictures.values(), align_items="center", justify_content="space-between"),
            row(self.progress, self.curve, align_items="center", justify_content="space-between"),
            row(*buttons),
            self.message,
            row(widgets.VBox(losses), widgets.VBox([heading[1], *self.layer_weights.values()])),
        )

    # what a user does

    def start(self, steps: int | None = None) -> None:
        """Paint ``steps`` more steps in the background, or until paused if None. On Colab, paint ``steps`` steps at once."""
        with self._lock:
            if self._in_colab:
                for _ in range(steps or 0):
                    self.painting.advance()
                self.painting.show()
                return
            if not (self.worker and self.worker.is_alive()):  # it failed, or another lab has taken over
                self.reset()
            if self.worker:
                self.worker.go(steps)

    def pause(self) -> None:
        """Stop painting; the picture stays."""
        with self._lock:
            if self.worker:
                self.worker.pause()

    def reset(self) -> None:
        """Begin anew with what is chosen; go on painting if it was."""
        with self._lock:
            weights = self._weights()
            going = self.worker is not None and self.worker.going
            other, StyleLab.active = StyleLab.active, self
            if other is not None:
                other.stop()
                if other is not self:
                    other.say("another lab paints now; Start begins anew here")
            begin = functools.partial(
                StyleTransfer,
                self.images["content"],
                self.images["style"],
                statistic="gram",  # the poster's
                content_weight=weights.content,
                style_weight=weights.style,
                tv_weight=weights.tv,
                style_layers=dict(weights.layers),
                size=self.size,
                steps=self.steps,
                coarsest=96,  # a first picture within a second or two
                optimizer="adam",  # a step costs the same each time, and takes new weights in its stride
                init=self.init.value,
                pooling=self.pooling.value,
            )
            self.painting = Painting(begin, weights, self._show)
            if self._in_colab:
                self.painting.open()
                return
            self.worker = Worker(self.painting, self.complain)
            self.worker.start()
            if going:
                self.worker.go()

    def instant(self) -> None:
        """Show the content image as a network paints it that learned *The Scream*: one pass, whatever the style image is."""
        with self._lock:
            self.stop()  # no thread paints over it
            started = time.monotonic()
            image = _learned().stylize(resize(self.images["content"], self.size))
            self.painting.image = image
            self.pictures["painting"].value = picture(image, "in one pass", f"the content image as {LEARNED}, in one pass")
            seconds = time.monotonic() - started
            self.say(f"painted as {LEARNED} in {seconds:.1f} s, by a network that learned it; Start begins the search")

    def stop(self) -> None:
        """End the thread that paints. The picture stays; ``start`` begins anew."""
        with self._lock:
            if self.worker:
                self.worker.stop()

    def save(self, path: str | Path) -> None:
        """Write the picture as shown.

        Raises:
            nstlib.ImageError: there is none yet, or the path cannot be written.
        """
        if self.painting.image is None:
            raise ImageError("there is no picture to save yet")
        save_image(self.painting.image, path)

    # what the widgets do

    def _weights(self) -> Weights:
        layers = tuple((name, slider.value) for name, slider in self.layer_weights.items())
        if not any(weight for _, weight in layers):
            raise ValueError("at least one of the style's layers needs a weight above 0; the last weights stay in use")
        return Weights(self.content_weight.value, self.style_weight.value, self.tv_weight.value, layers)

    def _show_source(self, name: str, image: Tensor) -> None:
        self.pictures[name].value = picture(resize(image, SOURCE), name, f"the {name} image")

    def _show(self, painting: Painting) -> None:
        assert painting.image is not None, "Painting shows itself when it has a picture"
        history = painting.history
        steps = len(history)
        alt = f"the picture after {steps} steps"
        self.pictures["painting"].value = picture(painting.image, f"painting, step {steps}", alt)
        self.progress.value = progress_text(history, painting.weights_in_use)
        self.curve.value = loss_curve(history)

    @reporting
    def _on_weight(self, change: Any) -> None:
        self.painting.weights = self._weights()

    @reporting
    def _on_choice(self, change: Any) -> None:
        self.reset()

    @reporting
    def _on_painting(self, change: Any) -> None:
        title = change["new"]
        self._take("style", self._given if title == GIVEN else load_image(asset_path(PAINTINGS[title])))

    @reporting
    def _on_start(self, button: Any) -> None:
        self.start()

    @reporting
    def _on_pause(self, button: Any) -> None:
        self.pause()

    @reporting
    def _on_steps(self, button: Any) -> None:
        self.start(self.steps_per_press)

    @reporting
    def _on_reset(self, button: Any) -> None:
        self.reset()

    @reporting
    def _on_instant(self, button: Any) -> None:
        self.instant()

    @reporting
    def _on_save(self, button: Any) -> None:
        path = next(path for i in range(1, sys.maxsize) if not (path := Path(f"painting-{i}.png")).exists())
        self.save(path)
        self.say(f"saved as {path}")

    @reporting
    def upload(self, name: str, change: Any) -> None:
        """Take an uploaded file, the "new" of ``change``, as the "content" or "style" image, and begin anew."""
        if change["new"]:
            self._take(name, uploaded_image(change["new"]))

    def _take(self, name: str, image: Tensor) -> None:
        """Make an image the content or the style, and begin anew."""
        self._show_source(name, image)  # refuses what is too narrow to be shown, before it takes the other's place
        self.images[name] = image
        self.reset()


def progress_text(history: Sequence[dict[str, float]], weights: Weights) -> str:
    """Step, losses and the weights in use, as HTML."""
    if not history:
        return "not painted yet"
    last, recent = history[-1], history[-10:]
    seconds = sum(entry["seconds"] for entry in recent) / len(recent)
    layers = ", ".join(f"{weight:.3g}" for _, weight in weights.layers)
    return (
        f"<div style='line-height: 1.7'>step {last['step']} at {last['size']} px, {seconds:.2f} s a step<br>"
        f"losses: content {last['content']:.3f}, style {last['style']:.3f}, total variation {last['tv']:.4f}<br>"
        f"weights in use: content {weights.content:.3g}, style {weights.style:.3g}, total variation {weights.tv:.3g}; "
        f"layers {layers}</div>"
    )


def loss_curve(history: Sequence[dict[str, float]]) -> str:
    """Content and style loss over the steps, the losses on a logarithmic scale, as SVG."""
    width, height, most = CURVE
    every = max(1, math.ceil(len(history) / most))
    shown = history[::every]
    if len(shown) < 2:
        return ""
    logs = {name: [math.log10(max(entry[name], 3e-3)) for entry in shown] for name in ("content", "style")}
    low, high = min(map(min, logs.values())), max(map(max, logs.values()))
    lines = []
    for name, color in (("content", CONTENT), ("style", STYLE)):
        points = " ".join(
            f"{i * width / (len(shown) - 1):.1f},{(high - value) / max(high - low, 0.1) * (height - 4) + 2:.1f}"
            for i, value in enumerate(logs[name])
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        lines.append(f'<text x="{width + 6}" y="{18 if name == "content" else 36}" fill="{color}">{name}</text>')
    lines.append(f'<text x="{width + 6}" y="{height - 4}" fill="{INK}" font-size="11">log scale</text>')
    alt = f"losses over {len(history)} steps: content {history[-1]['content']:.3f}, style {history[-1]['style']:.3f} now"
    return (
        f'<svg role="img" aria-label="{alt}" width="{width + 70}" height="{height}" font-size="13">'
        f'<rect width="{width}" height="{height}" fill="none" stroke="#cccccc"/>{"".join(lines)}</svg>'
    )


@functools.cache
def _learned() -> FastStyle:
    return FastStyle.load(asset_path("fast-style-scream"))


@atexit.register
def _stop_painting() -> None:
    """A thread that computes while Python shuts down would abort it."""
    if StyleLab.active is not None:
        StyleLab.active.stop()
