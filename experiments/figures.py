"""The poster's figures: Figure 1 (VGG), Figure 2 (style transfer), Figures 3 and 4 (colorization)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from torch import Tensor

from experiments.plots import CONTENT, INK, STYLE, TITLE, loss_curves, show_image
from nstlib.images import to_uint8
from nstlib.model import ColorizationModel
from nstlib.training import Frames
from nstlib.vgg import CONVOLUTIONS_PER_BLOCK, WIDTHS

_CONVOLUTION, _POOLING = "#c9cfe0", "#f2cc8f"


def vgg_diagram(image: Tensor, content_layers: Sequence[str], style_layers: Sequence[str], arch: str = "vgg16") -> Figure:
    """Figure 1: the network as slabs. A lower slab has smaller feature maps, a thicker one more of them (not to scale).

    Args:
        image: the input, (1, 3, H, W), RGB in [0, 1].
        content_layers, style_layers: names of the layers whose features are used, such as "relu4_2".
        arch: "vgg16" or "vgg19".
    """
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
            _slab(axes, x, middle, side, thickness, slant, tap or _CONVOLUTION)
            if tap:
                _tap(axes, x + thickness / 2, middle, side, name, tap, up=tap == CONTENT)
            x += thickness + 0.10
        axes.text((first_x + x - 0.1) / 2, -2.35, f"block {block}\n{count} x {channels}", ha="center", va="top", fontsize=9,
                  color=INK)  # fmt: skip
        if block < len(WIDTHS):
            _slab(axes, x, middle, 3.0 / 2 ** (0.62 * block), 0.05, slant, _POOLING)
            x += 0.42
    photo = to_uint8(image)
    width = 2.6
    height = width * photo.shape[0] / photo.shape[1]
    axes.imshow(photo, extent=(0, width, -height / 2, height / 2), zorder=3, aspect="equal", interpolation="lanczos")
    axes.text(width / 2, -height / 2 - 0.15, "input image x", ha="center", va="top", **TITLE)
    axes.add_patch(FancyArrowPatch((width + 0.08, 0), (3.3, 0), arrowstyle="-|>", mutation_scale=12, color=INK))
    for row, (color, text) in enumerate(
        (
            (CONTENT, "content representation F, Eq. (1)"),
            (STYLE, "style representations G, Eq. (2)-(3)"),
            (_CONVOLUTION, "3 x 3 convolution and ReLU"),
            (_POOLING, "pooling, 2 x 2"),
        )
    ):
        y = 2.55 - 0.34 * row
        axes.add_patch(Rectangle((x - 1.75, y - 0.09), 0.25, 0.18, color=color))
        axes.text(x - 1.4, y, text, va="center", fontsize=9, color=INK)
    axes.set_xlim(-0.1, x + 1.9)
    axes.set_ylim(-3.0, 2.8)
    return figure


def activation_grid(features: Mapping[str, Tensor], filters: int = 6) -> Figure:
    """Figure 1: the strongest feature maps of each layer, one row a layer; each map is scaled to its own brightest 0.5%.

    Args:
        features: layer name -> (1, N, H, W), as ``nstlib.FeatureExtractor`` gives them.
        filters: number of maps in a row.
    """
    first = next(iter(features.values()))
    width = 1.35
    height = width * first.shape[2] / first.shape[3]
    figure = Figure(figsize=(1.0 + filters * (width + 0.06), len(features) * (height + 0.06)))
    figure_width, figure_height = figure.get_size_inches()
    magma = matplotlib.colormaps["magma"]
    for r, (layer, maps) in enumerate(features.items()):
        maps = maps[0].float()
        margin = max(1, maps.shape[1] // 8)  # otherwise filters that respond only to the zero padding would win
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
            axes.imshow(magma(values / bright, bytes=True)[..., :3], aspect="auto", interpolation="nearest")
            axes.set_axis_off()
    return figure


def transfer_figure(rows: Sequence[Mapping], width: float = 12.0) -> Figure:
    """Figure 2: content, style, result and the losses, one row a transfer.

    Args:
        rows: each with "content", "style", "image" (1, 3, H, W), "names" (three titles), "history", "content_weight" and
            "style_weight".
        width: of the three pictures together in inches; it gives the height of each row.
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
            axes.set_title(title, pad=4, **TITLE)
            x += height * aspect + gap
        axes = panel(width + plot_margins[0], bottom, plot_width, height)
        loss_curves(axes, row["history"], row["content_weight"], row["style_weight"])
        axes.set_title("losses during the optimization", pad=4, **TITLE)
        bottom -= foot
    return figure


def colorization_figure(blocks: Sequence[Mapping[str, Any]], condition: str = "condition", side: float = 1.45) -> Figure:
    """Figures 3 and 4: condition, ground truth, colorized, one frame a row, blocks of rows side by side.

    Args:
        blocks: each with "title", "condition" (N, 1, H, W), "truth" and "colorized" (N, 3, H, W), all in [0, 1], and
            "accuracy" (N,), printed beside each row. ``Colorizer.compare`` gives all but the title.
        condition: title of the conditions' column.
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
            pictures = (block["condition"][r].expand(3, -1, -1), block["truth"][r], block["colorized"][r])
            for c, (picture, name) in enumerate(zip(pictures, (condition, "ground truth", "colorized"), strict=True)):
                x = left + label + c * (side * aspect + gap)
                axes = figure.add_axes(
                    (x / total_width, bottom / total_height, side * aspect / total_width, side / total_height)
                )
                show_image(axes, picture[None])
                if r == 0:
                    axes.set_title(name, pad=3, fontsize=9, color=INK)
    return figure


def first_and_worst(colorizer: ColorizationModel, frames: Frames, accuracy: Tensor, rows: int = 6) -> Figure:
    """Figures 3 and 4 by a fixed rule, not by eye: the first held-out frames, and the worst of all.

    Args:
        colorizer: a trained model.
        frames: held-out frames, each (3, H, W), RGB in [0, 1].
        accuracy: of each frame, shape (len(frames),).
        rows: number of frames of each kind.
    """
    worst = accuracy.argsort()[:rows].tolist()
    return colorization_figure(
        [
            {"title": f"the first {rows} held-out frames", **colorizer.compare(frames, range(rows))},
            {"title": f"the {rows} worst of {len(accuracy)}", **colorizer.compare(frames, worst)},
        ],
        condition="grayscale" if colorizer.condition.operator == "grayscale" else "line-art",
    )


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
    """An arrow from a layer to its name, above the network or below."""
    start, end = (y + side / 2, 1.75) if up else (y - side / 2, -1.8)
    arrow = FancyArrowPatch((x, start), (x, end), arrowstyle="-|>", mutation_scale=10, color=color, linewidth=1.3, zorder=4)
    axes.add_patch(arrow)
    axes.text(x, end + (0.08 if up else -0.08), name, ha="center", va="bottom" if up else "top", fontsize=9, color=color)


def _darker(color: str, factor: float) -> tuple[float, ...]:
    """A color "#rrggbb" times a factor in [0, 1]."""
    return tuple(int(color[i : i + 2], 16) / 255 * factor for i in (1, 3, 5))
