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
_student: dict[str, Any] = {}  # what the notebook defines


def earned(body: Callable[..., None]) -> int:
    """Run a function of checks, which takes the helpers below; return the points earned, also if the function fails halfway."""
    global _student
    _checks.clear()
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
    print(f"right: {what}" if right else f"NOT YET: {what}" + (f" ({hint})" if hint else ""))


def attempt(name: str, *arguments: Any) -> Any:
    """What the student's function of this name returns; None, and a message, if it fails."""
    function = _student.get(name)
    if not callable(function):
        print(f"{name} is not defined")
        return None
    code = getattr(function, "__code__", None)
    if code and "nstlib" in f"{function.__module__} {code.co_names}":
        print(f"{name} is the library's: write it yourself")
        return None
    try:
        return function(*arguments)
    except NotImplementedError:
        print(f"{name} is not written yet")
    except Exception as error:
        print(f"{name} fails: {type(error).__name__}: {error}")
    return None


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
