"""Helpers for the check cells of the problem sets. A failed check says what is missing and costs only its own points.

A check cell imports this module itself, and ``earned`` passes the helpers in, so names that a student defines do not replace
them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_checks: list[tuple[bool, int]] = []
_returned: list[str] = []  # what the student's functions gave since the last check
_student: dict[str, Any] = {}  # what the notebook defines


def earned(body: Callable[..., None]) -> int:
    """Run a function of checks, which takes the helpers below; return the points earned, also if the function fails halfway."""
    global _student
    _checks.clear()
    _returned.clear()
    _student = body.__globals__
    try:
        with contextlib.redirect_stderr(sys.stdout):  # nbgrader gives nothing for a cell with a warning in red
            body(check, attempt, near, gradient)
    except BaseException as error:  # also the interrupt that ends an endless loop
        print(f"NOT YET: the checks stop here: {type(error).__name__}: {error}")
    return sum(points for right, points in _checks if right)


def check(right: Any, what: str, points: int = 1, hint: str = "") -> None:
    """Note whether something holds. If it does not, say so, with a hint."""
    _checks.append((bool(right), points))
    yours = f"yours: {' and '.join(_returned[:2])}" if _returned else ""
    _returned.clear()
    notes = "; ".join(note for note in (hint, yours) if note)
    print(f"right: {what}" if right else f"NOT YET: {what}" + (f" ({notes})" if notes else ""))


def attempt(name: str, *arguments: Any) -> Any:
    """What the student's function of this name returns; None, and a message, if it fails."""
    function = _student.get(name)
    if not callable(function):
        print(f"{name} is not defined")
        return None
    code = getattr(function, "__code__", None)
    if code and "nstlib" in f"{function.__module__} {code.co_names}":
        print(f"{name} calls the library: write it yourself")
        return None
    try:
        value = function(*arguments)
        _returned.append(_shown(value))
        return value
    except NotImplementedError:
        print(f"{name} reaches `raise NotImplementedError()`: write it, and delete that line")
    except Exception as error:
        print(f"{name} fails: {type(error).__name__}: {error}")
    return None


def _shown(value: Any) -> str:
    """Numbers if there are few, else what it is."""
    if isinstance(value, tuple | list) and 0 < len(value) <= 4:
        return f"a {type(value).__name__} of {' and '.join(map(_shown, value))}"
    if not isinstance(value, Tensor):
        return repr(value) if isinstance(value, int | float | None) else type(value).__name__
    shape = f"a tensor of shape {tuple(value.shape)}"
    if value.numel() > 4:
        return shape
    numbers = ", ".join(f"{number:.4g}" for number in value.detach().flatten().tolist())
    return numbers if value.dim() == 0 else f"{shape}: {numbers}"


def gradient(name: str, at: Tensor, *arguments: Any) -> Tensor:
    """The gradient, at one of its arguments, of what the student's function returns; NaN if none flows."""
    try:
        return torch.autograd.grad(attempt(name, *arguments).sum(), at)[0]
    except Exception:
        return torch.full_like(at, torch.nan)


def near(found: Any, expected: Any, tolerance: float = 1e-4) -> bool:
    """Is it a tensor of these values?"""
    expected = torch.as_tensor(expected)
    if isinstance(found, int | float):
        print("return a tensor, not a number: no .item()")
    return (
        isinstance(found, Tensor)
        and found.shape == expected.shape
        and torch.allclose(found.float(), expected.float(), rtol=tolerance, atol=tolerance)
    )
