"""What ``data/`` holds, where it came from, and the checksum that guards it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# in the repository data/ lies beside the package; in an installed wheel, inside it
DATA = next(
    (folder for folder in (Path(__file__).parent / "data", Path(__file__).parent.parent / "data") if folder.is_dir()),
    Path(__file__).parent.parent / "data",
)


class AssetError(RuntimeError):
    """A file of ``data/``, or a file of weights, is missing or not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Asset:
    """A file in ``data/``: its name, the SHA-256 of its bytes, its origin and its licence."""

    file: str
    sha256: str
    origin: str
    licence: str


ASSETS = {
    "scream": Asset("scream.jpg", "", "", ""),
    "washington": Asset("washington.jpg", "", "", ""),
    "toronto": Asset("toronto.png", "", "", ""),
    "vgg16": Asset("vgg16.safetensors", "", "", ""),
}


@cache
def asset_path(name: str) -> Path:
    asset = ASSETS[name]
    return DATA / asset.file
