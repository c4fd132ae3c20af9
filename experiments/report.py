"""What came out of the variants: tables and examples, from the records in ``figures/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from experiments.profiles import FIGURES
from experiments.records import read_json, spread
from experiments.variants import LINE_ART, LINES, VARIANTS
from nstlib.images import load_image

RECORDS = FIGURES / "ablations.json"
EXAMPLES = FIGURES / "ablations"

Spread = Mapping[str, float]  # over the seeds: {"seeds": how many, "mean": ..., "sd": ..., "low": ..., "high": ...}

MEASURES = {  # measure -> head of its column, number of digits
    "accuracy": ("accuracy, t = 2", 3),
    "accuracy_5": ("t = 5", 3),
    "accuracy_ab": ("a and b only, t = 2", 3),
    "psnr": ("PSNR", 1),
    "ssim": ("SSIM", 3),
    "edge_f1": ("edge F1", 3),
    "perceptual": ("perceptual distance", 3),
}
LINE_MEASURES = {  # with the measures of lines
    "edge_precision": ("edge precision", 3),
    "edge_recall": ("edge recall", 3),
    **{key: MEASURES[key] for key in ("edge_f1", "accuracy", "accuracy_ab", "perceptual")},
}


def read(path: Path = RECORDS) -> Any:
    """All records; an empty list if there is no such file.

    Raises:
        ValueError: the file is damaged; the message names it.
    """
    return read_json(path)


def recorded(path: Path = RECORDS) -> set[tuple[str, int]]:
    """Variants and seeds on record in ``path``."""
    return {(record["variant"], record["seed"]) for record in read(path)}


def summary(records: Sequence[dict[str, Any]], name: str, image: str | None = None) -> dict[str, dict[str, float]]:
    """Mean, standard deviation and range over the seeds of every measure of a variant.

    Args:
        records: from ``read``.
        name: of the variant.
        image: one of ``nstlib.medical.IMAGES``, to count its patches only; None counts all.

    Raises:
        KeyError: it is not on record.
    """
    runs = [record for record in records if record["variant"] == name]
    found = [record["images"][image] if image else record["test"] for record in runs]
    if not found:
        raise KeyError(name)
    return {key: over_seeds([test[key] for test in found]) for key in found[0]}


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """How many there are, mean, sample standard deviation (of two values or more), least and greatest value."""
    return {"seeds": len(values), **spread(values), "low": min(values), "high": max(values)}


def mean_and_range(value: Spread, digits: int = 3) -> str:
    """A mean with its range over the seeds, such as "0.231 (0.229 to 0.233)"; of one seed, its value alone."""
    mean, low, high = (f"{value[key]:.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})" if value["seeds"] > 1 else mean


def across(records: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy of each variant on lines of every kind, over the seeds.

    Returns:
        Variant -> kind of lines that it is tested on -> ``over_seeds``.
    """
    found = {name: [record["lines"] for record in records if record["variant"] == name] for name in names}
    return {name: {line: over_seeds([lines[line] for lines in seeds]) for line in LINES} for name, seeds in found.items()}


def curves(records: Sequence[dict[str, Any]], name: str, measure: str = "accuracy", image: str | None = None) -> Tensor:
    """A variant's "accuracy" or "accuracy_ab" on validation frames, before training and after every epoch.

    Args:
        records: from ``read``.
        name: of the variant.
        measure: one of the two.
        image: one of ``nstlib.medical.IMAGES``: its patches alone, and with batch norm's statistics measured anew
            (``experiments.runs.measure_settled``); None takes all, with the running statistics.

    Returns:
        Shape (seeds, epochs + 1).
    """
    runs = [record for record in records if record["variant"] == name]
    return torch.tensor([(record["settled"][image] if image else record["curves"])[measure] for record in runs])


def first_half(curve: Tensor) -> dict[str, float]:
    """Mean accuracy over the first half of the training, without the value before training. Faster learning raises it.

    Args:
        curve: shape (seeds, epochs + 1), from ``curves``.

    Returns:
        ``over_seeds`` of it.
    """
    return over_seeds(curve[:, 1 : (curve.shape[1] + 1) // 2].mean(dim=1).tolist())


def gain(records: Sequence[dict[str, Any]], name: str, base: str, measure: str, image: str) -> dict[str, float]:
    """What a medical variant gains over another in a measure, seed by seed.

    Args:
        records: from ``read``.
        name, base: of the variants.
        measure: a key of the records' measures.
        image: one of ``nstlib.medical.IMAGES``.

    Returns:
        ``over_seeds`` of the differences.

    Raises:
        KeyError: they have no seed in common.
    """
    new, old = (
        {record["seed"]: record["images"][image][measure] for record in records if record["variant"] == variant}
        for variant in (name, base)
    )
    differences = [new[seed] - old[seed] for seed in sorted(new.keys() & old.keys())]
    if not differences:
        raise KeyError(f"{name} and {base} have no seed in common")
    return over_seeds(differences)


def examples(name: str, folder: Path = EXAMPLES) -> dict[str, Tensor]:
    """The first test frames of a variant, and what seed 0 made of them.

    Returns:
        "condition" (N, 1, H, W), "truth" and "colorized" (N, 3, H, W), all in [0, 1].

    Raises:
        nstlib.ImageError: it is not in ``folder``.
    """
    variant = VARIANTS[name]
    condition, truth = (colorized_examples(title, folder) for title in (variant.inputs, f"{variant.group}-truth"))
    return {"condition": condition[:, :1], "truth": truth, "colorized": colorized_examples(name, folder)}


def colorized_examples(name: str, folder: Path = EXAMPLES) -> Tensor:
    """The first test frames as a variant's seed 0 colorized them, (N, 3, H, W), RGB in [0, 1].

    Of a CycleGAN there are also "NAME-there-and-back", lines drawn from its colorized frames, and "NAME-drawn", lines drawn
    from the ground truth.

    Raises:
        nstlib.ImageError: it is not in ``folder``.
    """
    pictures = load_image(folder / f"{name}.png")
    return torch.cat(pictures.split(pictures.shape[2], dim=3))


def variant_table(
    measured: Mapping[str, Mapping[str, Spread]], measures: Mapping[str, tuple[str, int]] = MEASURES, first: str = ""
) -> str:
    """Variants as a Markdown table with a row a variant, a column a measure, and the number of seeds.

    Args:
        measured: label -> ``summary``.
        measures: measure -> head of its column, number of digits.
        first: head of the labels' column.
    """
    rows = [
        [
            label,
            *(mean_and_range(values[key], digits) for key, (_, digits) in measures.items()),
            max(values[key]["seeds"] for key in measures),
        ]
        for label, values in measured.items()
    ]
    headers = [first, *(title for title, _ in measures.values()), "seeds"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def line_art(records: Sequence[dict[str, Any]]) -> str:
    """The table in docs/future_research.md: every variant of line-art that is on record."""
    names = {record["variant"] for record in records}
    return variant_table({label: summary(records, name) for label, name in LINE_ART.items() if name in names}, first="line-art")
