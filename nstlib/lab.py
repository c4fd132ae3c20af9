"""Live labs for notebooks: pictures that change while a slider moves.

``StyleLab`` paints in a thread of its own, so that the kernel stays free for other cells; ``ColorizeLab`` answers within the
slider's own message and needs none. Made of ipywidgets 7.7 or 8: JupyterLab, Notebook, VS Code, Colab.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import PIL.Image
from torch import Tensor
from torch.utils.data import Dataset

from nstlib import profiles
from nstlib.colorizer import Colorizer
from nstlib.edges import OPERATORS, Condition
from nstlib.frames import AnimeFrames, middle_square
from nstlib.images import ImageError, Source, as_image, load_image, resize, save_image, to_uint8
from nstlib.metrics import color_accuracy
from nstlib.plots import CONTENT, INK, STYLE
from nstlib.transfer import STYLE_LAYERS, StyleTransfer

REFRESH = 0.1  # seconds between pictures, at least: more than ten a second nobody sees, and slow lines choke on them
CURVE = (240, 80, 150)  # of the loss curve: width and height in pixels, points at most
WIDTH = "1000px"  # of a lab, at most; its pictures share that out
SOURCE = 480  # pixels to which content and style are brought down for show
COLAB = "pictures painted in the background do not show on Colab; this button paints some steps at a time"


# --- painting, without widgets ----------------------------------------------------------------------------------------


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
        history: what every step returned.
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
        self._transfer: StyleTransfer | None = None
        self._shown = -math.inf

    @property
    def history(self) -> list[dict[str, float]]:
        return self._transfer.history if self._transfer else []

    @property
    def weights_in_use(self) -> Weights:
        """Those of the last step."""
        return self._in_use

    def open(self) -> None:
        """Make the transfer and show where it starts."""
        if self._transfer is None:
            self._transfer = self._begin()
            self.show()

    def advance(self) -> None:
        """Take one step, with the newest weights; show it unless something was shown just now."""
        self.open()
        weights = self.weights  # read once: the sliders may replace it meanwhile
        if weights != self._in_use:
            self._transfer.reweight(weights.content, weights.style, weights.tv, dict(weights.layers))
            self._in_use = weights
        self._transfer.step()
        if self._clock() - self._shown >= REFRESH:
            self.show()

    def show(self) -> None:
        """Show the picture as it stands."""
        self.image = self._transfer.image
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


# --- what both labs have ------------------------------------------------------------------------------------------------


def _reporting(method: Callable[..., None]) -> Callable[..., None]:
    """A callback whose exceptions are shown in the lab: Jupyter would only log them."""

    @functools.wraps(method)
    def guarded(self: _Lab, *arguments: Any) -> None:
        try:
            with self._lock:
                self._say("")
                method(self, *arguments)
        except Exception as error:
            self._complain(error)

    return guarded


class _Lab(widgets.VBox):
    """A box of widgets with a line for messages."""

    # Callbacks may come from a thread of the kernel's while a cell calls a lab's methods. One lock for all labs, since one may
    # stop another; a worker never takes it, so that it can be waited for.
    _lock = threading.RLock()

    def __init__(self) -> None:
        self._message = widgets.HTML()
        super().__init__(layout={"max_width": WIDTH})

    def __repr__(self) -> str:  # what stands in a notebook that is only read
        return f"{type(self).__name__}: run this cell to see it"

    def _say(self, text: str) -> None:
        self._message.value = f'<div role="status">{html.escape(text)}</div>'

    def _complain(self, error: Exception) -> None:
        text = str(error) if isinstance(error, (ImageError, ValueError)) else f"{type(error).__name__}: {error}"
        self._message.value = f'<div role="alert" style="color: {STYLE}">{html.escape(text)}</div>'


def _figure(image: Tensor, caption: str, alt: str) -> str:
    """A picture as HTML, as wide as its widget: ipywidgets' own Image has no alternative text."""
    pixels = PIL.Image.fromarray(to_uint8(image))
    stream, kind = io.BytesIO(), "png" if max(pixels.size) <= 128 else "jpeg"  # JPEG's blocks would show in small ones
    pixels.save(stream, kind, quality=88)
    source = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
    # the browser keeps the place free by width and height, so that nothing jumps while it decodes
    return (
        f'<figure style="margin: 0; text-align: center; line-height: 1.8"><img src="{source}" alt="{html.escape(alt)}" '
        f'width="{pixels.width}" height="{pixels.height}" decoding="sync" '
        f'style="width: 100%; height: auto; max-height: 420px; object-fit: contain">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


# of sliders and choices
_WIDE = {"style": {"description_width": "8em"}, "layout": {"width": "29em"}}


def _slider(kind: type, description: str, **settings: Any) -> widgets.Widget:
    return kind(
        description=description,
        readout_format=".3g",
        **_WIDE,
        **settings,
    )


def _button(description: str, pressed: Callable[[Any], None], tooltip: str) -> widgets.Button:
    button = widgets.Button(description=description, tooltip=tooltip, layout=widgets.Layout(width="auto"))
    button.on_click(pressed)
    return button


def _upload(description: str, uploaded: Callable[[Any], None]) -> widgets.FileUpload:
    upload = widgets.FileUpload(accept="image/*", description=description, layout=widgets.Layout(width="auto"))
    upload.observe(uploaded, "value")
    return upload


def _uploaded_image(value: Any) -> Tensor:
    """The image of a FileUpload's value, which is {name: {"content": bytes}} in ipywidgets 7, [{"name", "content"}] in 8.

    Raises:
        ImageError: it is none; the message begins with the file's name.
    """
    name, content = next(
        (name, file["content"])
        for name, file in (value.items() if isinstance(value, dict) else ((file["name"], file) for file in value))
    )
    try:
        return load_image(bytes(content))
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None


def _row(*children: widgets.Widget, **layout: str) -> widgets.Box:
    return widgets.Box(children, layout=widgets.Layout(flex_flow="row wrap", **layout))


# --- style transfer -----------------------------------------------------------------------------------------------------


class StyleLab(_Lab):
    """A style transfer to be steered while it paints: content, picture and style side by side, sliders below.

    Moving a slider bends the picture from where it is. It is painted coarse first, then finer, then for as long as one
    likes. One lab paints at a time: opening another one, or this one again, ends the thread of the one before.

    Args:
        content, style: paths, bytes, PIL images, or tensors (1, 3, H, W), RGB in [0, 1].

    Raises:
        nstlib.ImageError: an image cannot be used.
    """

    _painting_now: StyleLab | None = None

    def __init__(self, content: Source, style: Source):
        super().__init__()
        self._profile = profiles.current()
        self._images = {"content": as_image(content, "content"), "style": as_image(style, "style")}
        self._in_colab = "google.colab" in sys.modules
        self._worker: Worker | None = None

        self._content_weight = _slider(widgets.FloatLogSlider, "content", value=1.0, min=-2, max=2, step=0.1)
        self._style_weight = _slider(widgets.FloatLogSlider, "style", value=10**0.9, min=-1, max=3, step=0.1)
        self._tv_weight = _slider(widgets.FloatLogSlider, "total variation", value=10.0, min=-1, max=3, step=0.1)
        self._layers = {name: _slider(widgets.FloatSlider, name, value=1, min=0, max=1, step=0.05) for name in STYLE_LAYERS}
        for slider in (self._content_weight, self._style_weight, self._tv_weight, *self._layers.values()):
            slider.observe(self._on_weight, "value")

        self._pooling = widgets.Dropdown(options=["average", "max"], description="pooling", **_WIDE)
        self._init = widgets.Dropdown(options=["content", "style", "noise"], description="start from", **_WIDE)
        for dropdown in (self._pooling, self._init):
            dropdown.observe(self._on_choice, "value")

        steps = self._profile.lab_chunk
        start = _button("Start", self._on_start, "paint until paused")
        start.disabled = self._in_colab
        buttons = (
            start,
            _button("Pause", self._on_pause, "stop painting; the picture stays"),
            _button(f"{steps} steps", self._on_steps, COLAB if self._in_colab else f"paint {steps} steps, then pause"),
            _button("Reset", self._on_reset, "begin anew"),
            _button("Save", self._on_save, "write the picture as PNG into the notebook's folder"),
            _upload("Content image", functools.partial(self._on_upload, "content")),
            _upload("Style image", functools.partial(self._on_upload, "style")),
        )
        shares = {"content": "27%", "painting": "44%", "style": "27%"}
        self._pictures = {name: widgets.HTML(layout={"width": share}) for name, share in shares.items()}
        self._progress, self._curve = widgets.HTML(), widgets.HTML()
        heading = [widgets.HTML(f"<b>{text}</b>") for text in ("weights of the losses", "weights of the style's layers")]
        self.children = (
            _row(*self._pictures.values(), align_items="center", justify_content="space-between"),
            _row(self._progress, self._curve, align_items="center", justify_content="space-between"),
            _row(*buttons),
            self._message,
            _row(
                widgets.VBox(
                    [heading[0], self._content_weight, self._style_weight, self._tv_weight, self._pooling, self._init]
                ),
                widgets.VBox([heading[1], *self._layers.values()]),
            ),
        )
        for name, image in self._images.items():
            self._show_source(name, image)
        self.reset()

    # what a user does

    def start(self, steps: int | None = None) -> None:
        """Paint ``steps`` more steps, or until paused; in the background, but on Colab."""
        with self._lock:
            if self._in_colab:
                for _ in range(steps or 0):
                    self._painting.advance()
                self._painting.show()
                return
            if not self._worker.is_alive():  # it failed, or another lab has taken over
                self.reset()
            self._worker.go(steps)

    def pause(self) -> None:
        """Stop painting; the picture stays."""
        with self._lock:
            if self._worker:
                self._worker.pause()

    def reset(self) -> None:
        """Begin anew with what is chosen; go on painting if it was."""
        with self._lock:
            weights = self._weights()
            going = self._worker is not None and self._worker.going
            other, StyleLab._painting_now = StyleLab._painting_now, self
            if other is not None:
                other.stop()
                if other is not self:
                    other._say("another lab paints now; Start begins anew here")
            begin = functools.partial(
                StyleTransfer,
                self._images["content"],
                self._images["style"],
                content_weight=weights.content,
                style_weight=weights.style,
                tv_weight=weights.tv,
                style_layers=dict(weights.layers),
                size=self._profile.lab_size,
                steps=self._profile.lab_steps,
                coarsest=96,  # a first picture within a second or two
                optimizer="adam",  # a step costs the same each time, and takes new weights in its stride
                init=self._init.value,
                pooling=self._pooling.value,
            )
            self._painting = Painting(begin, weights, self._show)
            if self._in_colab:
                self._painting.open()
                return
            self._worker = Worker(self._painting, self._complain)
            self._worker.start()
            if going:
                self._worker.go()

    def stop(self) -> None:
        """End the thread that paints. The picture stays; ``start`` begins anew."""
        with self._lock:
            if self._worker:
                self._worker.stop()

    def save(self, path: str | Path) -> None:
        """Write the picture as shown.

        Raises:
            nstlib.ImageError: there is none yet, or the path cannot be written.
        """
        if self._painting.image is None:
            raise ImageError("there is no picture to save yet")
        save_image(self._painting.image, path)

    # what the widgets do

    def _weights(self) -> Weights:
        layers = tuple((name, slider.value) for name, slider in self._layers.items())
        if not any(weight for _, weight in layers):
            raise ValueError("at least one of the style's layers needs a weight above 0; the last weights stay in use")
        return Weights(self._content_weight.value, self._style_weight.value, self._tv_weight.value, layers)

    def _show_source(self, name: str, image: Tensor) -> None:
        self._pictures[name].value = _figure(resize(image, SOURCE), name, f"the {name} image")

    def _show(self, painting: Painting) -> None:
        history = painting.history
        steps = len(history)
        alt = f"the picture after {steps} steps"
        self._pictures["painting"].value = _figure(painting.image, f"painting, step {steps}", alt)
        self._progress.value = _progress(history, painting.weights_in_use)
        self._curve.value = _loss_curve(history)

    @_reporting
    def _on_weight(self, change: Any) -> None:
        self._painting.weights = self._weights()

    @_reporting
    def _on_choice(self, change: Any) -> None:
        self.reset()

    @_reporting
    def _on_start(self, button: Any) -> None:
        self.start()

    @_reporting
    def _on_pause(self, button: Any) -> None:
        self.pause()

    @_reporting
    def _on_steps(self, button: Any) -> None:
        self.start(self._profile.lab_chunk)

    @_reporting
    def _on_reset(self, button: Any) -> None:
        self.reset()

    @_reporting
    def _on_save(self, button: Any) -> None:
        path = next(path for i in range(1, sys.maxsize) if not (path := Path(f"painting-{i}.png")).exists())
        self.save(path)
        self._say(f"saved as {path}")

    @_reporting
    def _on_upload(self, name: str, change: Any) -> None:
        if change["new"]:
            image = _uploaded_image(change["new"])
            self._show_source(name, image)  # refuses what is too narrow to be shown, before it takes the other's place
            self._images[name] = image
            self.reset()


def _progress(history: Sequence[dict[str, float]], weights: Weights) -> str:
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


def _loss_curve(history: Sequence[dict[str, float]]) -> str:
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


# --- colorization -------------------------------------------------------------------------------------------------------


class ColorizeLab(_Lab):
    """From a frame to its line-art to its colorization, following the slider: frame, condition, colorized side by side.

    Args:
        colorizers: one or more. The one that was trained on the chosen operator paints; if there is none, the last.
        frames: a dataset of (3, H, W), RGB in [0, 1], to pick from; default: held-out frames of the show (``AnimeFrames``).

    Raises:
        ValueError: no colorizer.
        nstlib.AssetError: the art is missing or damaged.
    """

    def __init__(self, *colorizers: Colorizer, frames: Dataset[Tensor] | None = None):
        super().__init__()
        if not colorizers:
            raise ValueError("ColorizeLab needs a colorizer")
        self._colorizers = colorizers
        self._size = max(colorizer.size * colorizer.condition.detail for colorizer in colorizers)
        self._frames = frames if frames is not None else AnimeFrames("shots", self._size, length=100)
        self._frame = self._frames[0][None]
        first = colorizers[-1].condition

        self._number = widgets.IntSlider(description="frame", value=0, min=0, max=len(self._frames) - 1, **_WIDE)
        self._operator = widgets.Dropdown(
            options=[name for name in OPERATORS if name != "mixed"], value=first.operator, description="condition", **_WIDE
        )
        self._sigma = _slider(widgets.FloatSlider, "σ, in pixels", value=1.0, min=0.2, max=4, step=0.1)
        self._sigma.value = float(first.settings.get("sigma", 1.0))
        self._number.observe(self._on_number, "value")
        for control in (self._operator, self._sigma):
            control.observe(self._on_condition, "value")
        upload = _upload("Frame of your own", self._on_upload)
        self._pictures = {name: widgets.HTML(layout={"width": "32%"}) for name in ("frame", "condition", "colorized")}
        self._measured = widgets.HTML()
        self.children = (
            _row(*self._pictures.values(), justify_content="space-between"),
            self._measured,
            _row(widgets.VBox([self._number, self._operator, self._sigma]), upload),
            self._message,
        )
        self._paint()

    def _paint(self) -> None:
        operator = self._operator.value
        colorizer = next((c for c in self._colorizers if c.condition.operator == operator), self._colorizers[-1])
        detail = colorizer.condition.detail
        self._sigma.disabled = operator == "grayscale"
        settings = {} if operator == "grayscale" else {"sigma": self._sigma.value}
        frame = resize(self._frame, (colorizer.size * detail, colorizer.size * detail))
        condition = Condition(operator, detail=detail, **settings)
        started = time.perf_counter()
        lines, truth = condition(frame), condition.reduce(frame)
        painted = colorizer.colorize(lines).cpu()
        seconds = time.perf_counter() - started
        shown = {
            "frame": (truth, "frame", "the frame"),
            "condition": (lines.expand(-1, 3, -1, -1), _name(condition), f"the frame's condition: {_name(condition)}"),
            "colorized": (painted, "colorized", "the frame, colorized from its condition"),
        }
        for name, (image, caption, alt) in shown.items():
            self._pictures[name].value = _figure(image, caption, alt)
        accuracy = [color_accuracy(painted, truth, threshold).item() for threshold in (2, 5)]
        self._measured.value = (
            f"painted in {1000 * seconds:.0f} ms by the colorizer trained on {_name(colorizer.condition)}; "
            f"accuracy {accuracy[0]:.2f} at t = 2, {accuracy[1]:.2f} at t = 5"
        )

    @_reporting
    def _on_number(self, change: Any) -> None:
        self._frame = self._frames[self._number.value][None]
        self._paint()

    @_reporting
    def _on_condition(self, change: Any) -> None:
        self._paint()

    @_reporting
    def _on_upload(self, change: Any) -> None:
        if change["new"]:
            self._frame = middle_square(_uploaded_image(change["new"]))
            self._paint()


def _name(condition: Condition) -> str:
    """As "canny, σ = 1"."""
    sigma = condition.settings.get("sigma")
    return condition.operator if sigma is None else f"{condition.operator}, σ = {sigma:.3g}"
