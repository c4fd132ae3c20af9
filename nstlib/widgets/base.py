"""What the labs share: a box with a line for messages, pictures as HTML, controls."""

from __future__ import annotations

import base64
import functools
import html
import io
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import PIL.Image
from torch import Tensor

from nstlib.images import ImageError, load_image, to_uint8
from nstlib.widgets.palette import STYLE

WIDTH = "1000px"  # of a lab, at most; its pictures share that out


def reporting(method: Callable[..., None]) -> Callable[..., None]:
    """A callback whose exceptions are shown in the lab: Jupyter would only log them."""

    @functools.wraps(method)
    def guarded(self: Lab, *arguments: Any) -> None:
        try:
            with self._lock:
                self.say("")
                method(self, *arguments)
        except Exception as error:
            self.complain(error)

    return guarded


class Lab(widgets.VBox):
    """A box of widgets with a line for messages.

    Attributes:
        message: the line.
    """

    # Callbacks may come from a thread of the kernel's while a cell calls a lab's methods. One lock for all labs, since one may
    # stop another; a worker never takes it, so that it can be waited for.
    _lock = threading.RLock()

    def __init__(self) -> None:
        self.message = widgets.HTML()
        super().__init__(layout={"max_width": WIDTH})

    def __repr__(self) -> str:  # what stands in a notebook that is only read
        return f"{type(self).__name__}: run this cell to see it"

    def say(self, text: str) -> None:
        """Show a message."""
        self.message.value = f'<div role="status">{html.escape(text)}</div>'

    def complain(self, error: Exception) -> None:
        """Show an error."""
        text = str(error) if isinstance(error, (ImageError, ValueError)) else f"{type(error).__name__}: {error}"
        self.message.value = f'<div role="alert" style="color: {STYLE}">{html.escape(text)}</div>'


def picture(image: Tensor, caption: str, alt: str) -> str:
    """A picture as HTML, as wide as its widget: ipywidgets' own Image has no alternative text."""
    height, width = image.shape[2:]
    # the browser keeps the place free by width and height, so that nothing jumps while it decodes
    return (
        f'<figure style="margin: 0; text-align: center; line-height: 1.8">'
        f'<img src="{data_url(image)}" alt="{html.escape(alt)}" '
        f'width="{width}" height="{height}" decoding="sync" '
        f'style="width: 100%; height: auto; max-height: 420px; object-fit: contain">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def data_url(image: Tensor) -> str:
    """An image (1, 3, H, W) as text that a browser shows."""
    pixels = PIL.Image.fromarray(to_uint8(image))
    stream, kind = io.BytesIO(), "png" if max(pixels.size) <= 128 else "jpeg"  # JPEG's blocks would show in small ones
    pixels.save(stream, kind, quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


# of sliders and choices
WIDE = {"style": {"description_width": "8em"}, "layout": {"width": "29em"}}


def slider(kind: type, description: str, **settings: Any) -> widgets.Widget:
    """A slider of a lab's width."""
    return kind(description=description, readout_format=".3g", **WIDE, **settings)


def button(description: str, pressed: Callable[[Any], None], tooltip: str) -> widgets.Button:
    """A button that calls ``pressed``."""
    button = widgets.Button(description=description, tooltip=tooltip, layout=widgets.Layout(width="auto"))
    button.on_click(pressed)
    return button


def upload_button(description: str, uploaded: Callable[[Any], None]) -> widgets.FileUpload:
    """A button that asks for an image file and calls ``uploaded`` with the change of its value."""
    upload = widgets.FileUpload(accept="image/*", description=description, layout=widgets.Layout(width="auto"))
    upload.observe(uploaded, "value")
    return upload


def uploaded_image(value: Any) -> Tensor:
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


def row(*children: widgets.Widget, **layout: str) -> widgets.Box:
    """Widgets side by side; they wrap where the page is narrow."""
    return widgets.Box(children, layout=widgets.Layout(flex_flow="row wrap", **layout))
