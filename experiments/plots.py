"""Figures in one style, each shown and saved with its alternative text."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch import Tensor

from nstlib.files import atomic_write
from nstlib.images import to_uint8
from nstlib.widgets.palette import CONTENT, INK, STYLE

__all__ = [
    "CONTENT",
    "INK",
    "PAPER",
    "STYLE",
    "TITLE",
    "accuracy_curves",
    "cycles",
    "heat_table",
    "image_grid",
    "learning_curves",
    "loss_curves",
    "loss_history",
    "plain",
    "save",
    "show",
    "show_image",
    "suffix",
    "training_curves",
]

PAPER = "#ffffff"
TITLE: dict[str, Any] = {"fontsize": 10, "color": INK}
DPI = {".png": 200, ".jpg": 165}  # of saved files
SCREEN_DPI = 110  # of figures within notebooks, which are kept small
JPEG_QUALITY = 90
PICTURES = 0.25  # the part of a figure that RGB pictures must cover to make it JPEG


def show(figure: Figure, alt: str, path: Path | None = None) -> None:
    """Display a figure in a notebook with alternative text, and save it, with more pixels, if ``path`` is given.

    A figure of pictures is displayed and saved as JPEG, any other as PNG (``suffix``).

    Args:
        figure: any.
        alt: what the figure shows, in words.
        path: a ``.jpg`` or ``.png`` file, as ``suffix`` says.

    Raises:
        ValueError: no alternative text, or another suffix.
    """
    from IPython.display import display  # notebooks only; scripts that just save figures need no IPython

    if path is not None:
        save(figure, alt, path)
    kind = suffix(figure)
    encoded = base64.b64encode(_encode(figure, kind, SCREEN_DPI, alt)).decode()
    mime = {".jpg": "image/jpeg", ".png": "image/png"}[kind]
    width = round(figure.get_size_inches()[0] * 72)
    display({mime: encoded, "text/plain": alt}, raw=True, metadata={mime: {"alt": alt, "width": min(width, 1000)}})


def save(figure: Figure, alt: str, path: Path) -> None:
    """Write a figure, whole or not at all; make the folder if there is none.

    The alternative text becomes the description of a PNG or the comment of a JPEG. A file that holds the same bytes is left
    alone.

    Args:
        figure, alt, path: as in ``show``.

    Raises:
        ValueError: no alternative text, or another suffix.
    """
    kind = suffix(figure)
    if path.suffix != kind:
        raise ValueError(f"{path.name}: this figure is saved as {kind}, not {path.suffix or 'without a suffix'}")
    content = _encode(figure, kind, DPI[kind], alt)
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def suffix(figure: Figure) -> str:
    """``.jpg`` for a figure of pictures, in which RGB images cover a quarter or more; ``.png`` for a plot or drawing."""
    covered = 0.0
    for axes in figure.axes:
        for image in axes.images:
            array = image.get_array()
            if array is not None and array.ndim == 3:
                box = image.get_window_extent()
                covered += box.width * box.height
    return ".jpg" if covered >= PICTURES * figure.bbox.width * figure.bbox.height else ".png"


def image_grid(rows: Sequence[Sequence[Tensor]], titles: Sequence[Sequence[str]], height: float = 2.2) -> Figure:
    """Images in rows, with titles above them.

    Args:
        rows: images, each (1, 3, H, W), RGB in [0, 1].
        titles: one for each image. If all but the first of a row are empty, the first is the whole row's, at its left.
        height: of every row in inches.
    """
    figure = Figure(figsize=(1, 1))
    widths = [[height * image.shape[3] / image.shape[2] for image in row] for row in rows]
    gap, head = 0.12, 0.3
    total_width = max(sum(row) + gap * (len(row) - 1) for row in widths)
    total_height = len(rows) * (height + head)
    figure.set_size_inches(total_width, total_height)
    for r, (row, row_widths, row_titles) in enumerate(zip(rows, widths, titles, strict=True)):
        x = 0.0
        loc: Literal["left", "center"] = "left" if len(row) > 1 and not any(row_titles[1:]) else "center"
        bottom = total_height - (r + 1) * (height + head)
        for image, width, title in zip(row, row_widths, row_titles, strict=True):
            axes = figure.add_axes(
                (x / total_width, bottom / total_height, width / total_width, height / total_height), frameon=False
            )
            show_image(axes, image)
            axes.set_title(title, pad=4, loc=loc, **TITLE)
            x += width + gap
    return figure


def show_image(axes: Axes, image: Tensor) -> None:
    """An image (1, 3, H, W) without ticks or frame."""
    axes.imshow(to_uint8(image), interpolation="lanczos")
    axes.set_axis_off()


def loss_curves(axes: Axes, history: Sequence[Mapping[str, float]], content_weight: float, style_weight: float) -> None:
    """Weighted content and style loss and their total over the steps; dotted lines where the pyramid grows finer.

    Args:
        axes: to draw on.
        history: one entry a step, as ``StyleTransfer.history``.
        content_weight, style_weight: of the transfer.
    """
    steps = [entry["step"] for entry in history]
    for name, values, color in (
        ("total", [entry["total"] for entry in history], INK),
        ("content", [content_weight * entry["content"] for entry in history], CONTENT),
        ("style", [style_weight * entry["style"] for entry in history], STYLE),
    ):
        axes.plot(steps, values, color=color, linewidth=1.4)
        axes.annotate(name, (steps[-1], values[-1]), (4, 0), textcoords="offset points", va="center", color=color, fontsize=9)
    for before, after in itertools.pairwise(history):
        if before["size"] != after["size"]:
            axes.axvline(before["step"] + 0.5, color=INK, linewidth=0.8, linestyle=":")
    for size in dict.fromkeys(entry["size"] for entry in history):
        first = next(entry["step"] for entry in history if entry["size"] == size)
        axes.annotate(
            f"{size} px", (first, 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
            fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("step", **TITLE)
    axes.set_ylabel("weighted relative loss", **TITLE)
    plain(axes)


def plain(axes: Axes) -> None:
    """Only the left and bottom spines, light ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8, colors=INK)


def training_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """L1 and discriminator loss in training, and accuracy on validation frames, over the epochs.

    Args:
        histories: name of a run -> its ``Colorizer.history``.
    """
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    panels = figure.subplots(1, 3)
    names = {"l1": "L1, training", "discriminator": "discriminator loss, training", "accuracy": "accuracy (t = 2), validation"}
    for axes, (key, title) in zip(panels, names.items(), strict=True):
        for (name, history), color in zip(histories.items(), (CONTENT, STYLE, INK), strict=False):
            epochs = range(1, len(history) + 1)
            axes.plot(epochs, [entry[key] for entry in history], color=color, linewidth=1.4, label=name)
        axes.set_title(title, **TITLE)
        axes.set_xlabel("epoch", **TITLE)
        plain(axes)
    panels[0].set_yscale("log")
    panels[1].axhline(2 * math.log(2), color=INK, linewidth=0.8, linestyle=":")
    panels[1].annotate("chance", (1, 2 * math.log(2)), (0, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
                       ha="right", fontsize=8, color=INK)  # fmt: skip
    panels[2].legend(frameon=False, fontsize=9)
    return figure


def learning_curves(panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], steps: int) -> Figure:
    """Accuracy over the steps, mean over the seeds and the range between lowest and highest.

    Args:
        panels: title of a panel -> label -> one curve a seed, all with the same number of points, from step 0 to ``steps``.
        steps: of the whole run.
    """
    figure = Figure(figsize=(5 * len(panels), 3.2), layout="constrained")
    drawn = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, curves) in zip(drawn, panels.items(), strict=True):
        styles = itertools.product(("-", "--", ":"), (CONTENT, STYLE))
        for (label, seeds), (line, color) in zip(curves.items(), styles, strict=False):
            values = np.asarray(seeds)
            x = np.linspace(0, steps, values.shape[1])
            axes.plot(x, values.mean(0), line, color=color, linewidth=1.5, label=label)
            axes.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.12, linewidth=0)
        axes.set_xlabel("step", **TITLE)
        axes.set_title(title, **TITLE)
        plain(axes)
    drawn[0].set_ylabel("accuracy", **TITLE)
    drawn[0].legend(frameon=False, fontsize=9)
    return figure


def loss_history(records: Mapping[str, Mapping[str, Any]], losses: Mapping[str, str]) -> Figure:
    """Training losses of several runs over the epochs, a panel a loss.

    Args:
        records: label -> a run's record.
        losses: name of a loss -> title of its panel; a run that does not have it has no curve there.
    """
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    panels = figure.subplots(1, len(losses), squeeze=False)[0]
    for axes, (key, title) in zip(panels, losses.items(), strict=True):
        for (label, record), color in zip(records.items(), (CONTENT, STYLE, INK), strict=False):
            values = record["losses"].get(key, [])
            axes.plot(range(1, len(values) + 1), values, color=color, linewidth=1.5, label=label)
        axes.set_title(title, **TITLE)
        axes.set_xlabel("epoch", **TITLE)
        axes.set_ylim(bottom=0)
        plain(axes)
    panels[0].legend(frameon=False, fontsize=9)
    return figure


def cycles(lines: Sequence[str], colors: Sequence[str]) -> Figure:
    """CycleGAN's two cycles, each a chain of three boxes.

    Args:
        lines: what the boxes of the cycle hold that begins with line-art.
        colors: the same, of the one that begins with colors.
    """
    figure = Figure(figsize=(9.5, 3.1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 3)
    axes.set_axis_off()
    places = (1.4, 5.0, 8.6)
    for y, names, networks in ((2.3, lines, "GH"), (0.7, colors, "HG")):
        for x, name in zip(places, names, strict=True):
            box = {"boxstyle": "round,pad=0.5", "fc": PAPER, "ec": CONTENT if "line" in name else STYLE}
            axes.text(x, y, name, ha="center", va="center", fontsize=11, color=INK, bbox=box)
        for (start, end), network in zip(itertools.pairwise(places), networks, strict=True):
            axes.annotate("", (end - 1.1, y), (start + 1.1, y), arrowprops={"arrowstyle": "->", "color": INK})
            axes.text((start + end) / 2, y + 0.15, f"${network}$", ha="center", fontsize=12, color=INK)
        back = {"arrowstyle": "<->", "color": INK, "ls": ":", "connectionstyle": "arc3,rad=0.08"}
        axes.annotate("", (places[2], y - 0.38), (places[0], y - 0.38), arrowprops=back)
        paper = {"fc": PAPER, "ec": "none", "pad": 2}
        axes.text(places[1], y - 0.66, "must be the same", ha="center", va="center", fontsize=9, color=INK, bbox=paper)
    for y, judge, color in ((2.3, "$D$: like the show?", STYLE), (0.7, "like Canny's lines of y?", CONTENT)):
        axes.text(places[1], y + 0.5, judge, ha="center", va="bottom", fontsize=10, color=color)
        axes.annotate("", (places[1], y + 0.22), (places[1], y + 0.5), arrowprops={"arrowstyle": "->", "color": color})
    return figure


def heat_table(values: Mapping[str, Mapping[str, float]], rows: str, columns: str) -> Figure:
    """A table of numbers, the higher the darker.

    Args:
        values: row -> column -> number; the columns are the same in all rows.
        rows, columns: headings that say what they are.
    """
    names = list(next(iter(values.values())))
    numbers = np.array([[row[name] for name in names] for row in values.values()])
    figure = Figure(figsize=(2.4 + 1.05 * len(names), 1.0 + 0.42 * len(values)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(numbers, cmap="Blues", vmin=0, aspect="auto")
    for (y, x), number in np.ndenumerate(numbers):
        axes.text(
            x, y, f"{number:.3f}", ha="center", va="center", color=PAPER if number > 0.6 * numbers.max() else INK, fontsize=9
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(values)), list(values))
    axes.tick_params(length=0, labelsize=9, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_title(columns, **TITLE)
    axes.set_ylabel(rows, **TITLE)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def accuracy_curves(curves: Mapping[str, Sequence[float]], thresholds: Sequence[float], marks: Mapping[str, float]) -> Figure:
    """Accuracy against the threshold t.

    Args:
        curves: name -> accuracy at each threshold.
        thresholds: t, in percent of the range.
        marks: name -> the poster's value, drawn at t = 2 in the color of the curve at the same place.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    styles = itertools.product(("-", "--", ":"), (CONTENT, STYLE))
    for (name, values), (line, color) in zip(curves.items(), styles, strict=False):
        axes.plot(thresholds, values, line, color=color, linewidth=1.5, label=name)
    for (name, value), color in zip(marks.items(), (CONTENT, STYLE), strict=False):
        label = f"poster, {name.lower()}: {value:g}, if its t is 2"
        axes.plot([2], [value], "o", color=color, markersize=6, markerfacecolor=PAPER, linestyle="none", label=label)
    axes.set_ylim(0, 1)
    axes.set_xlabel("threshold t, percent of the range", **TITLE)
    axes.set_ylabel("accuracy", **TITLE)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plain(axes)
    return figure


def _encode(figure: Figure, kind: str, dpi: int, alt: str) -> bytes:
    """The figure as a file's content."""
    if not alt.strip():
        raise ValueError("a figure needs alternative text")
    buffer = io.BytesIO()
    settings: dict[str, Any] = {"dpi": dpi, "facecolor": PAPER, "bbox_inches": "tight"}
    if kind == ".jpg":
        options = {"quality": JPEG_QUALITY, "optimize": True, "comment": alt.encode()}
        figure.savefig(buffer, format="jpg", pil_kwargs=options, **settings)
    else:
        figure.savefig(buffer, format="png", metadata={"Description": alt}, **settings)
    return buffer.getvalue()
