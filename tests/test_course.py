"""The problem sets: what is solved gets all points, what is not gets none, and a failing check costs its own points only."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

COURSE = Path(__file__).parent.parent / "course"
SOURCES = sorted((COURSE / "source").glob("ps*/ps*.ipynb"))
RELEASED = sorted((COURSE / "release").glob("ps*/ps*.ipynb"))
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION", flags=re.DOTALL | re.MULTILINE)


def cells(path):
    return nbformat.read(path, as_version=4).cells


def marks(cell):
    return cell.metadata.get("nbgrader", {})


def graded(path):
    return [cell for cell in cells(path) if marks(cell).get("grade") and cell.cell_type == "code"]


def take(path, change=lambda cell: cell.source):
    """Run a problem set; ``change`` says what a student makes of each cell. Gives the points of every grade cell."""
    namespace, points = {}, {}
    for cell in cells(path):
        if cell.cell_type != "code":
            continue
        tree = ast.parse(change(cell))
        last = tree.body.pop() if marks(cell).get("grade") else None
        try:
            exec(compile(tree, path.name, "exec"), namespace)
        except NotImplementedError:
            assert marks(cell)["solution"], "only what a student has not written may stop"
        if last is not None:  # the cell's value is what it earns: nbgrader gives partial credit so
            points[marks(cell)["grade_id"]] = eval(compile(ast.Expression(last.value), path.name, "eval"), namespace)
    return points


def unsolved(cell):
    """As nbgrader hands it out, but for the hidden tests, which it takes away."""
    return SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", cell.source)


def test_there_are_three():
    assert [path.stem for path in SOURCES] == [path.stem for path in RELEASED] == ["ps1", "ps2", "ps3"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_solved_it_gets_all_points(path, capsys):
    assert take(path) == {marks(cell)["grade_id"]: marks(cell)["points"] for cell in graded(path)}
    assert "NOT YET" not in capsys.readouterr().out
    assert sum(marks(cell).get("points", 0) for cell in cells(path)) == 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_unsolved_it_gets_none_and_every_check_says_why(path, capsys):
    assert set(take(path, unsolved).values()) == {0}
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if line.startswith("right:")]
    assert sum(line.startswith("NOT YET") for line in lines) >= len(graded(path))


@pytest.mark.parametrize(
    ("name", "wrong", "right", "expected"),
    [
        ("ps1", ("square().sum()\n", "square().mean()\n"), "ps1-content-check", 1),  # a mean is 0 for equal features, too
        ("ps1", ("f @ f.mT / f.shape[2]", "f @ f.mT"), "ps1-gram-check", 1),
        ("ps1", ("(gram - target).square().sum()", "(gram - target).sum()"), "ps1-style-check", 1),
        ("ps2", ("min(losses)", "losses[-1]"), "ps2-loop-check", 5),  # the last image, not the best
        ("ps2", ("(pixels - lr * gradient)", "(pixels + lr * gradient)"), "ps2-step-check", 2),
        ("ps3", ("softplus(fake).mean()\n", "softplus(-fake).mean()\n"), "ps3-d-check", 1),
        ("ps3", ("<= limits", "< limits - 1"), "ps3-accuracy-check", 4),
    ],
)
def test_what_is_partly_right_gets_a_part(name, wrong, right, expected):
    (path,) = [path for path in SOURCES if path.stem == name]
    assert any(wrong[0] in cell.source for cell in cells(path) if marks(cell).get("solution"))

    def student(cell):
        return cell.source.replace(*wrong) if marks(cell).get("solution") else cell.source

    full = {marks(cell)["grade_id"]: marks(cell)["points"] for cell in graded(path)}
    points = take(path, student)
    assert points[right] == expected < full[right]


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_what_is_released_gets_no_points_and_gives_nothing_away(path, capsys):
    assert set(take(path).values()) == {0}
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("right:")]
    text = path.read_text(encoding="utf-8")
    assert "SOLUTION" not in text
    assert "HIDDEN" not in text
    for released, source in zip(cells(path), cells(COURSE / "source" / path.stem / path.name), strict=True):
        for hidden in re.findall(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", source.source, flags=re.DOTALL):
            assert hidden not in released.source


# --- nbgrader, from source to feedback -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nbgrader(tmp_path_factory):
    """A copy of the course, and a function that runs nbgrader in it."""
    course = tmp_path_factory.mktemp("course")
    shutil.copytree(COURSE / "source", course / "source")
    shutil.copy(COURSE / "nbgrader_config.py", course)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(*arguments):
        command = [sys.executable, "-m", "nbgrader", *arguments]
        result = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert result.returncode == 0, result.stderr
        return course

    return run


def test_what_is_released_is_what_the_source_generates(nbgrader):
    for path in RELEASED:
        fresh = nbgrader("generate_assignment", path.stem, "--create", "--force") / "release" / path.stem / path.name
        assert nbformat.read(fresh, as_version=4) == nbformat.read(path, as_version=4), "make course"


def test_from_a_submission_to_points_and_feedback(nbgrader):
    """Jane has solved the first problem set, but her Gram matrix is not divided; Max hands in what he was given."""
    course = nbgrader("generate_assignment", "ps1", "--create", "--force")
    notebook = nbformat.read(course / "release" / "ps1" / "ps1.ipynb", as_version=4)
    inbox = course / "downloaded" / "ps1" / "archive"
    inbox.mkdir(parents=True)
    nbformat.write(notebook, inbox / "max_ps1.ipynb")
    for cell, source in zip(notebook.cells, cells(course / "source" / "ps1" / "ps1.ipynb"), strict=True):
        if marks(cell).get("solution"):
            cell.source = source.source.replace("f @ f.mT / f.shape[2]", "f @ f.mT")
    nbformat.write(notebook, inbox / "jane_ps1.ipynb")

    nbgrader("zip_collect", "ps1")
    nbgrader("autograde", "ps1", "--create")
    nbgrader("generate_feedback", "ps1")

    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        earned = {
            student: {
                grade.name: grade.auto_score
                for grade in gradebook.find_submission_notebook("ps1", "ps1", student).grades
                if grade.cell.cell_type == "code"
            }
            for student in ("jane", "max")
        }
    full = {marks(cell)["grade_id"]: marks(cell)["points"] for cell in graded(SOURCES[0])}
    assert earned["jane"] == {**full, "ps1-gram-check": 1}, "of six: it has the right shape"
    assert set(earned["max"].values()) == {0}
    feedback = (course / "feedback" / "jane" / "ps1" / "ps1.html").read_text(encoding="utf-8")
    assert "four times too large means that M is missing" in feedback
