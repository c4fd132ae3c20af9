"""Gradients that do not depend on what the caller has switched off or on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def own_autograd(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A function that computes gradients itself, even if called under ``torch.no_grad`` or ``torch.inference_mode``."""

    @functools.wraps(function)
    def wrapped(*arguments: Arguments.args, **settings: Arguments.kwargs) -> Result:
        with torch.inference_mode(False), torch.enable_grad():
            return function(*arguments, **settings)

    return wrapped
