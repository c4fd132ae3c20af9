"""Table 1 of the poster, measured: what each training run left on record, and the table made of the records.

A record is a dict of plain values, kept as JSON, of one trained colorizer; nothing in it is guessed, and what was not measured
is absent.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nstlib.colorizer import Colorizer, Recipe
from nstlib.edges import Condition
from nstlib.files import atomic_write
from nstlib.frames import AnimeFrames

POSTER = {"grayscale": 0.632, "canny": 0.32}  # accuracy after 30 epochs
# grayscale as it is; lines found at twice the size, so that fine ones stay apart in small frames
CONDITIONS = {"grayscale": Condition("grayscale"), "canny": Condition("canny", sigma=1.0, detail=2)}
NAMES = {"grayscale": "Grayscale", "canny": "Line-art"}
TEST_SEED = 1  # trainings have 0, 1, ... too, but never a shot of the other splits
FRESH_SEED = 10_000  # of frames of the training split that no training has seen


def held_out(colorizer: Colorizer, split: str = "shots", length: int = 512) -> AnimeFrames:
    """The frames that ``colorizer`` is measured on, in the size that it takes; of "train", frames that it has not seen."""
    seed = FRESH_SEED if split == "train" else TEST_SEED
    return AnimeFrames(split, colorizer.size * colorizer.condition.detail, length, seed=seed)


def summarize(values: dict[str, Tensor]) -> dict[str, float]:
    """Means over frames, to four digits."""
    return {name: round(float(value.mean()), 4) for name, value in values.items()}


def record(colorizer: Colorizer, run: str, frames_per_epoch: int, test_length: int) -> dict[str, Any]:
    """Measure a trained colorizer on every split and put down what it came from.

    Args:
        colorizer: trained; its history tells epochs and seconds.
        run: what to call it: "laptop", "long", ...
        frames_per_epoch: that it was trained on.
        test_length: frames of each split to measure on.
    """
    device = colorizer.device
    return {
        "run": run,
        "epochs": len(colorizer.history),
        "frames_per_epoch": frames_per_epoch,
        "seconds": round(sum(entry["seconds"] for entry in colorizer.history)),
        "device": device_name(device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "nstlib": version("nstlib")},
        "test_frames": test_length,
        **colorizer.config(),
        **{
            split: summarize(colorizer.evaluate(held_out(colorizer, split, test_length)))
            for split in ("shots", "scenes", "train")
        },
    }


def device_name(device: torch.device) -> str:
    """What a run was computed on: the GPU's name, or ``processor``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The CPU's name and how many cores there are to compute on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def write_json(data: Any, path: str | os.PathLike[str]) -> None:
    """Write plain values as JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_records(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All records in a folder, in the order of their names.

    Raises:
        ValueError: one is damaged; the message names it.
    """
    records = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            records.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path.name} is damaged: {error}") from error
    return records


def table(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each condition and run, over its seeds: mean and, of several, standard deviation of every value.

    Returns:
        Rows of plain values, in the poster's order of conditions, more frames first; a value over seeds is
        {"mean": ..., "sd": ...}
        (no "sd" for one seed).

    Raises:
        ValueError: records of the same condition and run differ in more than the seed.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in records:
        groups.setdefault((entry["condition"]["operator"], entry["run"]), []).append(entry)
    rows = []
    for (condition, run), group in groups.items():
        if any(_setting(entry) != _setting(group[0]) for entry in group):
            raise ValueError(f"the records of {condition}, run {run}, differ in more than the seed")
        rows.append(
            {
                "condition": condition,
                "run": run,
                "poster": POSTER[condition],
                **_setting(group[0]),
                "seeds": sorted(entry["seed"] for entry in group),
                "seconds": spread([entry["seconds"] for entry in group]),
                "devices": sorted({entry["device"] for entry in group}),
                **{
                    split: {name: spread([entry[split][name] for entry in measured]) for name in measured[0][split]}
                    for split in ("shots", "scenes", "train")
                    if (measured := [entry for entry in group if split in entry])
                },
            }
        )
    order = list(POSTER)
    return sorted(rows, key=lambda row: (order.index(row["condition"]), -row["frames_per_epoch"]))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and, of two values or more, sample standard deviation."""
    result = {"mean": round(statistics.mean(values), 4)}
    return {**result, "sd": round(statistics.stdev(values), 4)} if len(values) > 1 else result


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Table 1: the poster's accuracy beside ours, and what else was measured on the same held-out frames."""
    lines = [
        "| condition | poster | ours, t = 2 | t = 5 | chroma, t = 2 | chroma, t = 5 | PSNR | SSIM | run | seeds "
        "| epochs × frames | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shots = row["shots"]
        cells = [
            NAMES[row["condition"]],
            f"{row['poster']:g}",
            f"**{shown(shots['accuracy'])}**",
            *(shown(shots[name]) for name in ("accuracy_5", "chroma", "chroma_5")),
            shown(shots["psnr"], 1),
            shown(shots["ssim"]),
            row["run"],
            str(len(row["seeds"])),
            f"{row['epochs']} × {row['frames_per_epoch']:,}",
            f"{row['seconds']['mean'] / 60:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _setting(entry: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in all records of a row."""
    return {
        **{key: entry[key] for key in ("epochs", "frames_per_epoch", "size", "test_frames")},
        "recipe": asdict(Recipe(**entry["recipe"])),  # older records lack what recipes have learnt since
        "detail": entry["condition"]["detail"],
    }


def shown(value: dict[str, float], digits: int = 3) -> str:
    """What ``spread`` gives, as "0.231 ± 0.004"."""
    return f"{value['mean']:.{digits}f}" + (f" ± {value['sd']:.{digits}f}" if "sd" in value else "")
