"""What the committed notebooks must have; nbval runs them (see `make test`)."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


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
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert len(output.metadata["image/png"]["alt"]) > 40
                assert output.data["text/plain"] == output.metadata["image/png"]["alt"]


def test_pictures_are_there(notebook):
    if all("plots.show" not in cell.source for cell in code_cells(notebook)):
        pytest.fail("a notebook without a picture")
    for cell in code_cells(notebook):
        if "plots.show(" in cell.source:
            assert any("image/png" in output.get("data", {}) for output in cell.outputs)


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
