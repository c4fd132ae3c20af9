"""The cells that students fill in: blank, right and wrong. (Of 06-f1, 08-d2 and 08-03, which have several blanks, only nbval
runs the blank.)"""

import io
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = (Path(__file__).parent.parent / "notebooks").glob("*.ipynb")
SOURCES = {cell.id: cell.source for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells}

# cell -> what the notebook has defined before, a right answer, a wrong one; the blank is None
FILL_INS = {
    "00-f1": (
        "import torch; from types import SimpleNamespace; result = SimpleNamespace(image=torch.zeros(1, 3, 4, 5))",
        "240",
        "60",
    ),
    "01-f1": ("", "14", "10"),
    "02-f1": (
        "import torch, nstlib; F = torch.rand(1, 2, 3, 4)",
        "F.flatten(2) @ F.flatten(2).mT / F.flatten(2).shape[2]",
        "F.flatten(2) @ F.flatten(2).mT",
    ),
    "03-fill1": ("", "(F - P).square().sum() / P.square().sum()", "(F - P).square().sum()"),
    "c04-f1": ("first = {'content': 0.9, 'style': 0.1}", "9.0", "0.1"),
    "05-f1": (
        "import numpy as np; from skimage.filters import apply_hysteresis_threshold",
        "apply_hysteresis_threshold(np.array(ridge), low, high)",
        "[m > low for m in ridge]",
    ),
    "07-f1": ("", "(cos * a - sin * b, sin * a + cos * b)", "(cos * a + sin * b, cos * b - sin * a)"),
    "09-09": (
        "import torch, nstlib; truth, moved = torch.rand(2, 1, 3, 8, 8)",
        "(torch.nn.functional.avg_pool2d(fake, side) - torch.nn.functional.avg_pool2d(real, side)).abs().mean()",
        "(fake - real).abs().mean()",
    ),
    "10-12": (
        "import torch",
        "torch.nn.functional.binary_cross_entropy_with_logits(back, (lines + 1) / 2)",
        "torch.nn.functional.binary_cross_entropy_with_logits(back, (1 - lines) / 2)",
    ),
    "12-13": ("from nstlib import medical", "False", "True"),
    "13-f1": (
        "import torch",
        "torch.softmax(tau * q @ k.mT, dim=1)",
        "torch.softmax(q @ k.mT, dim=1)",
    ),
    "11-f1": ("", "(sx**2 + sy**2) ** 0.5 / 32**0.5", "abs(sx) + abs(sy)"),
}


def said(identity, answer):
    """What the cell prints when its blank is filled with ``answer``."""
    context, _, _ = FILL_INS[identity]
    namespace = {}
    exec(context, namespace)
    lines = SOURCES[identity].split("\n")
    (place,) = [i for i, line in enumerate(lines) if line.endswith(" None") or " None  # " in line]
    lines[place] = lines[place].replace("None", answer, 1)
    heard = io.StringIO()
    with redirect_stdout(heard):
        exec("\n".join(lines), namespace)
    return heard.getvalue()


@pytest.mark.parametrize("identity", FILL_INS)
def test_a_blank_is_called_empty_a_right_answer_right_and_a_wrong_one_not_yet(identity):
    _, right, wrong = FILL_INS[identity]
    assert "still empty" in said(identity, "None")
    heard = said(identity, right)
    assert "right" in heard
    assert "not yet" not in heard
    assert "not yet" in said(identity, wrong)
