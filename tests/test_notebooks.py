"""What the committed notebooks must have; nbval runs them (see `make test`)."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "course" / "solutions").glob("*.ipynb"))
PICTURES = ("image/jpeg", "image/png")  # photographs; plots and drawings
MEGABYTES = 2.0  # a notebook, at most
pytestmark = pytest.mark.notebooks


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def pictures(cell):
    """Outputs of a cell that are pictures, with their type."""
    return [(output, kind) for output in cell.outputs for kind in PICTURES if kind in output.get("data", {})]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    numbers = [path.stem[:2] for path in NOTEBOOKS]
    assert len(set(numbers)) == len(numbers)
    assert len(NOTEBOOKS) >= 8


def test_is_valid_and_named_as_its_file(notebook, request):
    nbformat.validate(notebook)
    number = request.node.callspec.id[:2]
    assert notebook.cells[0].source.startswith(f"# {number} · ")


def test_opens_with_what_it_teaches_and_ends_with_exercises(notebook):
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    for phrase in ("**You will learn**", "**Needs**", "**Takes**", "smoke", "cpu", "gpu"):
        assert phrase in first
    for heading in ("## What we saw", "## Exercises", "## Further reading"):
        assert heading in last


def test_is_committed_executed_in_the_cpu_profile(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    text = "".join(o.get("text", "") for cell in code_cells(notebook) for o in cell.outputs)
    assert "profile smoke" not in text


def test_no_errors_no_widgets_no_machine(notebook):
    assert "widgets" not in notebook.metadata
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert not re.search(r"/(tmp|work|home|root)/", str(output.get("text", "")))


def test_every_picture_has_alternative_text(notebook):
    for cell in code_cells(notebook):
        for output, kind in pictures(cell):
            assert len(output.metadata[kind]["alt"]) > 40
            assert output.data["text/plain"] == output.metadata[kind]["alt"]


def test_pictures_are_there(notebook):
    if all("plots.show" not in cell.source for cell in code_cells(notebook)):
        pytest.fail("a notebook without a picture")
    for cell in code_cells(notebook):
        if "plots.show(" in cell.source and ".exists()" not in cell.source:  # a student's own picture need not be there
            assert pictures(cell)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}-{path.stem[:2]}")
def test_is_not_large(path):
    assert path.stat().st_size <= MEGABYTES * 1e6


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}-{path.stem[:2]}")
def test_figures_that_it_saves_are_committed_and_those_it_shows_are_there(path):
    for cell in nbformat.read(path, as_version=4).cells:
        saved = re.findall(r'profile\.figures / "([\w.]+)"', cell.source) if cell.cell_type == "code" else []
        shown = re.findall(r"figures/([\w/]+\.(?:png|jpg))", cell.source) if cell.cell_type == "markdown" else []
        for name in (*saved, *shown):
            assert (ROOT / "figures" / name).exists(), name


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}-{path.stem[:2]}")
def test_every_cell_compiles(path):
    transformer = TransformerManager()
    for cell in code_cells(nbformat.read(path, as_version=4)):
        ast.parse(transformer.transform_cell(cell.source))


def test_sizes_and_steps_come_from_the_profile_only(notebook):
    for cell in code_cells(notebook):
        assert not re.search(r"\b(size|steps)=\d{3,}", cell.source), cell.source


def test_formulas_are_written_with_single_backslashes(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\\\\(hat|arg|sum|qquad|le\b)", cell.source)


def test_checked_cells_say_the_same_in_every_profile(notebook):
    for cell in code_cells(notebook):
        if "nbval-check-output" in cell.metadata.get("tags", []):
            assert cell.outputs
            assert "profile" not in cell.source
