"""Measured values: how they are summarized, and the JSON files that hold them."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nstlib.files import atomic_write


def write_json(data: Any, path: str | os.PathLike[str]) -> None:
    """Write plain values as JSON, whole or not at all; make the folder if there is none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_records(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read all records in a folder, in the order of their names.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    return [read_json(path) for path in sorted(Path(folder).glob("*.json"))]


def read_json(path: Path) -> Any:
    """What ``write_json`` wrote; an empty list if there is no such file.

    Raises:
        ValueError: the file is damaged; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    except ValueError as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def means(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over frames, to four digits; each tensor has shape (frames,)."""
    return {name: round(float(value.mean()), 4) for name, value in values.items()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and, of two values or more, sample standard deviation, to four digits: {"mean": ..., "sd": ...}."""
    result = {"mean": round(statistics.mean(values), 4)}
    return {**result, "sd": round(statistics.stdev(values), 4)} if len(values) > 1 else result


def mean_and_sd(value: Mapping[str, float], digits: int = 3) -> str:
    """The result of ``spread`` as text, such as "0.231 ± 0.004"."""
    return f"{value['mean']:.{digits}f}" + (f" ± {value['sd']:.{digits}f}" if "sd" in value else "")


def device_name(device: torch.device) -> str:
    """The GPU's name, or ``processor`` if ``device`` is the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The CPU's name and the number of cores that this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"
