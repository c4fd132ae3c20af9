"""One vocabulary: the names of the first version are gone, but where they must be known."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent

# name of the first version -> pattern; a comment says what it is called now
OLD = {
    "nstlib.lab": r"nstlib[./]lab\b(?!_)",  # nstlib.widgets
    "nstlib.ablations": r"nstlib[./]ablations\b",  # experiments.variants, runs, report
    "nstlib.profiles": r"nstlib[./]profiles\b",  # experiments.profiles
    "nstlib.plots": r"nstlib[./]plots\b",  # experiments.plots, figures
    "nstlib.table1": r"nstlib[./]table1\b",  # experiments.table1, records
    "from nstlib import": r"from nstlib import [\w, ]*\b(ablations|lab|plots|profiles|table1)\b",
    "nstlib.Recipe": r"\bnstlib\.Recipe\b",  # ColorizerRecipe
    "ColorizerError": r"\bColorizerError\b",  # ModelError
    "sample_clip": r"nstlib\.frames import [\w, ]*\b(AnimeFrames|SPLITS|Shot|band|render|sample_clip)\b",  # nstlib.anime
    "detail=": r"\bdetail=|\.detail\b|[\"']detail[\"']",  # supersample
    "reduce": r"condition\.reduce\b",  # downsample
    "paint_gain": r"\bpaint_gain\b",  # output_gain
    "structure_weight": r"\bstructure_weight\b|canny-structure|--tune structure|structure loss",  # gradient_weight
    "chroma": r"[\"'`]chroma(_5)?[\"'`]|\bchroma_5\b|\bchroma (accuracy|only|alone)\b|\bchroma, t = ",  # accuracy_ab
    "painted": r"\[[\"']painted[\"']\]|[\"']painted[\"']:",  # colorized
    "drawn or painted": r"drawn or painted|drawn,? not painted",  # real or fake
    "_steps": r"\bcolorizer\._steps\b",  # image_gradient_loss
    "training.judge": r"\b(training|trainer)\.judge\b",  # frozen_discriminator
    "remembered": r"\bremembered\(",  # ImagePool.query
    "LUMINANCE": r"\bLUMINANCE\b",  # luma_bt601
    "the lab's": r"\bthe lab's (code|recipe|widths|generator|choice|metric|line-art)|\bauthors' lab\b",  # Nazeri et al. 2018
}
BRITISH = r"\b\w*(colour|grey|recognis|optimis|minimis|normalis|initialis)\w*\b|\blearnt\b|\bneighbour"

EXCEPTIONS = {  # file -> names that it must hold, because it says what they are called now
    "CHANGELOG.md": set(OLD),
}
SKIPPED = ("tests/", "data/", "figures/", "constraints.txt", "LICENSE")
TEXT = {".py", ".md", ".ipynb", ".toml", ".yml", ".yaml", ".cff", ".json", ""}


def documents():
    """Every text file under version control or new, but tests and data."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return []
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [name for name in names if Path(name).suffix in TEXT and not name.startswith(SKIPPED)]


def lines(name):
    """What an author wrote: of a notebook its cells, as what they print comes from elsewhere."""
    path = ROOT / name
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        return [f"cell {i}: {line}" for i, cell in enumerate(cells) for line in cell.source.splitlines()]
    return [f"line {i}: {line}" for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)]


@pytest.mark.parametrize("name", documents())
def test_old_names_are_gone(name):
    patterns = {old: re.compile(pattern) for old, pattern in OLD.items() if old not in EXCEPTIONS.get(name, ())}
    found = [f"{old} in {line}" for line in lines(name) for old, pattern in patterns.items() if pattern.search(line)]
    assert not found


@pytest.mark.parametrize("name", [name for name in documents() if name.endswith((".md", ".ipynb"))])
def test_spelling_is_american(name):
    assert [line for line in lines(name) if re.search(BRITISH, line, flags=re.IGNORECASE)] == []


@pytest.mark.parametrize("old", OLD)
def test_a_pattern_finds_what_it_is_named_after(old):
    example = {
        "from nstlib import": "from nstlib import plots, profiles",
        "sample_clip": "from nstlib.frames import sample_clip",
        "reduce": "canny.condition.reduce(frame)",
        "chroma": 'values["chroma"]',
        "painted": 'sample["painted"]',
        "_steps": "colorizer._steps(painted)",
        "remembered": "self.discriminator.remembered(colorized)",
        "the lab's": "as in the lab's code",
    }.get(old, old)
    assert re.search(OLD[old], example)


@pytest.mark.parametrize(
    "word", ["nstlib.lab_to_rgb", "make lab", "the lab's curves", "differences of chroma by 1", "in detail"]
)
def test_what_is_meant_otherwise_may_stay(word):
    assert not any(re.search(pattern, word) for pattern in OLD.values())
