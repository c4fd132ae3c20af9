"""The hint lab: click on a drawing to put a dab of color there, and the network paints the rest."""

from __future__ import annotations

import time
from typing import Any

import anywidget
import ipywidgets as widgets
import PIL.Image
import PIL.ImageColor
import PIL.ImageDraw
import traitlets
from torch import Tensor

from nstlib.hints import Dab
from nstlib.images import Source, as_image, load_image, to_uint8
from nstlib.reference import ReferenceColorizer
from nstlib.widgets.base import Lab, button, data_url, picture, reporting, row, upload_button, uploaded_image

DOT = 0.016  # radius of a dab's dot on the drawing, as a share of its longer side


class PointedPicture(anywidget.AnyWidget):
    """A picture on which one points, with the mouse or with the keyboard.

    A click is a point. With the keyboard: Tab leads to the picture, the arrow keys move a cross (with Shift farther), Enter or
    the space bar puts the point there.

    Attributes:
        source: the picture, as a data URL.
        alt: what it shows, for those who cannot see it.
        caption: the line below it.
        point: (x, y, number): from the left and from the top, as shares of width and height, and a number that grows with each.
    """

    source = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    point = traitlets.Tuple(default_value=(0.5, 0.5, 0)).tag(sync=True)
    _esm = """
    function render({ model, el }) {
      const figure = document.createElement("figure");
      const frame = document.createElement("div");
      const image = document.createElement("img");
      const cross = document.createElement("div");
      const caption = document.createElement("figcaption");
      figure.style.cssText = "margin: 0; text-align: center; line-height: 1.8";
      frame.style.cssText = "position: relative; cursor: crosshair";
      image.style.cssText = "display: block; width: 100%; height: auto";
      cross.style.cssText = "position: absolute; width: 17px; height: 17px; margin: -9px 0 0 -9px; border-radius: 50%; " +
        "border: 2px solid #d1495b; box-shadow: 0 0 0 2px white; pointer-events: none; display: none";
      frame.tabIndex = 0;
      frame.setAttribute("role", "application");
      frame.append(image, cross);
      figure.append(frame, caption);
      el.append(figure);
      let [x, y, number] = model.get("point");
      const show = () => {
        image.src = model.get("source");
        image.alt = model.get("alt");
        frame.setAttribute("aria-label", model.get("alt") + ". Arrow keys move the cross, Enter puts a dab.");
        caption.textContent = model.get("caption");
      };
      const move = () => { cross.style.left = 100 * x + "%"; cross.style.top = 100 * y + "%"; };
      const put = () => {
        number += 1;
        model.set("point", [x, y, number]);
        model.save_changes();
      };
      frame.addEventListener("click", event => {
        const box = image.getBoundingClientRect();
        x = (event.clientX - box.left) / box.width;
        y = (event.clientY - box.top) / box.height;
        move();
        put();
      });
      frame.addEventListener("keydown", event => {
        const step = event.shiftKey ? 0.1 : 0.02;
        const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
        if (event.key in ways) {
          x = Math.min(1, Math.max(0, x + step * ways[event.key][0]));
          y = Math.min(1, Math.max(0, y + step * ways[event.key][1]));
          move();
        } else if (event.key == "Enter" || event.key == " ") {
          put();
        } else {
          return;
        }
        event.preventDefault();
        event.stopPropagation();  // of the notebook's own keys
      });
      frame.addEventListener("focus", () => { cross.style.display = frame.matches(":focus-visible") ? "block" : "none"; });
      frame.addEventListener("blur", () => { cross.style.display = "none"; });
      for (const name of ["source", "alt", "caption"]) model.on("change:" + name, show);
      show();
      move();
    }
    export default { render };
    """


class HintLab(Lab):
    """Put dabs of color on a drawing; the network paints the rest. Drawing and colors side by side.

    Args:
        colorizer: trained on line-art.
        drawing: line-art, ink on paper: a path, bytes, a PIL image, or a tensor (1, 3, H, W), RGB in [0, 1].
        reference: a frame with the colors wanted, if there is one.

    Attributes:
        dabs: the dabs, in the order in which they were put.

    Raises:
        ImageError: an image cannot be read, or the colorizer is trained on grayscale.
    """

    def __init__(self, colorizer: ReferenceColorizer, drawing: Source, reference: Source | None = None):
        super().__init__()
        self._colorizer = colorizer
        self._drawing = as_image(drawing, "drawing")
        self._reference = None if reference is None else as_image(reference, "reference")
        self.dabs: list[Dab] = []
        self.color = widgets.ColorPicker(description="color", value="#5b8dd9", concise=False)
        self.pointed = PointedPicture(layout={"width": "48%"})
        self.pointed.observe(self._on_point, "point")
        self.colored = widgets.HTML(layout={"width": "48%"})
        self.children = (
            row(self.pointed, self.colored, justify_content="space-between"),
            row(
                self.color,
                button("Undo", self._undo, "take the last dab away"),
                button("Clear", self._clear, "take all dabs away"),
                upload_button("Drawing of your own", self.upload_drawing),
                upload_button("Colored frame", self.upload_reference),
            ),
            self.message,
        )
        self._update()

    def _update(self) -> None:
        started = time.perf_counter()
        reference = [] if self._reference is None else [self._reference]
        colored = self._colorizer.colorize_drawing(self._drawing, reference=reference, hints=self.dabs)
        seconds = time.perf_counter() - started
        count = f"{len(self.dabs)} dab{'s' * (len(self.dabs) != 1)}"
        shown = count + ("" if self._reference is None else " and a colored frame")
        self.pointed.source = data_url(with_dots(self._drawing, self.dabs))
        self.pointed.alt, self.pointed.caption = f"the drawing, with {count}", "click to put a dab"
        caption = f"colored from {shown}, in {1000 * seconds:.0f} ms"
        self.colored.value = picture(colored, caption, f"the drawing, {caption}")

    @reporting
    def _on_point(self, change: Any) -> None:
        x, y, _ = change["new"]
        red, green, blue = PIL.ImageColor.getrgb(self.color.value)[:3]
        self.dabs.append(Dab(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0), (red / 255, green / 255, blue / 255)))
        self._update()

    @reporting
    def _undo(self, _: Any) -> None:
        if self.dabs:
            self.dabs.pop()
            self._update()

    @reporting
    def _clear(self, _: Any) -> None:
        self.dabs.clear()
        self._update()

    @reporting
    def upload_drawing(self, change: Any) -> None:
        """Take an uploaded file, the "new" of ``change``, as the drawing; dabs on the one before go away."""
        if change["new"]:
            self._drawing = uploaded_image(change["new"])
            self.dabs.clear()
            self._update()

    @reporting
    def upload_reference(self, change: Any) -> None:
        """Take an uploaded file, the "new" of ``change``, as the colored frame."""
        if change["new"]:
            self._reference = uploaded_image(change["new"])
            self._update()


def with_dots(drawing: Tensor, dabs: list[Dab]) -> Tensor:
    """A drawing (1, 3, H, W) with a dot in the middle of each dab, in its color and ringed, so that any color shows."""
    pixels = PIL.Image.fromarray(to_uint8(drawing))
    draw = PIL.ImageDraw.Draw(pixels)
    radius = max(3.0, DOT * max(pixels.size))
    for dab in dabs:
        x, y = dab.x * pixels.width, dab.y * pixels.height
        fill = tuple(round(255 * value) for value in dab.color)
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=fill, outline=(34, 34, 59), width=max(1, round(radius / 4)))
    return load_image(pixels)
