"""Table 1 of the poster: measure a trained colorizer, and make the table from the records.

A record is a dict of plain values, kept as JSON, of one trained colorizer. A value that was not measured is absent.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
from tabulate import tabulate

from experiments.records import device_name, mean_and_sd, means, spread
from nstlib.anime import AnimeFrames
from nstlib.colorizer import Colorizer, ColorizerRecipe
from nstlib.edges import Condition

POSTER = {"grayscale": 0.632, "canny": 0.32}  # accuracy after 30 epochs
CONDITIONS = {"grayscale": Condition("grayscale"), "canny": Condition("canny", sigma=1.0)}
NAMES = {"grayscale": "Grayscale", "canny": "Line-art"}
SPLITS = ("shots", "scenes", "train")  # in the order of a record
TEST_SEED = 1  # trainings use 0, 1, ..., too, but their split shares no shot with the test splits
FRESH_SEED = 10_000  # of frames from the training split that no training has seen


def held_out(colorizer: Colorizer, split: str = "shots", length: int = 512) -> AnimeFrames:
    """The frames on which ``colorizer`` is measured, in the size that it takes; from "train", frames that it has not seen."""
    seed = FRESH_SEED if split == "train" else TEST_SEED
    return AnimeFrames(split, colorizer.frame_size, length, seed=seed)


def measure_run(colorizer: Colorizer, run: str, frames_per_epoch: int, test_length: int) -> dict[str, Any]:
    """Measure a trained colorizer on every split, and note how it was trained.

    Args:
        colorizer: trained; epochs and seconds come from its history.
        run: the name of the run: "laptop", "long", ...
        frames_per_epoch: the number that it was trained on.
        test_length: the number of frames to measure on, in each split.

    Returns:
        The record: plain values.
    """
    return {
        "run": run,
        "epochs": len(colorizer.history),
        "frames_per_epoch": frames_per_epoch,
        "seconds": round(sum(entry["seconds"] for entry in colorizer.history)),
        "device": device_name(colorizer.device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "nstlib": version("nstlib")},
        "test_frames": test_length,
        **colorizer.config(),
        **{split: means(colorizer.evaluate(held_out(colorizer, split, test_length))) for split in SPLITS},
    }


def summary_rows(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each condition and run, with the mean over its seeds and, of several seeds, the standard deviation.

    Returns:
        Rows of plain values. The order is the poster's order of conditions, then more frames first. A value over seeds is
        {"mean": ..., "sd": ...}, without "sd" for one seed.

    Raises:
        ValueError: records of the same condition and run differ in more than the seed.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in records:
        groups.setdefault((entry["condition"]["operator"], entry["run"]), []).append(entry)
    rows = []
    for (condition, run), group in groups.items():
        if any(_settings(entry) != _settings(group[0]) for entry in group):
            raise ValueError(f"the records of {condition}, run {run}, differ in more than the seed")
        rows.append(
            {
                "condition": condition,
                "run": run,
                "poster": POSTER[condition],
                **_settings(group[0]),
                "seeds": sorted(entry["seed"] for entry in group),
                "seconds": {
                    device: spread([entry["seconds"] for entry in group if entry["device"] == device])
                    for device in sorted({entry["device"] for entry in group})
                },
                **{
                    split: {name: spread([entry[split][name] for entry in measured]) for name in measured[0][split]}
                    for split in SPLITS
                    if (measured := [entry for entry in group if split in entry])
                },
            }
        )
    order = list(POSTER)
    return sorted(rows, key=lambda row: (order.index(row["condition"]), -row["frames_per_epoch"]))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Table 1 in Markdown: the poster's accuracy beside ours on held-out ``shots``, with all measures of these frames; and
    ours, t = 2, on fresh frames of ``train`` and on ``scenes``."""
    headers = ["condition", "poster", "ours, t = 2", "on `train`", "on `scenes`", "t = 5", "a and b only", "PSNR", "SSIM"]
    headers += ["run", "seeds", "epochs × frames", "minutes"]
    cells = [
        [
            NAMES[row["condition"]],
            f"{row['poster']:g}",
            f"**{mean_and_sd(row['shots']['accuracy'])}**",
            *(mean_and_sd(row[split]["accuracy"]) if split in row else "–" for split in ("train", "scenes")),
            *(mean_and_sd(row["shots"][name]) for name in ("accuracy_5", "accuracy_ab")),
            mean_and_sd(row["shots"]["psnr"], 1),
            mean_and_sd(row["shots"]["ssim"]),
            row["run"],
            str(len(row["seeds"])),
            f"{row['epochs']} × {row['frames_per_epoch']:,}",
            ", ".join(f"{value['mean'] / 60:.0f} ({device.split(', ')[-1]})" for device, value in row["seconds"].items()),
        ]
        for row in rows
    ]
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True) + "\n"


def _settings(entry: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in all records of a row."""
    return {
        **{key: entry[key] for key in ("epochs", "frames_per_epoch", "size", "test_frames")},
        "recipe": asdict(ColorizerRecipe(**entry["recipe"])),  # older records lack the settings that recipes gained since
        "supersample": entry["condition"]["supersample"],
    }
