"""tools/run_notebooks.py: two notebooks at a time; a notebook is replaced only when all of it has run."""

import asyncio
import importlib.util
from pathlib import Path

import nbformat
import pytest

PATH = Path(__file__).parent.parent / "tools" / "run_notebooks.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("run_notebooks", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, *sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


@pytest.mark.parametrize(
    ("text", "folded"),
    [("plain\n", "plain\n"), ("10%\r50%\r100%\n", "100%\n"), ("a\r\nb\n", "a\nb\n"), ("10%\r100%\r", "100%"), ("", "")],
)
def test_fold_carriage_returns(tool, text, folded):
    assert tool.fold_carriage_returns(text) == folded


def test_executed_notebook_is_saved(tool, tmp_path):
    path = write(tmp_path / "00_good.ipynb", "import sys\nsys.stderr.write('10%\\r100%\\n')", "6 * 7")
    asyncio.run(tool.execute(path, save=True, threads=1))
    first, second = nbformat.read(path, as_version=4).cells
    assert first.outputs[0].text == "100%\n"
    assert second.outputs[0].data["text/plain"] == "42"
    assert second.execution_count == 2


def test_failing_notebook_stays_as_it_was(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NSTLIB_PROFILE", "cpu")
    path = write(tmp_path / "00_bad.ipynb", "1 / 0")
    before = path.read_bytes()
    assert tool.main([str(path)]) == 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_two_notebooks_run_at_a_time_on_half_of_the_cores_each(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("NSTLIB_PROFILE", "cpu")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(tool.os, "cpu_count", lambda: 6)
    meet = """import os, pathlib, time
pathlib.Path({mine!r}).touch()
waited = time.monotonic()
while not pathlib.Path({other!r}).exists():
    assert time.monotonic() - waited < 60, "the other notebook does not run beside this one"
    time.sleep(0.01)
os.environ["OMP_NUM_THREADS"]"""
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    paths = [
        write(tmp_path / "00_one.ipynb", meet.format(mine=one, other=two)),
        write(tmp_path / "01_two.ipynb", meet.format(mine=two, other=one)),
    ]
    assert tool.main([str(path) for path in paths]) == 0
    for path in paths:
        assert nbformat.read(path, as_version=4).cells[0].outputs[0].data["text/plain"] == "'3'"


def test_smoke_changes_no_notebook(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NSTLIB_PROFILE", "smoke")
    path = write(tmp_path / "00_good.ipynb", "6 * 7")
    before = path.read_bytes()
    assert tool.main([str(path)]) == 0
    assert path.read_bytes() == before


def test_unknown_profile_and_missing_notebook_are_one_line(tool, tmp_path, monkeypatch, capsys):
    assert tool.main([str(tmp_path / "none.ipynb")]) == 2
    monkeypatch.setenv("NSTLIB_PROFILE", "nonsense")
    assert tool.main([]) == 2
    missing, unknown = capsys.readouterr().err.strip().splitlines()
    assert "none.ipynb" in missing
    assert "smoke, cpu, gpu" in unknown
