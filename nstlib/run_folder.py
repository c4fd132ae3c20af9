"""The folder of a training: log, samples and checkpoint, each written whole or not at all."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nstlib.files import atomic_write
from nstlib.images import ImageError, save_image


class ModelError(RuntimeError):
    """A training that cannot go on, or a file that holds no model; the message says which and why."""


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Around what writes: a failure becomes a ModelError that names the folder."""
    try:
        yield
    except (OSError, RuntimeError, ImageError) as error:  # RuntimeError: PyTorch's writer, on a full disk
        raise ModelError(f"the run cannot be written to {str(folder)!r}: {error}") from error


def make_folder(folder: Path) -> None:
    """Make the folder and find out whether it can be written, before the first epoch's work.

    Raises:
        ModelError: it cannot.
    """
    with _writing(folder):
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def write_log(folder: Path, history: Sequence[dict[str, float]]) -> None:
    """``log.csv``: a line an epoch.

    Raises:
        ModelError: it cannot be written.
    """
    with _writing(folder), atomic_write(folder / "log.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *history[0]], restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({"epoch": i, **entry} for i, entry in enumerate(history, start=1))


def write_samples(folder: Path, epoch: int, compared: dict[str, Tensor]) -> None:
    """``samples/epoch_NNN.png``: conditions above truths above colorized frames (``ColorizationModel.compare``).

    Raises:
        ModelError: it cannot be written.
    """
    rows = [compared["condition"].expand(-1, 3, -1, -1), compared["truth"], compared["colorized"]]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)[None]
    with _writing(folder):
        save_image(sheet, folder / "samples" / f"epoch_{epoch:03d}.png")


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """``checkpoint.pt``.

    Raises:
        ModelError: it cannot be written.
    """
    with _writing(folder), atomic_write(folder / "checkpoint.pt") as temporary:
        torch.save(state, temporary)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What ``write_checkpoint`` wrote; None if there is nothing yet.

    Raises:
        ModelError: it is damaged.
    """
    path = folder / "checkpoint.pt"
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise ModelError(f"checkpoint {str(path)!r} is damaged; remove it to begin anew") from error
