"""README, Makefile and package files agree with each other and with what is there."""

import contextlib
import importlib
import json
import operator
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    path for pattern in ("*.md", "data/*.md", "course/*.md", "notebooks/*.ipynb") for path in sorted(ROOT.glob(pattern))
]

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    tomllib = pytest.importorskip("tomli")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements():
    extras = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *(line for name in ("notebooks", "test", "course", "docs") for line in extras[name])]


def name_of(requirement):
    return re.split(r"[<>=!~ \[]", requirement)[0].lower()


def test_environment_yml_holds_the_same_packages():
    lines = [line.strip()[2:] for line in (ROOT / "environment.yml").read_text().splitlines() if re.match(r"\s+- ", line)]
    python, *packages = [line for line in lines if line not in ("conda-forge", "pip", "pip:", "-e .")]
    assert python == f"python{PROJECT['requires-python']}"
    assert sorted(packages) == sorted(re.sub(r"^torch\b", "pytorch", requirement) for requirement in requirements())


def test_constraints_pin_every_requirement():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; python_version >= \"3\.\d+\")?", line) for line in lines), (
        "one exact version a line"
    )
    pinned = {line.split("==")[0] for line in lines}
    assert {name_of(requirement) for requirement in requirements()} <= pinned


@pytest.mark.skipif(not os.environ.get("CI"), reason="only CI must run the pinned versions")
def test_ci_runs_the_pinned_versions():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#") and (sys.version_info >= (3, 11) or ";" not in line):
            name, pinned = line.split(" ")[0].split("==")
            with contextlib.suppress(PackageNotFoundError):  # needed on another platform only
                assert version(name).split("+")[0] == pinned, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://", "mailto:", "#")) or "data:image" in target:
            continue
        assert (document.parent / target.split("#")[0]).exists(), f"{document.name} links to {target}"


def test_readme_quotes_what_came_out_for_line_art():
    from nstlib import ablations

    assert ablations.line_art(ablations.read()) in README, "python -m nstlib.ablations --table"


def test_readmes_make_commands_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)(?=[`\s])", README)) - {"an", "environment"}
    assert {"figures", "test", "replicate", "lab", "bench", "assets"} <= named
    assert named <= targets | {"s"}
    for target in named:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_ci_runs_the_readmes_test_command():
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "make test"


def test_readmes_code_runs(tmp_path, monkeypatch):
    """The Python blocks, on small images and few steps."""
    import torch

    import nstlib
    from nstlib.frames import sample_clip

    image = nstlib.load_image(nstlib.asset_path("scream"), 64)
    nstlib.save_image(image, tmp_path / "my_photo.jpg")
    nstlib.save_image(image, tmp_path / "my_painting.jpg")
    nstlib.save_image(image, tmp_path / "my_frame.png")
    sample_clip(tmp_path / "my_clip.mp4")
    monkeypatch.chdir(tmp_path)
    tiny = nstlib.Recipe(width=4, epochs=2)
    scope = {"nstlib": nstlib, "TINY": tiny, "output": image.clone().requires_grad_(True), "target": torch.rand_like(image)}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.setenv("NSTLIB_PROFILE", "smoke")
    for block in blocks:
        small = block.replace("size=512, steps=300", "size=64, steps=2").replace('recipe="laptop"', "recipe=TINY")
        exec(small, scope)
    assert (tmp_path / "painted.png").exists()
    assert scope["output"].grad is not None
    assert (tmp_path / "my_run" / "checkpoint.pt").exists()
    assert max(nstlib.load_image(tmp_path / "colorized.png").shape) == 114
    assert nstlib.Colorizer.load(tmp_path / "my_colorizer.safetensors").recipe == scope["TINY"]


def test_names_in_the_readmes_table_exist():
    import nstlib
    import nstlib.ablations
    import nstlib.lab

    rows = [line for line in README.splitlines() if line.startswith("|") and "notebooks/" in line]
    assert len(rows) == len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))
    for row in rows:
        for name in re.findall(r"`([\w.]+)`", row.split("|")[3]):
            assert operator.attrgetter(name.removeprefix("nstlib."))(nstlib), name


def test_readmes_values_are_those_on_record():
    from nstlib import ablations, table1

    rows = {
        line.split("notebooks/")[1][:2]: line.split("|")[6]
        for line in README.splitlines()
        if "](notebooks/" in line and line[0] == "|"
    }
    table = json.loads((ROOT / "figures" / "table1.json").read_text())
    best = {row["condition"]: table1.shown(row["shots"]["accuracy"]) for row in table if row["run"] == "long"}
    records = ablations.read()

    def change(name, measure):
        new, old = (ablations.summary(records, variant)[measure]["mean"] for variant in (name, "canny-l1-gan"))
        return f"{new / old - 1:+.0%}"

    scratch, anime = (ablations.curves(records, f"medical-grayscale-{origin}-100") for origin in ("scratch", "anime"))
    steps = next(record["steps"] for record in records if record["variant"] == "medical-grayscale-scratch-100")
    expected = {
        "06": best["grayscale"],
        "07": best["canny"],
        "09": f"perceptual distance {change('canny-l1-perceptual-gan', 'perceptual')}",
        "10": f"edge F1 {change('canny-structure', 'edge_f1')}",
        "11": f"accuracy {change('sobel-l1-gan', 'accuracy')}",
        "12": f"in {ablations.reached(anime, scratch[:, -1].mean().item(), steps)} of {steps} steps",
    }
    for notebook, value in expected.items():
        assert value in rows[notebook].replace("−", "-"), notebook


def test_readmes_memory_is_that_on_record():
    found = json.loads((ROOT / "benchmarks" / "memory.json").read_text())["peak_gib"]
    transfer, training = (list(found[job].values()) for job in ("style_transfer", "training"))
    said = "a style transfer had {:.1f} GiB at its most at 256 px, {:.1f} at 512 and {:.1f} at 1024, Python and VGG included;"
    assert said.format(*transfer) in README
    assert "training a colorizer {:.1f} GiB at 64 px and {:.1f} at 128\n".format(*training) in README


@pytest.mark.parametrize("module", sorted(path.stem for path in (ROOT / "nstlib").glob("[a-z]*.py")))
def test_public_things_are_documented(module):
    imported = importlib.import_module(f"nstlib.{module}")
    assert imported.__doc__
    for name, thing in vars(imported).items():
        if not name.startswith("_") and callable(thing) and getattr(thing, "__module__", "") == imported.__name__:
            assert thing.__doc__, f"{module}.{name}"


def test_arrows_run_one_way():
    """The library's own order (images -> vgg -> losses -> transfer; edges, networks -> colorizer); plots and profiles are
    for notebooks and tools only."""
    order = ["files", "images", "assets", "color", "edges", "frames", "vgg", "losses", "transfer"]
    order += ["networks", "metrics", "colorizer", "table1", "cyclegan", "medical", "ablations"]
    for module in order:
        imports = re.findall(r"^from nstlib\.(\w+) import", (ROOT / "nstlib" / f"{module}.py").read_text(), flags=re.MULTILINE)
        assert set(imports) <= set(order[: order.index(module)]), module


def test_nothing_names_a_machine_or_an_index():
    """No absolute path of somebody's machine, no address of a package index."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"/(work|home|root|Users)/\w|index-url|/simple/", flags=re.IGNORECASE)
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".ipynb", ".toml", ".txt", ".yml"} and path != Path(__file__) and path.exists():
            text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
            assert not pattern.search(text), name
