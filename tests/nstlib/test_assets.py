"""data/ holds what nstlib/assets.py and data/README.md say; damage is reported; the weights are Oxford's, whole in float16."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.numpy import load_file

from nstlib import assets
from nstlib.assets import ASSETS, AssetError, asset_path
from nstlib.images import load_image
from nstlib.vgg import FeatureExtractor, layer_names

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
REFERENCE = ROOT / "tests" / "reference" / "vgg16_float32.safetensors"
RELUS = [name for name in layer_names("vgg16") if name.startswith("relu")]


@pytest.fixture(autouse=True)
def _forget_checks():
    asset_path.cache_clear()
    yield
    asset_path.cache_clear()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A stand-in for data/ that a test may damage; without the large file of weights."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("scream", "washington", "toronto"):
        shutil.copy(DATA / ASSETS[name].file, folder)
    monkeypatch.setattr(assets, "DATA", folder)
    return folder


# what is there


@pytest.mark.parametrize("name", ASSETS)
def test_every_file_is_the_recorded_one(name):
    path = asset_path(name)
    assert path == assets.DATA / ASSETS[name].file
    assert hashlib.sha256(path.read_bytes()).hexdigest() == ASSETS[name].sha256


def readme_table() -> dict[str, dict[str, str]]:
    """File -> column -> text, of the table in data/README.md."""
    lines = [line for line in (DATA / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    header, dashes, *rows = rows
    assert set("".join(dashes)) == {"-"}
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def test_readme_and_assets_agree():
    table = readme_table()
    assert list(table) == [asset.file for asset in ASSETS.values()]
    for asset in ASSETS.values():
        row = table[asset.file]
        assert (row["origin"], row["license"], row["SHA-256"]) == (asset.origin, asset.license, asset.sha256)
        assert row["size"] == f"{(DATA / asset.file).stat().st_size / 1e6:.1f} MB", asset.file
        assert row["what it is"]


@pytest.mark.parametrize("name", ["scream", "washington", "toronto"])
def test_readme_gives_the_size_in_pixels(name):
    with PIL.Image.open(DATA / ASSETS[name].file) as image:
        assert f"{image.width} × {image.height} pixels" in readme_table()[ASSETS[name].file]["what it is"]


def test_data_holds_nothing_unlisted():
    files = {path.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.is_file()}
    assert files == {"README.md"} | {asset.file for asset in ASSETS.values()}


def test_data_is_small_enough_for_a_repository():
    sizes = [path.stat().st_size for path in DATA.rglob("*")]
    assert max(sizes) < 30e6
    assert all(path.stat().st_size < 20e6 for path in DATA.glob("colorizer-*"))
    assert sum(sizes) < 120e6
    assert REFERENCE.stat().st_size < 300e3


# what is said when something is wrong


def test_a_whole_copy_passes_and_is_checked_once(copy):
    assert asset_path("scream") == copy / "scream.jpg"
    (copy / "scream.jpg").unlink()
    assert asset_path("scream") == copy / "scream.jpg"


def test_checking_changes_nothing(copy):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in copy.iterdir()}
    asset_path("scream")
    assert {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in copy.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "exist"),
        (b"", "empty"),
        (b"\xff\xd8 not the picture", "SHA-256"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:dcab\nsize 174515\n", "git lfs pull"),
    ],
)
def test_a_missing_or_damaged_file_is_named_with_what_to_do(copy, content, fault):
    path = copy / "scream.jpg"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AssetError) as caught:
        asset_path("scream")
    message = str(caught.value)
    assert fault in message
    assert str(path) in message
    assert "`make assets`" in message
    assert "`git checkout data/scream.jpg`" in message


def test_one_flipped_bit_is_seen_and_after_repair_all_is_well(copy):
    path = copy / "toronto.png"
    sound = path.read_bytes()
    path.write_bytes(sound[:1000] + bytes([sound[1000] ^ 1]) + sound[1001:])
    with pytest.raises(AssetError, match=f"SHA-256.*{ASSETS['toronto'].sha256[:12]}"):
        asset_path("toronto")
    path.write_bytes(sound)
    assert asset_path("toronto") == path


def test_cut_short(copy):
    path = copy / "washington.jpg"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AssetError, match=f"SHA-256.*{ASSETS['washington'].sha256[:12]}"):
        asset_path("washington")


def test_a_folder_in_place_of_the_file(copy):
    (copy / "scream.jpg").unlink()
    (copy / "scream.jpg").mkdir()
    with pytest.raises(AssetError, match=r"scream\.jpg' is a folder"):
        asset_path("scream")


def test_an_unreadable_file(copy, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # chmod would not stop root
    with pytest.raises(AssetError, match=r"scream\.jpg'.*Permission denied"):
        asset_path("scream")


def test_no_data_folder_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "DATA", tmp_path / "nowhere")
    with pytest.raises(AssetError, match=r"nowhere.*vgg16\.safetensors"):
        asset_path("vgg16")
    with pytest.raises(AssetError, match=r"nowhere.*vgg16\.safetensors"):
        FeatureExtractor()


def test_in_an_installed_wheel_there_is_no_makefile(monkeypatch):
    monkeypatch.setattr(assets, "DATA", Path(assets.__file__).parent / "data")
    with pytest.raises(AssetError, match="install nstlib"):
        asset_path("scream")


@pytest.mark.parametrize("name", ["Scream", "scream.jpg", "", None])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(AssetError, match=r"scream, starry-night, .*washington, toronto, vgg16"):
        asset_path(name)


# the weights


@pytest.fixture(scope="module")
def weights():
    return load_file(DATA / "vgg16.safetensors")


def test_first_weights_are_oxfords(weights):
    first, bias = weights["features.0.weight"], weights["features.0.bias"]
    assert first.dtype == np.float16
    assert first.shape == (64, 3, 3, 3)
    half = 2**-11  # relative error of rounding to float16
    assert first[0, 0, 0] == pytest.approx([0.42947057, 0.373467, -0.06136011], rel=half)
    assert bias[:3] == pytest.approx([0.73429835, 0.09340367, 0.06775674], rel=half)


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("features.0.bias", 25, 0.7446502),  # conv1_1
        ("features.2.weight", (63, 63, 2, 2), 0.016082443),  # conv1_2
        ("features.5.bias", 1, 0.06440781),  # conv2_1
        ("features.24.weight", (269, 63, 1, 0), -0.011236359),  # conv5_1
        ("features.26.bias", 510, 0.23517226),  # conv5_2
        ("features.28.weight", (400, 0, 0, 2), -0.008714244),  # conv5_3
    ],
)
def test_deeper_weights_are_oxfords_too(weights, name, index, value):
    """Values that public programs expect of the Oxford model; further training of its last layers would change them."""
    assert weights[name][index] == pytest.approx(value, rel=2**-11)


def test_float16_costs_less_than_a_thousandth_in_every_layer():
    reference = load_file(REFERENCE)
    assert len(RELUS) == 13
    assert {key.split(".")[0] for key in reference} == set(RELUS)
    with torch.inference_mode():
        features = FeatureExtractor(layers=RELUS, pooling="max")(load_image(asset_path("scream"), 64))
    for name in RELUS:
        positions, expected = reference[f"{name}.positions"], reference[f"{name}.values"]
        assert len(set(positions.tolist())) == len(expected) == 2048
        assert np.linalg.norm(expected) > 0
        error = np.linalg.norm(features[name].flatten().numpy()[positions] - expected) / np.linalg.norm(expected)
        assert error < 1e-3, f"{name}: {error:.2e}"
