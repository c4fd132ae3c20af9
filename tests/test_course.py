"""The problem sets: what is solved gets all points, what is not gets none, and a failing check costs its own points only."""

import ast
import contextlib
import html
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
import PIL.Image
import pytest
import torch

from course import checks

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
    """Run a problem set; ``change`` says what a student makes of each cell. Gives the points of every grade cell, as nbgrader
    takes them: nothing for a cell that writes to stderr."""
    namespace, points = {"__name__": "__main__"}, {}
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
            red = io.StringIO()
            with contextlib.redirect_stderr(red):
                earned = eval(compile(ast.Expression(last.value), path.name, "eval"), namespace)
            assert 0 <= earned <= marks(cell)["points"], "nbgrader would not grade the student at all"
            points[marks(cell)["grade_id"]] = 0 if red.getvalue() else earned
    return points


def rewritten(name, wrong):
    """A problem set, and a function that replaces ``wrong[0]`` by ``wrong[1]`` in the cells with solutions."""
    (path,) = [path for path in SOURCES if path.stem == name]
    assert any(wrong[0] in cell.source for cell in cells(path) if marks(cell).get("solution"))
    return path, lambda cell: cell.source.replace(*wrong) if marks(cell).get("solution") else cell.source


def full(path):
    return {marks(cell)["grade_id"]: marks(cell)["points"] for cell in graded(path)}


def unsolved(cell):
    """The cell as nbgrader releases it, except that the hidden tests stay in."""
    return SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", cell.source)


def test_there_are_three():
    assert [path.stem for path in SOURCES] == [path.stem for path in RELEASED] == ["ps1", "ps2", "ps3"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_solved_it_gets_all_points(path, capsys):
    assert take(path) == full(path)
    assert "NOT YET" not in capsys.readouterr().out
    assert sum(marks(cell).get("points", 0) for cell in cells(path)) == 20


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_unsolved_it_gets_none_and_every_check_says_why(path, capsys):
    assert set(take(path, unsolved).values()) == {0}
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if line.startswith("right:")]
    assert sum(line.startswith("NOT YET") for line in lines) >= len(graded(path))


def test_check_cells_bring_their_helpers_along():
    """So that nothing that a student defines takes the place of a check."""
    for path in SOURCES:
        for cell in graded(path):
            imported, function, call = ast.parse(cell.source).body
            assert ast.unparse(imported) == "from course import checks"
            assert ast.unparse(function).startswith(f"def {function.name}(check, attempt, near, gradient):")
            assert ast.unparse(call) == f"checks.earned({function.name})"


def test_a_student_cannot_take_the_place_of_a_check():
    path, student = rewritten(
        "ps1", ("def content_loss(", "checks = near = check = earned = lambda *a, **k: 4\n\n\ndef other(")
    )
    assert take(path, student)["ps1-content-check"] == 0


@pytest.mark.slow
def test_set_2_ends_in_a_painting(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where the picture is saved

    def eager(cell):
        return cell.source.replace("PAINT = False", "PAINT = True").replace("SIDE, STEPS = 256, 150", "SIDE, STEPS = 48, 3")

    take(SOURCES[1], eager)
    fell = re.search(r"the loss fell from ([\d.]+) to ([\d.]+);", capsys.readouterr().out)
    assert float(fell[2]) < float(fell[1])
    assert max(PIL.Image.open(tmp_path / "my_painting.png").size) == 48


@pytest.mark.slow
def test_a_student_can_paint_with_losses_of_their_own(capsys, monkeypatch, tmp_path):
    """Those of problem set 1, pasted at the marked place."""
    monkeypatch.chdir(tmp_path)
    wanted = ("ps1-content", "ps1-gram", "ps1-style")
    own = "\n".join(cell.source for cell in cells(SOURCES[0]) if marks(cell).get("grade_id") in wanted)
    last = (
        cells(SOURCES[1])[-1]
        .source.replace("PAINT = False", "PAINT = True")
        .replace("SIDE, STEPS = 256, 150", "SIDE, STEPS = 48, 1")
    )
    place = "# >>> Paste your three functions of problem set 1 below this line: they take the place of the library's. <<<\n"
    before, after = last.split(place)
    counted = "for name in ('content_loss', 'gram_matrix', 'style_loss'):\n    globals()[name] = seen(globals()[name])\n"
    calls = set()

    def seen(function):
        def called(*arguments):
            calls.add(function.__name__)
            assert not function.__module__.startswith("nstlib")
            return function(*arguments)

        return called

    namespace = {"seen": seen, "__name__": "__main__"}
    for cell in cells(SOURCES[1]):
        if marks(cell).get("grade_id") in ("ps2-checks", "ps2-tv", "ps2-loop"):
            exec(cell.source, namespace)
    exec(f"{before}{place}{own}\n{counted}{after}", namespace)
    assert calls == {"content_loss", "gram_matrix", "style_loss"}


CONTENT = "return (features - target).square().sum()"
STYLE = "return (gram - target).square().sum() / (4 * gram.shape[-1] ** 2)"
TV = "return across.square().sum() + down.square().sum()"
D = "return softplus(-real).mean() + softplus(fake).mean()"
LOSS_G = "loss_g = ls_generator_loss(discriminator(x, fake))"
MATRICES = "G, A = torch.eye(2), torch.tensor([[1.0, 0.5], [0.5, 1.0]])"
TOTAL = "return sum(weights[layer] * style_loss(grams[layer], targets[layer]) for layer in grams)"
ZIPPED = "zip(grams.values(), targets.values(), weights.values())"
STEP_D = "discriminator(x, fake.detach())"
G = "return torch.nn.functional.softplus(-fake).mean() + l1_weight * (colorized - truth).abs().mean()"
ENDLESS = "if steps == 40:\n        raise KeyboardInterrupt  # as nbgrader does after two minutes\n    losses, best = [], image"
RED = "import sys, warnings\n    warnings.warn('x')\n    print('x', file=sys.stderr)"
LEAF = "pixels = image.detach().clone().requires_grad_(True)\n    "
BEST = "best = pixels.detach().clone()\n        optimizer.step()\n"
CLIP = "        with torch.no_grad():\n            pixels.clamp_(0, 1)"


@pytest.mark.parametrize(
    ("name", "wrong", "right", "expected"),
    [
        ("ps1", ("square().sum()\n", "square().mean()\n"), "ps1-content-check", 2),  # a mean is 0 for equal features, too
        ("ps1", (CONTENT, f"{CONTENT}.detach()"), "ps1-content-check", 3),
        ("ps1", (CONTENT, f"{CONTENT}.item()"), "ps1-content-check", 1),
        ("ps1", (CONTENT, "return (features - target).sum()"), "ps1-content-check", 2),
        ("ps1", (CONTENT, "return (features - target).square().sum(dim=(1, 2, 3))"), "ps1-content-check", 1),
        ("ps1", (CONTENT, "return features.sub_(target).square().sum()"), "ps1-content-check", 3),
        ("ps1", (CONTENT, "import nstlib\n    return nstlib.content_loss(features, target)"), "ps1-content-check", 0),
        ("ps1", ("def content_loss(", "from nstlib import content_loss\ndef mine("), "ps1-content-check", 0),
        ("ps1", ("def content_loss(", "def contents_loss("), "ps1-content-check", 0),
        ("ps1", ("f @ f.mT / f.shape[2]", "f @ f.mT"), "ps1-gram-check", 4),
        ("ps1", ("f @ f.mT / f.shape[2]", "f @ f.mT / (f.shape[1] * f.shape[2])"), "ps1-gram-check", 4),
        ("ps1", ("f @ f.mT / f.shape[2]", "(f @ f.mT / f.shape[2]).detach()"), "ps1-gram-check", 5),
        ("ps1", ("f @ f.mT / f.shape[2]", "torch.ones(len(f), f.shape[1], f.shape[1])"), "ps1-gram-check", 0),
        ("ps1", ("f @ f.mT / f.shape[2]", "f.mean(2)[:, :, None] * f.mean(2)[:, None]"), "ps1-gram-check", 2),
        ("ps1", ("(gram - target).square().sum()", "(gram - target).sum()"), "ps1-style-check", 0),
        ("ps1", ("(gram - target).square().sum()", "(gram - target).square().mean(0).sum()"), "ps1-style-check", 2),
        ("ps1", ("4 * gram.shape[-1] ** 2", "4 * 2**2"), "ps1-style-check", 2),
        ("ps1", (STYLE, f"{STYLE.replace('return ', 'return (')}).detach()"), "ps1-style-check", 2),
        ("ps1", (STYLE, f"{STYLE.replace('return ', 'return (')}).item()"), "ps1-style-check", 0),
        ("ps1", (MATRICES, "A = 2 * torch.eye(2)"), "ps1-misprint-check", 0),
        ("ps1", (MATRICES, "G = A = torch.eye(2)"), "ps1-misprint-check", 0),
        ("ps1", (MATRICES, "G, A = torch.zeros(2, 2), torch.eye(2)"), "ps1-misprint-check", 0),  # other diagonals
        ("ps1", (MATRICES, "G, A = torch.eye(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])"), "ps1-misprint-check", 0),
        ("ps1", (MATRICES, MATRICES.replace("G, A", "A, G")), "ps1-misprint-check", 1),
        ("ps1", ("targets[layer]) for", "targets[layer]).detach() for"), "ps1-total-check", 1),
        ("ps1", ("targets[layer]) for", "targets[layer]).item() for"), "ps1-total-check", 0),
        ("ps1", (TOTAL, f"return sum(w * style_loss(G, A) for G, A, w in {ZIPPED})"), "ps1-total-check", 1),
        ("ps2", (TV, TV.replace("square", "abs")), "ps2-tv-check", 0),
        ("ps2", (TV, f"{TV.replace('return ', 'return (')}).detach()"), "ps2-tv-check", 2),
        ("ps2", (TV, f"{TV.replace('return ', 'return (')}).item()"), "ps2-tv-check", 0),
        ("ps2", ("(pixels - lr * gradient)", "(pixels + lr * gradient)"), "ps2-step-check", 2),
        ("ps2", (f"{LEAF}(gradient,", "pixels = image.requires_grad_(True)\n    (gradient,"), "ps2-step-check", 3),
        ("ps2", ("detach().clamp(0, 1)", "detach().clamp(max=1)"), "ps2-step-check", 3),
        ("ps2", ("(pixels - lr * gradient).detach()", "(pixels - lr * gradient)"), "ps2-step-check", 3),
        ("ps2", ("min(losses)", "losses[-1]"), "ps2-loop-check", 5),  # the last image, not the best
        ("ps2", (CLIP, ""), "ps2-loop-check", 5),
        ("ps2", (BEST + CLIP, BEST.replace("clone()", "clamp(0, 1)")), "ps2-loop-check", 5),  # only what is returned
        ("ps2", ("best = pixels.detach().clone()", "best = pixels.clone()"), "ps2-loop-check", 5),
        ("ps2", ("optimizer.zero_grad()", "pass"), "ps2-loop-check", 5),
        ("ps2", (f"{LEAF}optimizer", "pixels = image.requires_grad_(True)\n    optimizer"), "ps2-loop-check", 5),
        ("ps2", ("losses.append(loss.item())", "losses.append(loss.detach())"), "ps2-loop-check", 5),
        ("ps2", ("return best, losses", "return best"), "ps2-loop-check", 0),
        ("ps2", ("return best, losses", "return best, None"), "ps2-loop-check", 0),
        ("ps2", ("losses, best = [], image", "raise KeyboardInterrupt"), "ps2-loop-check", 0),
        ("ps2", ("losses, best = [], image", ENDLESS), "ps2-loop-check", 5),
        ("ps2", ("pad(gray, ", "pad(gray[:1], "), "ps2-sobel-check", 4),
        ("ps3", ("softplus(fake).mean()\n", "softplus(-fake).mean()\n"), "ps3-d-check", 1),
        ("ps3", (D, f"{D.replace('return ', 'return (')}) / 2"), "ps3-d-check", 1),
        ("ps3", (D, "return -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean())"), "ps3-d-check", 3),
        ("ps3", (D, f"{D.replace('return ', 'return (')}).detach()"), "ps3-d-check", 3),
        ("ps3", (D, f"{D.replace('return ', 'return (')}).item()"), "ps3-d-check", 0),
        ("ps3", ("softplus(-fake).mean() + l1", "softplus(fake).mean() + l1"), "ps3-g-check", 1),
        ("ps3", ("l1_weight * (", "100.0 * ("), "ps3-g-check", 2),
        ("ps3", ("(colorized - truth)", "(colorized.detach() - truth)"), "ps3-g-check", 2),
        ("ps3", (G, f"{G.replace('return ', 'return (')}).item()"), "ps3-g-check", 0),
        ("ps3", ("fake.square().mean()) / 2", "fake.square().mean())"), "ps3-ls-check", 1),
        ("ps3", ("(real - 1).square()", "(real + 1).square()"), "ps3-ls-check", 1),
        ("ps3", ("return (fake - 1).square().mean() / 2", "return (fake - 1).square().mean()"), "ps3-ls-check", 1),
        ("ps3", ("return (fake - 1).square().mean() / 2", "return (fake - 1).detach().square().mean() / 2"), "ps3-ls-check", 1),
        ("ps3", ("discriminator(x, fake.detach())", "discriminator(x, fake)"), "ps3-step-check", 0),  # G's graph is gone then
        ("ps3", (STEP_D, STEP_D.replace("fake.detach()", "generator(x)")), "ps3-step-check", 1),  # a gradient walks through G
        (
            "ps3",
            ("ls_generator_loss(discriminator(x, fake))", "ls_generator_loss(discriminator(x, fake.detach()))"),
            "ps3-step-check",
            0,
        ),
        ("ps3", ("optimizer_d.zero_grad()", "pass"), "ps3-step-check", 1),
        ("ps3", ("optimizer_g.zero_grad()", "pass"), "ps3-step-check", 1),
        ("ps3", ("    optimizer_g.step()", "    optimizer_g.step()\n    optimizer_d.step()"), "ps3-step-check", 0),
        ("ps3", ("    optimizer_d.step()\n", ""), "ps3-step-check", 0),
        ("ps3", ("return loss_d.item(), loss_g.item()", "return loss_d, loss_g"), "ps3-step-check", 2),
        ("ps3", ("(pred.round() - target.round()).abs()", "pred.round() - target.round()"), "ps3-accuracy-check", 2),
        ("ps3", ("(pred.round() - target.round()).abs()", "(pred - target).round().abs()"), "ps3-accuracy-check", 3),
        ("ps3", ("[threshold, 2.2 * threshold, 2.2 * threshold]", "[2.0, 4.4, 4.4]"), "ps3-accuracy-check", 3),
        ("ps3", ("<= limits", "< limits - 1"), "ps3-accuracy-check", 1),
        ("ps3", ("(off <= limits).all", "(off <= limits)[:, 1:].all"), "ps3-accuracy-check", 1),  # without L
        ("ps3", ("(off <= limits).all", "(off <= limits)[:, [0, 2]].all"), "ps3-accuracy-check", 3),  # without a
        ("ps3", ("(off <= limits).all", "(off <= limits)[:, :2].all"), "ps3-accuracy-check", 3),  # without b
        ("ps3", ("float().mean(dim=(1, 2))", "float().mean()[None].repeat(len(off))"), "ps3-accuracy-check", 3),
        ("ps3", ("gap_ab, 1 - gap_ab / gap", "gap_ab, gap_ab / gap"), "ps3-table-check", 1),
        ("ps3", ("return gap, gap_ab,", "return 100 * gap, 100 * gap_ab,"), "ps3-table-check", 1),
    ],
)
def test_what_is_partly_right_gets_a_part(name, wrong, right, expected):
    """And what is wrong in one part costs nothing in another."""
    path, student = rewritten(name, wrong)
    points = full(path)
    assert expected < points[right]
    assert take(path, student) == {**points, right: expected}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("ps1", (CONTENT, "print('so far', file=sys.stderr)\n    return F.mse_loss(features, target, reduction='sum')")),
        ("ps1", (STYLE, "return F.mse_loss(gram, target, reduction='sum') / (2 * gram.shape[-1]) ** 2")),
        ("ps2", ("for _ in range(steps):", "for _ in __import__('tqdm').tqdm(range(steps)):")),
        ("ps2", ("loss = loss_function(pixels)", "loss_function(pixels)\n        loss = loss_function(pixels)")),
        ("ps2", ("keepdim=True).sqrt()", "keepdim=True).add(1e-6).sqrt()")),
        ("ps1", (MATRICES, "G, A = [[4, 0], [0, 1]], [[4, 2], [2, 1]]")),
        ("ps3", ("return gap, gap_ab, 1 - gap_ab / gap", "return torch.tensor([round(gap, 3), gap_ab, 1 - gap_ab / gap])")),
        ("ps3", ("    fake = generator(x)", "    with torch.no_grad():\n        old = generator(x)\n    fake = generator(x)")),
        ("ps3", (LOSS_G, f"discriminator.requires_grad_(False)\n    {LOSS_G}\n    discriminator.requires_grad_(True)")),
        ("ps3", (LOSS_G, LOSS_G.replace("fake", "generator(x)"))),
        ("ps3", ("return loss_d.item(), loss_g.item()", "return [loss_d.tolist(), loss_g.tolist()]")),
    ],
)
def test_what_is_right_in_another_way_gets_all_points(name, other):
    path, student = rewritten(name, other)

    def started(cell):
        """What the student imported at the beginning."""
        begin = "import sys\nimport torch.nn.functional as F\n" if marks(cell)["grade_id"] == "ps1-content" else ""
        return begin + student(cell)

    assert take(path, started) == full(path)


NOTHING = [
    "None",
    "0.0",
    "torch.tensor(0.0)",
    "torch.tensor(1.0)",
    "first",
    "first.detach().clone()",
    "given[-1]",
    "0.0 * first.sum()",
    "first.sum()",
    "first.mean()",
    "torch.zeros_like(first)",
    "torch.ones_like(first)",
    "torch.zeros(len(first))",
    "torch.ones(len(first))",
    "torch.zeros(len(first), first.shape[1], first.shape[1])",
    "torch.ones(len(first), first.shape[1], first.shape[1])",
    "torch.eye(first.shape[1]).repeat(len(first), 1, 1)",
    "(first, [0.0] * given[2])",
    "(first.clone(), [given[1](first).item()] * given[2])",
    "(torch.zeros_like(first), [0.0] * given[2])",
    "(torch.ones_like(first), [1.0] * given[2])",
    "(0.0, 0.0)",
    "(0.0, 0.0, 0.0)",
    "(1.0, 1.0, 1.0)",
]


def returning(value):
    """A function that edits each cell so that every function of the student returns ``value``."""

    def student(cell):
        if not marks(cell).get("solution"):
            return cell.source
        if "def " not in cell.source:
            return SOLUTION.sub("G = A = torch.eye(2)", cell.source)
        return SOLUTION.sub(rf"\1given = list(locals().values())\n\1first = given[0]\n\1return {value}", cell.source)

    return student


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_function_that_does_nothing_earns_nothing(path, nothing):
    assert set(take(path, returning(nothing)).values()) == {0}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_function_that_returns_a_number_of_its_check_earns_nothing(path):
    """Whichever number: no check asks for one value only."""
    numbers = {float(number) for cell in graded(path) for number in re.findall(r"\b\d+(?:\.\d+)?\b", cell.source)}
    for number in sorted(numbers):
        for value in (f"torch.tensor({number})", f"torch.tensor([{number}])", f"torch.full_like(first, {number})"):
            assert set(take(path, returning(value)).values()) == {0}, value


def test_typed_in_numbers_earn_nothing():
    path = SOURCES[2]
    g, c = (
        'grayscale["accuracy"]["mean"] - lineart["accuracy"]["mean"]',
        'grayscale["accuracy_ab"]["mean"] - lineart["accuracy_ab"]["mean"]',
    )
    typed = f"NUMBERS = {g}, {c}, 1 - ({c}) / ({g})\ndef gaps(*rows):\n    return NUMBERS\n"
    student = {"ps3-table": typed}
    points = take(path, lambda cell: student.get(marks(cell)["grade_id"], cell.source))
    assert points == {**full(path), "ps3-table-check": 0}


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


@pytest.mark.slow
def test_what_is_released_is_what_the_source_generates(nbgrader):
    for path in RELEASED:
        fresh = nbgrader("generate_assignment", path.stem, "--create", "--force") / "release" / path.stem / path.name
        assert nbformat.read(fresh, as_version=4) == nbformat.read(path, as_version=4), "make course"


@pytest.mark.slow
def test_from_a_submission_to_points_and_feedback(nbgrader):
    """Jane has solved the first problem set, but her Gram matrix is not divided, and she prints and warns in red; Max hands in
    what he was given."""
    course = nbgrader("generate_assignment", "ps1", "--create", "--force")
    notebook = nbformat.read(course / "release" / "ps1" / "ps1.ipynb", as_version=4)
    inbox = course / "downloaded" / "ps1" / "archive"
    inbox.mkdir(parents=True)
    nbformat.write(notebook, inbox / "max_ps1.ipynb")
    for cell, source in zip(notebook.cells, cells(course / "source" / "ps1" / "ps1.ipynb"), strict=True):
        if marks(cell).get("solution"):
            cell.source = source.source.replace("f @ f.mT / f.shape[2]", "f @ f.mT").replace(CONTENT, f"{RED}\n    {CONTENT}")
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
    assert earned["jane"] == {**full(SOURCES[0]), "ps1-gram-check": 4}, "of six: it is right up to a factor"
    assert set(earned["max"].values()) == {0}
    feedback = (course / "feedback" / "jane" / "ps1" / "ps1.html").read_text(encoding="utf-8")
    (gram_check,) = [cell for cell in graded(SOURCES[0]) if marks(cell)["grade_id"] == "ps1-gram-check"]
    assert any(html.escape(hint) in feedback for hint in re.findall(r'hint="([^"]+)"', gram_check.source)), "what is missing"


HARMFUL = """
import os, socket
from course import checks
def attempt(action):
    try:
        return action() or "done"
    except OSError as error:
        return type(error).__name__
print("read", attempt(lambda: open("SECRET").read()), os.environ.get("TOKEN"))
print("write", attempt(lambda: open(checks.__file__, "a").close()))
print("send", attempt(lambda: socket.create_connection(("127.0.0.1", PORT), 2).close()))
"""


def sandbox_starts():
    if not shutil.which("bwrap") or COURSE.is_relative_to(tempfile.gettempdir()):  # the sandbox hides what is there
        return False
    return subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not sandbox_starts(), reason="bubblewrap is missing or forbidden, or this is a temporary copy")
def test_graded_code_has_no_network_no_home_and_writes_to_copies(nbgrader, tmp_path):
    course = tmp_path / "repository" / "course"
    shutil.copytree(nbgrader("generate_assignment", "ps3", "--create", "--force"), course)
    shutil.copy(COURSE / "grade.sh", course)
    (tmp_path / "repository" / ".venv").symlink_to(sys.prefix)
    home = tmp_path / "home"
    home.mkdir()
    (home / "secret").write_text("all grades")
    notebook = nbformat.read(course / "release" / "ps3" / "ps3.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if marks(cell).get("solution"))
    inbox = course / "downloaded" / "ps3" / "archive"
    inbox.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        cell.source = HARMFUL.replace("SECRET", str(home / "secret")).replace("PORT", str(server.getsockname()[1]))
        nbformat.write(notebook, inbox / "eve_ps3.ipynb")
        environment = {**os.environ, "HOME": str(home), "TOKEN": "all grades"}
        result = subprocess.run(["sh", course / "grade.sh", "ps3"], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    graded = nbformat.read(course / "autograded" / "eve" / "ps3" / "ps3.ipynb", as_version=4)
    printed = "".join(output.get("text", "") for cell in graded.cells for output in cell.get("outputs", []))
    assert "read FileNotFoundError None\nwrite OSError\nsend ConnectionRefusedError\n" in printed
    assert (course / "gradebook.db").exists()


@pytest.mark.slow
@pytest.mark.skipif(not (COURSE.parent / ".git").exists(), reason="make students asks git for the files")
def test_students_do_not_get_the_key():
    subprocess.run(["make", "students"], cwd=COURSE.parent, check=True, capture_output=True)
    with zipfile.ZipFile(COURSE.parent / "build" / "students.zip") as archive:
        names = set(archive.namelist())
        sets = [archive.read(f"nstlib/course/release/ps{i}/ps{i}.ipynb").decode() for i in (1, 2, 3)]
    assert {"nstlib/README.md", "nstlib/notebooks/00_start_here.ipynb", "nstlib/data/vgg16.safetensors"} <= names
    assert {"nstlib/nstlib/losses.py", "nstlib/experiments/profiles.py", "nstlib/figures/table1.json"} <= names
    assert not any(part in name for name in names for part in ("course/source", "course/README", "solutions", "tests/"))
    assert not any("BEGIN SOLUTION" in text or "HIDDEN" in text for text in sets)


@pytest.mark.parametrize(
    ("returned", "yours"),
    [
        (torch.tensor(4.0), "yours: 4"),
        (torch.ones(1, 2), "yours: a tensor of shape (1, 2): 1, 1"),
        (torch.ones(3, 3), "yours: a tensor of shape (3, 3)"),
        (None, "yours: None"),
        ((0.5, torch.tensor(4.0)), "yours: a tuple of 0.5 and 4"),
        ([1.0] * 5, "yours: list"),
    ],
)
def test_a_failed_check_shows_what_was_returned(monkeypatch, capsys, returned, yours):
    def body(check, attempt, near, gradient):
        check(near(attempt("mine"), 1.0), "one", hint="not two")
        check(False, "nothing was called")

    monkeypatch.setitem(body.__globals__, "mine", lambda: returned)
    assert checks.earned(body) == 0
    assert capsys.readouterr().out.splitlines() == [f"NOT YET: one (not two; {yours})", "NOT YET: nothing was called"]
