"""The wheel holds the library alone; away from the repository it works in full and writes nothing beside itself."""

import os
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from nstlib.assets import ASSETS, asset_path

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow

# What a program of somebody else's does. Arguments: the repository, the wheel unpacked, a folder of pictures.
PROGRAM = """
import importlib.util
import sys
from pathlib import Path

repository, unpacked, pictures = map(Path, sys.argv[1:])
# an editable install has put the repository on the path
sys.path = [entry for entry in sys.path if Path(entry).resolve() != repository.resolve()]
assert importlib.util.find_spec("experiments") is None

import nstlib
import nstlib.widgets

assert Path(nstlib.__file__).is_relative_to(unpacked)
assert nstlib.asset_path("vgg16").is_relative_to(unpacked)

photo, style = nstlib.asset_path("washington"), nstlib.asset_path("scream")
content = nstlib.load_image(photo, size=96)[..., :48, :48]
result = nstlib.stylize(content, style, size=48, steps=2)
assert max(result.image.shape) == 48
nstlib.save_image(result.image, "painted.png")

colorizers = [nstlib.Colorizer.load(nstlib.asset_path(f"colorizer-{name}")) for name in ("grayscale", "canny")]
frame = nstlib.load_image(photo, size=228)[..., :128, :128]
for colorizer in colorizers:
    condition = colorizer.condition(frame)
    assert colorizer.colorize(condition).shape == (1, 3, *condition.shape[-2:])

frames = nstlib.FrameFolder(pictures, size=16)
small = nstlib.Colorizer("grayscale", size=16, recipe=nstlib.ColorizerRecipe(width=4, epochs=1))
assert len(small.fit(frames, progress=False)) == 1
small.save("small.safetensors")
assert nstlib.Colorizer.load("small.safetensors").recipe == small.recipe

lab = nstlib.widgets.StyleLab(content, style, size=48, steps=2, steps_per_press=1)
lab.stop()
nstlib.widgets.ColorizeLab(*colorizers)
assert "experiments" not in sys.modules
print("all of it works")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the repository by what pyproject.toml names, which is installed: nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    result = subprocess.run([*command, "-w", folder, ROOT], capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("*.whl")
    return path


def state(folder):
    """Every file and folder, with size and time of the last change."""
    entries = {path.relative_to(folder): path.stat() for path in folder.rglob("*")}
    return {path: (entry.st_size, entry.st_mtime_ns) for path, entry in entries.items()}


def test_it_holds_the_library_and_its_data_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        header = HeaderParser().parsestr(archive.read(metadata).decode())
    about = metadata.split("/")[0]
    assert {name.split("/")[0] for name in names} == {"nstlib", about}
    assert {name for name in names if name.startswith("nstlib/data/")} == {
        f"nstlib/data/{name}" for name in ("README.md", *(asset.file for asset in ASSETS.values()))
    }
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nstlib").rglob("*.py")}
    assert {name for name in names if name.startswith("nstlib/") and "/data/" not in name} == {*sources, "nstlib/py.typed"}
    assert header["License-Expression"] == "MIT AND CC-BY-4.0"
    licenses = {f"{about}/licenses/{name}" for name in header.get_all("License-File")}
    assert licenses == {f"{about}/licenses/LICENSE", f"{about}/licenses/data/README.md"}
    assert licenses <= names


def test_it_works_away_from_the_repository_and_writes_nothing_beside_itself(wheel, tmp_path):
    unpacked, pictures, here = (tmp_path / name for name in ("unpacked", "pictures", "here"))
    here.mkdir()
    pictures.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    for name in ("club", "lecturehall", "meadow", "uni"):
        (pictures / f"{name}.jpg").write_bytes(asset_path(name).read_bytes())
    before = state(unpacked)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NSTLIB_")}
    environment |= {"PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PROGRAM, str(ROOT), str(unpacked), str(pictures)]
    result = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "all of it works"
    assert state(unpacked) == before
    assert {path.name for path in here.iterdir()} == {"painted.png", "small.safetensors"}, "what the program itself saved"
    assert {path.suffix for path in pictures.iterdir()} == {".jpg"}
