"""Notebooks in Colab: their badges lead to them, and their first code cell sets up what is missing and upgrades nothing."""

import re
import sys
import types
from pathlib import Path

import nbformat
import pytest
import stamp_badges
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
COLAB = dict(line.split("==") for line in (ROOT / "tests" / "colab.txt").read_text().splitlines() if not line.startswith("#"))

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    tomllib = pytest.importorskip("tomli")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_every_notebook_is_stamped(notebook, request):
    again = nbformat.from_dict(notebook)
    stamp_badges.stamp(again, f"{request.node.callspec.id}.ipynb", stamp_badges.repository())
    assert again == notebook, "make badges"
    title, badge, introduction = notebook.cells[0].source.split("\n\n")[:3]
    assert title.startswith("# ")
    assert f"/blob/main/notebooks/{request.node.callspec.id}.ipynb)" in badge
    assert introduction.startswith("**You will learn**")
    assert notebook.cells[1].metadata["tags"] == ["colab"]


def test_stamping_once_more_changes_nothing_and_another_address_everything():
    cells = [nbformat.v4.new_markdown_cell("# 01 · T\n\nText."), nbformat.v4.new_code_cell("1", execution_count=1)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    stamp_badges.stamp(notebook, "01_t.ipynb", "https://github.com/a/b")
    assert [cell.get("execution_count") for cell in notebook.cells] == [None, 1, 2]
    once = nbformat.writes(notebook)
    stamp_badges.stamp(notebook, "01_t.ipynb", "https://github.com/a/b")
    assert nbformat.writes(notebook) == once
    stamp_badges.stamp(notebook, "01_t.ipynb", "https://github.com/c/d")
    assert "github/c/d/blob" in notebook.cells[0].source
    assert "github.com/c/d /content/d" in notebook.cells[1].source
    assert "a/b" not in nbformat.writes(notebook)
    assert notebook.cells[0].source.endswith("Text.")


def run_setup(monkeypatch):
    """What the set-up cell asks of the shell and of IPython."""
    asked = []
    shell = types.SimpleNamespace(system=asked.append, run_line_magic=lambda name, line: asked.append(f"%{name} {line}"))
    source = nbformat.read(NOTEBOOKS[0], as_version=4).cells[1].source
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(TransformerManager().transform_cell(source), {"get_ipython": lambda: shell})
    return asked


def test_elsewhere_the_setup_does_nothing(monkeypatch):
    before = list(sys.path)
    assert run_setup(monkeypatch) == []
    assert sys.path == before


def test_in_colab_the_setup_installs_what_is_missing_and_keeps_what_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    clone, keep, install, move = run_setup(monkeypatch)
    name = stamp_badges.repository().rsplit("/", 1)[1]
    assert f"git clone --quiet --depth 1 {stamp_badges.repository()} /content/{name}" in clone
    kept = re.search(r"\^\((.*)\)==", keep).group(1).split("|")
    assert {"torch", "torchvision", "numpy", "ipywidgets", "ipykernel"} <= set(kept)
    assert f'--constraint /content/keep.txt --editable "/content/{name}[experiments]"' in install
    assert "upgrade" not in install
    assert move == f"%cd -q /content/{name}/notebooks"
    assert sys.path[0] == f"/content/{name}"


def test_the_ranges_admit_what_colab_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["experiments"]]  # what the set-up cell installs
    asked = {Requirement(line).name: Requirement(line).specifier for line in lines}
    assert {"torch", "numpy", "ipywidgets", "ipykernel", "scikit-image"} <= set(COLAB)
    for name, version in COLAB.items():
        if name in asked:
            assert asked[name].contains(version.removesuffix(".*") + (".0" if version.endswith("*") else "")), name
    assert {"torch", "numpy", "ipywidgets", "matplotlib", "scikit-image"} <= set(asked)
    assert not {"jupyterlab", "notebook", "jupyter-server"} & set(asked), "Colab has its own front end"
