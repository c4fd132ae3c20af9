"""The problem sets: what is solved gets all points, what is not gets none, and a failing check costs its own points only."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

SOURCES = sorted((Path(__file__).parent.parent / "course" / "source").glob("ps*/ps*.ipynb"))
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
    """As nbgrader hands it out."""
    return SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", cell.source)


def test_there_are_three():
    assert [path.stem for path in SOURCES] == ["ps1", "ps2", "ps3"]


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
