"""README, docs/, Makefile and package files agree with each other and with what is there."""

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

import imageio_ffmpeg
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PAGES = {  # the README and the longer pages that it leads to
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
}
README = PAGES["README.md"]
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/*.md", "data/*.md", "course/*.md", "notebooks/*.ipynb")
    for path in sorted(ROOT.glob(pattern))
]

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    tomllib = pytest.importorskip("tomli")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("experiments", "notebooks", "test", "course", "app", "docs")  # those that `make` installs


def requirements():
    extras = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *(line for name in EXTRAS for line in extras[name])]


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


def test_make_installs_these_extras():
    assert f'-e ".[{",".join(EXTRAS)}]"' in (ROOT / "Makefile").read_text()


def test_pre_commit_runs_the_pinned_ruff():
    (pinned,) = re.findall(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"/ruff-pre-commit\n\s+rev: v(\S+)", hooks) == [pinned]


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


def test_every_page_is_reached():
    """The README links to it, and the web version lists it."""
    listed = PAGES["docs/index.md"].splitlines()
    for name in PAGES.keys() - {"README.md", "docs/index.md"}:
        assert f"]({name})" in README, name
        assert f"/{name.removesuffix('.md')}" in listed, name


def test_pages_quote_the_tables():
    from experiments import report, table1

    rows = json.loads((ROOT / "figures" / "table1.json").read_text())
    assert table1.markdown(rows) in README, "figures/table1.md"
    assert report.line_art(report.read()) in PAGES["docs/future_research.md"], "python -m experiments --table"


def test_table_1_is_that_of_its_rows():
    from experiments import table1

    figures = ROOT / "figures"
    assert (figures / "table1.md").read_text(encoding="utf-8") == table1.markdown(
        json.loads((figures / "table1.json").read_text())
    )


@pytest.mark.parametrize("page", PAGES)
def test_make_commands_exist(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)(?=[`\s])", PAGES[page]))
    if page == "README.md":
        assert {"figures", "test", "replicate", "lab", "bench", "assets"} <= named
    assert named <= targets
    for target in named:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_ci_runs_the_readmes_test_command():
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "make test"


PYTHON_BLOCKS = {"README.md": 3, "docs/using.md": 9}  # page -> how many it has


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", PAGES[page], flags=re.DOTALL)


def test_python_blocks_are_where_they_are_expected():
    assert {page: len(python_blocks(page)) for page in PAGES if "```python" in PAGES[page]} == PYTHON_BLOCKS


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON_BLOCKS)
def test_code_runs(page, tmp_path, monkeypatch):
    """The Python blocks of a page, in turn, on small images and few steps."""
    import torch

    import nstlib
    from nstlib.anime import sample_clip

    image = nstlib.load_image(nstlib.asset_path("scream"), 64)
    nstlib.save_image(image, tmp_path / "my_photo.jpg")
    nstlib.save_image(image, tmp_path / "my_painting.jpg")
    nstlib.save_image(nstlib.load_image(nstlib.asset_path("washington"), 300), tmp_path / "my_frame.png")
    for name in ("my_drawing.jpg", "my_key_frame.png", "another.jpg"):
        nstlib.save_image(image, tmp_path / name)
    sample_clip(tmp_path / "my_clip.mp4")
    monkeypatch.chdir(tmp_path)
    tiny = nstlib.ColorizerRecipe(width=4, epochs=2)
    scope = {"nstlib": nstlib, "TINY": tiny, "output": image.clone().requires_grad_(True), "target": torch.rand_like(image)}
    smaller = {
        "size=512, steps=300": "size=64, steps=2",
        "size=512)": "size=64, steps=2)",
        'recipe="laptop"': "recipe=TINY",
        'FastStyle("my_painting.jpg")': 'FastStyle("my_painting.jpg", 64, recipe=nstlib.FastStyleRecipe(epochs=1, width=4))',
        "length=8000": "size=64, length=8",
        "frames_per_epoch=400": "frames_per_epoch=8",
    }
    for block in python_blocks(page):
        for large, small in smaller.items():
            block = block.replace(large, small)
        exec(block, scope)
    assert (tmp_path / "painted.png").exists()
    assert max(nstlib.load_image(tmp_path / "colorized.png").shape) == 300
    assert nstlib.load_image(tmp_path / "colorized_drawing.png").shape == image.shape
    if page == "README.md":
        assert len(scope["colorizer"].history) == tiny.epochs
        return
    assert scope["output"].grad is not None
    assert nstlib.load_image(tmp_path / "colored_drawing.png").shape == image.shape
    assert (tmp_path / "my_style.safetensors").exists()
    assert (tmp_path / "my_run" / "checkpoint.pt").exists()
    assert nstlib.Colorizer.load(tmp_path / "my_colorizer.safetensors").recipe == scope["TINY"]
    assert len(scope["colorizer"].history) == 12  # went on for 10 epochs


@pytest.mark.slow
def test_commands_without_python_run(tmp_path, monkeypatch):
    import nstlib
    from nstlib.__main__ import main
    from nstlib.anime import sample_clip

    for name in ("my_photo.jpg", "my_painting.jpg", "my_frame.png", "my_drawing.jpg", "first.png"):
        nstlib.save_image(nstlib.load_image(nstlib.asset_path("scream"), 64), tmp_path / name)
    sample_clip(tmp_path / "my_clip.mp4")
    nstlib.Colorizer("grayscale", 32, recipe=nstlib.ColorizerRecipe(width=4)).save(tmp_path / "my_colorizer.safetensors")
    monkeypatch.chdir(tmp_path)
    commands = [line for line in PAGES["docs/using.md"].splitlines() if " -m nstlib " in line and line.startswith(".venv")]
    assert len(commands) == 5
    shorten = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "my_clip.mp4", "-frames:v", "3", "short.mp4"]
    subprocess.run(shorten, check=True)
    for command in commands:
        if "--key-frame" in command:  # it takes a while for each frame
            command = command.replace("my_clip.mp4", "short.mp4")
        words = command.split(" -m nstlib ")[1].split()
        assert main([*words, *(["--size", "64", "--steps", "2"] if words[0] == "stylize" else [])]) == 0
    for name in ("painted.png", "colorized.png", "my_drawing-colorized.png", "colorized.mp4", "short-colorized.mp4"):
        assert (tmp_path / name).exists(), name


def test_names_in_the_readmes_table_exist():
    import nstlib
    import nstlib.widgets

    rows = [line for line in README.splitlines() if line.startswith("|") and "notebooks/" in line]
    assert len(rows) == len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))
    for row in rows:
        for name in re.findall(r"`([\w.]+)`", row.split("|")[3]):
            assert operator.attrgetter(name.removeprefix("nstlib."))(nstlib), name


def test_readmes_values_are_those_on_record():
    from experiments import report
    from experiments.records import mean_and_sd, spread
    from nstlib.medical import IMAGES

    rows = {
        line.split("notebooks/")[1][:2]: line.split("|")[5]
        for line in README.splitlines()
        if "](notebooks/" in line and line[0] == "|"
    }
    table = json.loads((ROOT / "figures" / "table1.json").read_text())
    best = {row["condition"]: mean_and_sd(row["shots"]["accuracy"]) for row in reversed(table)}  # the first row of a condition
    records = report.read()

    def ratio(name, base, measure):
        new, old = (report.summary(records, variant)[measure]["mean"] for variant in (name, base))
        return new / old

    def change(name, base, measure):
        return f"{measure_names[measure]} {ratio(name, base, measure) - 1:+.0%}"

    measure_names = {"accuracy": "accuracy", "edge_f1": "edge F1", "perceptual": "perceptual distance"}
    perceptual, poster = "canny-perceptual-gan", "canny-l1-gan"
    medical = [
        report.summary(records, f"medical-grayscale-{origin}", image)["accuracy_ab"]["mean"]
        for image in IMAGES
        for origin in ("anime", "scratch")
    ]
    shown = json.loads((ROOT / "figures" / "key_frames.json").read_text())
    scenes = [
        spread([run["scenes"]["reference"]["accuracy"] for run in shown if run["condition"]["operator"] == operator])["mean"]
        for operator in ("canny", "grayscale")
    ]
    expected = {
        "06": best["grayscale"],
        "07": best["canny"],
        "09": f"{change(perceptual, poster, 'perceptual')}, {change(perceptual, poster, 'accuracy')}",
        "10": f"accuracy {ratio('canny-cyclegan', poster, 'accuracy'):.0%} of that with pairs, "
        + change("canny-cyclegan", poster, "edge_f1"),
        "11": change("sobel-l1-gan", poster, "accuracy"),
        "12": "in a and b: tissue {:.2f} (from scratch {:.2f}), retina {:.2f} ({:.2f})".format(*medical),
        "13": "{:.2f}; {:.2f}".format(*scenes),
    }
    for notebook, value in expected.items():
        assert value in rows[notebook].replace("−", "-"), notebook


def test_memory_is_that_on_record():
    page = PAGES["docs/profiles_and_speed.md"]
    answer = page.partition("## Memory")[2]
    found = json.loads((ROOT / "benchmarks" / "memory.json").read_text())["peak_gib"]
    for job in ("style_transfer", "training"):
        for size, peak in found[job].items():
            assert f"{peak:.1f}" in answer, (job, size)
    assert "(../benchmarks/memory.json)" in answer


def modules():
    """Every module of the library and of the experiments, by its full name."""
    for package in ("nstlib", "experiments"):
        for path in sorted((ROOT / package).rglob("[a-z]*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("module", list(modules()))
def test_public_things_are_documented(module):
    imported = importlib.import_module(module)
    assert imported.__doc__
    for name, thing in vars(imported).items():
        if not name.startswith("_") and callable(thing) and getattr(thing, "__module__", "") == imported.__name__:
            assert thing.__doc__, f"{module}.{name}"


def tracked(*folders):
    """The files under version control that are there, by their path from the root."""
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_tree_is_light():
    sizes = {name: (ROOT / name).stat().st_size for name in tracked("data", "notebooks", "figures")}
    assert sum(sizes.values()) < 90e6, sorted(sizes, key=sizes.get)[-10:]


def test_every_figure_is_shown():
    """By the README, a page in docs/ or a notebook; figures/ablations holds data that notebooks read."""
    sources = [cell.source for path in ROOT.glob("notebooks/*.ipynb") for cell in nbformat.read(path, as_version=4).cells]
    named = re.findall(r'figures(?:/| / f?")([\w{}]+\.(?:png|jpg))', "\n".join([*PAGES.values(), *sources]))
    shown = [re.compile(re.sub(r"\\{\w+\\}", r"\\w+", re.escape(name))) for name in named]
    for name in tracked("figures"):
        path = Path(name)
        if path.parent.name == "figures" and path.suffix in (".png", ".jpg"):
            assert any(pattern.fullmatch(path.name) for pattern in shown), name


def test_nothing_names_a_machine_or_an_index():
    """No absolute path of somebody's machine, no address of a package index."""
    pattern = re.compile(r"/(work|home|root|Users)/\w|index-url|/simple/", flags=re.IGNORECASE)
    for name in tracked():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".ipynb", ".toml", ".txt", ".yml", ".yaml"} and path != Path(__file__):
            text = re.sub(r'"image/(png|jpeg)": "[^"]*"', "", path.read_text(encoding="utf-8"))
            assert not pattern.search(text), name
