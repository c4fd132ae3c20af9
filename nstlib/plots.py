"""How the figures look: one style for all, every picture with its alternative text."""

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from torch import Tensor
from torch.utils.data import Dataset

from nstlib.files import atomic_write
from nstlib.images import to_uint8
from nstlib.vgg import CONVOLUTIONS_PER_BLOCK, WIDTHS

if TYPE_CHECKING:
    from nstlib.colorizer import Colorizer

CONTENT, STYLE, INK, PAPER = "#2a6f97", "#d1495b", "#22223b", "#ffffff"
DPI, SCREEN_DPI = 200, 110  # of saved files; of pictures within notebooks, which are kept small
_TEXT = {"fontsize": 10, "color": INK}


def show(figure: Figure, alt: str, path: Path | None = None) -> None:
    """Display a figure in a notebook with alternative text, and save it, finer, as PNG if ``path`` is given.

    Raises:
        ValueError: no alternative text.
    """
    from IPython.display import display  # notebooks only; scripts that just save figures need no IPython

    if not alt.strip():
        raise ValueError("a picture needs alternative text")
    if path is not None:
        save(figure, alt, path)
    encoded = base64.b64encode(_png(figure, SCREEN_DPI, alt)).decode()
    width = round(figure.get_size_inches()[0] * 72)
    metadata = {"image/png": {"alt": alt, "width": min(width, 1000)}}
    display({"image/png": encoded, "text/plain": alt}, raw=True, metadata=metadata)


def save(figure: Figure, alt: str, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; the alternative text goes into its description."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(_png(figure, DPI, alt))


def image_grid(rows: Sequence[Sequence[Tensor]], titles: Sequence[Sequence[str]], height: float = 2.2) -> Figure:
    """Images in rows, each (1, 3, H, W), titles above them; every row is ``height`` inches high. A first title alone is the
    row's, and begins where the row does."""
    figure = Figure(figsize=(1, 1))
    widths = [[height * image.shape[3] / image.shape[2] for image in row] for row in rows]
    gap, head = 0.12, 0.3
    total_width = max(sum(row) + gap * (len(row) - 1) for row in widths)
    total_height = len(rows) * (height + head)
    figure.set_size_inches(total_width, total_height)
    for r, (row, row_widths, row_titles) in enumerate(zip(rows, widths, titles, strict=True)):
        x, loc = 0.0, "left" if len(row) > 1 and not any(row_titles[1:]) else "center"
        bottom = total_height - (r + 1) * (height + head)
        for image, width, title in zip(row, row_widths, row_titles, strict=True):
            axes = figure.add_axes(
                (x / total_width, bottom / total_height, width / total_width, height / total_height), frameon=False
            )
            show_image(axes, image)
            axes.set_title(title, pad=4, loc=loc, **_TEXT)
            x += width + gap
    return figure


def show_image(axes: Axes, image: Tensor) -> None:
    """An image (1, 3, H, W) without ticks or frame."""
    axes.imshow(to_uint8(image), interpolation="lanczos")
    axes.set_axis_off()


def loss_curves(axes: Axes, history: Sequence[Mapping[str, float]], content_weight: float, style_weight: float) -> None:
    """Weighted content and style loss and their total over the steps; dotted lines where the pyramid grows finer."""
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
    axes.set_xlabel("step", **_TEXT)
    axes.set_ylabel("weighted relative loss", **_TEXT)
    plain(axes)


def plain(axes: Axes) -> None:
    """Only the left and bottom spines, light ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8, colors=INK)


def transfer_figure(rows: Sequence[Mapping], width: float = 12.0) -> Figure:
    """Figure 2: content, style, result and how the loss fell, one row a transfer.

    Args:
        rows: each with "content", "style", "image" (1, 3, H, W), "names" (three titles), "history", "content_weight" and
            "style_weight".
        width: of the three pictures together in inches; every row is as high as that makes it.
    """
    gap, head, foot, plot_width, plot_margins = 0.14, 0.3, 0.42, 3.1, (0.75, 0.5)
    keys = ("content", "style", "image")
    aspects = [[row[key].shape[3] / row[key].shape[2] for key in keys] for row in rows]
    heights = [(width - 2 * gap) / sum(row) for row in aspects]
    total_width = width + plot_margins[0] + plot_width + plot_margins[1]
    total_height = sum(heights) + len(rows) * (head + foot)
    figure = Figure(figsize=(total_width, total_height))

    def panel(left: float, bottom: float, width: float, height: float) -> Axes:
        return figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))

    bottom = total_height
    for row, row_aspects, height in zip(rows, aspects, heights, strict=True):
        x, bottom = 0.0, bottom - head - height
        for key, title, aspect in zip(keys, row["names"], row_aspects, strict=True):
            axes = panel(x, bottom, height * aspect, height)
            show_image(axes, row[key])
            axes.set_title(title, pad=4, **_TEXT)
            x += height * aspect + gap
        axes = panel(width + plot_margins[0], bottom, plot_width, height)
        loss_curves(axes, row["history"], row["content_weight"], row["style_weight"])
        axes.set_title("how the loss fell", pad=4, **_TEXT)
        bottom -= foot
    return figure


def activation_grid(features: Mapping[str, Tensor], filters: int = 6) -> Figure:
    """The ``filters`` strongest feature maps of each layer, one row a layer; each map scaled to its own brightest 0.5 %."""
    first = next(iter(features.values()))
    width = 1.35
    height = width * first.shape[2] / first.shape[3]
    figure = Figure(figsize=(1.0 + filters * (width + 0.06), len(features) * (height + 0.06)))
    figure_width, figure_height = figure.get_size_inches()
    for r, (layer, maps) in enumerate(features.items()):
        maps = maps[0].float()
        margin = max(1, maps.shape[1] // 8)  # filters that answer to the zero padding only would win otherwise
        inner = maps[:, margin : maps.shape[1] - margin, margin : maps.shape[2] - margin]
        strongest = inner.flatten(1).std(dim=1).argsort(descending=True)[:filters]
        bottom = figure_height - (r + 1) * (height + 0.06)
        label = f"{layer}\n{maps.shape[0]} x {maps.shape[1]} x {maps.shape[2]}"
        figure.text(0.92 / figure_width, (bottom + height / 2) / figure_height, label, ha="right", va="center", fontsize=8,
                    color=INK)  # fmt: skip
        for c, index in enumerate(strongest):
            left = 1.0 + c * (width + 0.06)
            axes = figure.add_axes((left / figure_width, bottom / figure_height, width / figure_width, height / figure_height))
            values = maps[index].numpy()
            bright = max(np.percentile(values, 99.5), 1e-12)
            axes.imshow(values, cmap="magma", vmin=0, vmax=bright, aspect="auto", interpolation="nearest")
            axes.set_axis_off()
    return figure


def vgg_diagram(image: Tensor, content_layers: Sequence[str], style_layers: Sequence[str], arch: str = "vgg16") -> Figure:
    """Figure 1: the network as slabs, lower where its feature maps are smaller and thicker where they are more (not to
    scale), with its taps."""
    figure = Figure(figsize=(11, 4.3))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_aspect("equal")
    slant = np.array([0.42, 0.30])
    x, middle = 3.35, 0.0
    for block, (count, channels) in enumerate(zip(CONVOLUTIONS_PER_BLOCK[arch], WIDTHS, strict=True), start=1):
        side = 3.0 / 2 ** (0.62 * (block - 1))
        first_x = x
        for i in range(1, count + 1):
            thickness = 0.07 * channels**0.36
            name = f"relu{block}_{i}"
            tap = STYLE if name in style_layers else CONTENT if name in content_layers else None
            _slab(axes, x, middle, side, thickness, slant, tap or "#c9cfe0")
            if tap:
                _tap(axes, x + thickness / 2, middle, side, name, tap, up=tap == CONTENT)
            x += thickness + 0.10
        axes.text((first_x + x - 0.1) / 2, -2.35, f"block {block}\n{count} x {channels}", ha="center", va="top", fontsize=9,
                  color=INK)  # fmt: skip
        if block < len(WIDTHS):
            _slab(axes, x, middle, 3.0 / 2 ** (0.62 * block), 0.05, slant, "#f2cc8f")
            x += 0.42
    photo = to_uint8(image)
    width = 2.6
    height = width * photo.shape[0] / photo.shape[1]
    axes.imshow(photo, extent=(0, width, -height / 2, height / 2), zorder=3, aspect="equal", interpolation="lanczos")
    axes.text(width / 2, -height / 2 - 0.15, "input image x", ha="center", va="top", **_TEXT)
    axes.add_patch(FancyArrowPatch((width + 0.08, 0), (3.3, 0), arrowstyle="-|>", mutation_scale=12, color=INK))
    for row, (color, text) in enumerate(
        (
            (CONTENT, "content representation F, Eq. (1)"),
            (STYLE, "style representations G, Eq. (2)-(3)"),
            ("#c9cfe0", "3 x 3 convolution and ReLU"),
            ("#f2cc8f", "pooling, 2 x 2"),
        )
    ):
        y = 2.55 - 0.34 * row
        axes.add_patch(Rectangle((x - 1.75, y - 0.09), 0.25, 0.18, color=color))
        axes.text(x - 1.4, y, text, va="center", fontsize=9, color=INK)
    axes.set_xlim(-0.1, x + 1.9)
    axes.set_ylim(-3.0, 2.8)
    return figure


def colorization_figure(blocks: Sequence[Mapping[str, Any]], condition: str = "condition", side: float = 1.45) -> Figure:
    """Figures 3 and 4: condition, ground truth, colorized, one frame a row, blocks of rows side by side.

    Args:
        blocks: each with "title", "condition" (N, 1, H, W), "truth" and "painted" (N, 3, H, W), all in [0, 1], and "accuracy"
            (N,), which stands beside each row.
        condition: what the conditions' column is called.
        side: height of a picture in inches.
    """
    gap, label, head, between = 0.06, 0.42, 0.62, 0.3
    aspect = blocks[0]["truth"].shape[3] / blocks[0]["truth"].shape[2]
    block_width = label + 3 * (side * aspect + gap)
    total_width = len(blocks) * (block_width + between) - between
    rows = max(len(block["truth"]) for block in blocks)
    total_height = head + rows * (side + gap)
    figure = Figure(figsize=(total_width, total_height))
    for b, block in enumerate(blocks):
        left = b * (block_width + between)
        middle = left + label + 1.5 * (side * aspect + gap)
        figure.text(
            middle / total_width, 1 - 0.12 / total_height, block["title"], ha="center", va="top", fontsize=11, color=INK
        )
        position = ((left + label - 0.07) / total_width, 1 - (head - 0.06) / total_height)
        figure.text(*position, "acc.", ha="right", va="bottom", fontsize=9, color=INK)
        for r in range(len(block["truth"])):
            bottom = total_height - head - (r + 1) * (side + gap) + gap
            accuracy = f"{float(block['accuracy'][r]):.2f}"
            position = ((left + label - 0.07) / total_width, (bottom + side / 2) / total_height)
            figure.text(*position, accuracy, ha="right", va="center", fontsize=9, color=INK)
            pictures = (block["condition"][r].expand(3, -1, -1), block["truth"][r], block["painted"][r])
            for c, (picture, name) in enumerate(zip(pictures, (condition, "ground truth", "colorized"), strict=True)):
                x = left + label + c * (side * aspect + gap)
                axes = figure.add_axes(
                    (x / total_width, bottom / total_height, side * aspect / total_width, side / total_height)
                )
                show_image(axes, picture[None])
                if r == 0:
                    axes.set_title(name, pad=3, fontsize=9, color=INK)
    return figure


def first_and_worst(colorizer: Colorizer, frames: Dataset[Tensor], accuracy: Tensor, rows: int = 6) -> Figure:
    """Figures 3 and 4 by a fixed rule, not by eye: the first ``rows`` held-out frames, and the ``rows`` worst of all.

    Args:
        colorizer: paints them.
        frames: held-out frames.
        accuracy: of each, shape (len(frames),).
        rows: how many of each.
    """
    worst = accuracy.argsort()[:rows].tolist()
    return colorization_figure(
        [
            {"title": f"the first {rows} held-out frames", **colorizer.compare(frames, range(rows))},
            {"title": f"the {rows} worst of {len(accuracy)}", **colorizer.compare(frames, worst)},
        ],
        condition="grayscale" if colorizer.condition.operator == "grayscale" else "line-art",
    )


def training_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """How runs learned: L1 and discriminator loss in training, accuracy on validation frames, over the epochs.

    Args:
        histories: name of each run and its ``Colorizer.history``.
    """
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    panels = figure.subplots(1, 3)
    names = {"l1": "L1, training", "discriminator": "discriminator loss, training", "accuracy": "accuracy (t = 2), validation"}
    for axes, (key, title) in zip(panels, names.items(), strict=True):
        for (name, history), color in zip(histories.items(), (CONTENT, STYLE, INK), strict=False):
            epochs = range(1, len(history) + 1)
            axes.plot(epochs, [entry[key] for entry in history], color=color, linewidth=1.4, label=name)
        axes.set_title(title, **_TEXT)
        axes.set_xlabel("epoch", **_TEXT)
        plain(axes)
    panels[0].set_yscale("log")
    panels[1].axhline(math.log(2), color=INK, linewidth=0.8, linestyle=":")
    panels[1].annotate("guessing", (1, math.log(2)), (0, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
                       ha="right", fontsize=8, color=INK)  # fmt: skip
    panels[2].legend(frameon=False, fontsize=9)
    return figure


def measure_bars(measured: Mapping[str, Mapping[str, Mapping[str, float]]], measures: Mapping[str, str]) -> Figure:
    """Variants side by side, a panel a measure: mean over the seeds, with a whisker of one standard deviation to either side.

    Args:
        measured: label -> measure -> {"mean", "sd"}, as ``nstlib.ablations.summary`` gives it; the first label is what the
            others are compared with.
        measures: measure -> title of its panel.
    """
    figure = Figure(figsize=(11, 0.9 + 0.32 * len(measured)), layout="constrained")
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    labels = list(measured)
    for axes, (key, title) in zip(panels, measures.items(), strict=True):
        means = [measured[label][key]["mean"] for label in labels]
        spreads = [measured[label][key].get("sd", 0) for label in labels]
        colors = [CONTENT, *[STYLE] * (len(labels) - 1)]
        axes.barh(labels, means, xerr=spreads, color=colors, height=0.62, error_kw={"ecolor": INK, "elinewidth": 1.2})
        axes.axvline(means[0], color=INK, linewidth=0.8, linestyle=":")
        axes.set_title(title, **_TEXT)
        plain(axes)
    panels[0].invert_yaxis()
    return figure


def learning_curves(curves: Mapping[str, Sequence[Sequence[float]]], steps: int, title: str) -> Figure:
    """Accuracy over the steps, mean over the seeds and the range between lowest and highest.

    Args:
        curves: label -> one curve a seed, all of equally many points, from step 0 to ``steps``.
    """
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    styles = itertools.product((CONTENT, STYLE), ("-", "--", ":"))
    for (label, seeds), (color, line) in zip(curves.items(), styles, strict=False):
        values = np.asarray(seeds)
        x = np.linspace(0, steps, values.shape[1])
        axes.plot(x, values.mean(0), line, color=color, linewidth=1.5, label=label)
        axes.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.12, linewidth=0)
    axes.set_xlabel("step", **_TEXT)
    axes.set_title(title, **_TEXT)
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure


def heat_table(values: Mapping[str, Mapping[str, float]], rows: str, columns: str) -> Figure:
    """A table of numbers, the higher the darker.

    Args:
        values: row -> column -> number; the columns are the same in all rows.
        rows, columns: what they are, as headings.
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
    axes.set_title(columns, **_TEXT)
    axes.set_ylabel(rows, **_TEXT)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def accuracy_curves(curves: Mapping[str, Sequence[float]], thresholds: Sequence[float], marks: Mapping[str, float]) -> Figure:
    """Accuracy against the threshold t; ``marks`` are the poster's values, by the names of the first curves."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    styles = itertools.product(("-", "--", ":"), (CONTENT, STYLE))
    for (name, values), (line, color) in zip(curves.items(), styles, strict=False):
        axes.plot(thresholds, values, line, color=color, linewidth=1.5, label=name)
    for (name, value), color in zip(marks.items(), (CONTENT, STYLE), strict=False):
        label = f"poster, {name.lower()}: {value:g}, if its t is 2"
        axes.plot([2], [value], "o", color=color, markersize=6, markerfacecolor=PAPER, linestyle="none", label=label)
    axes.set_ylim(0, 1)
    axes.set_xlabel("threshold t, percent of the range", **_TEXT)
    axes.set_ylabel("accuracy", **_TEXT)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plain(axes)
    return figure


def _png(figure: Figure, dpi: int, alt: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=PAPER, bbox_inches="tight", metadata={"Description": alt})
    return buffer.getvalue()


def _slab(axes: Axes, x: float, y: float, side: float, thickness: float, slant: np.ndarray, color: str) -> None:
    """A box in parallel projection: front face ``thickness`` wide and ``side`` high, depth along ``slant``."""
    depth = slant * side * 0.45
    low, high = y - side / 2, y + side / 2
    front = np.array([(x, low), (x + thickness, low), (x + thickness, high), (x, high)])
    top = np.array([front[3], front[2], front[2] + depth, front[3] + depth])
    flank = np.array([front[1], front[1] + depth, front[2] + depth, front[2]])
    for face, shade in ((flank, 0.78), (top, 1.0), (front, 0.9)):
        axes.add_patch(Polygon(face, facecolor=_darker(color, shade), edgecolor=INK, linewidth=0.5))


def _tap(axes: Axes, x: float, y: float, side: float, name: str, color: str, up: bool) -> None:
    start, end = (y + side / 2, 1.75) if up else (y - side / 2, -1.8)
    arrow = FancyArrowPatch((x, start), (x, end), arrowstyle="-|>", mutation_scale=10, color=color, linewidth=1.3, zorder=4)
    axes.add_patch(arrow)
    axes.text(x, end + (0.08 if up else -0.08), name, ha="center", va="bottom" if up else "top", fontsize=9, color=color)


def _darker(color: str, factor: float) -> tuple[float, ...]:
    return tuple(int(color[i : i + 2], 16) / 255 * factor for i in (1, 3, 5))
