"""Checks of arguments. Each returns the value if it can be used, and raises a ValueError that names the argument if not."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Key = TypeVar("Key")


def shown(value: object) -> str:
    """A value for an error message: as Python writes it if that is short, else its type. Never the data of an image."""
    name = type(value).__name__
    if isinstance(value, bytes | bytearray) or hasattr(value, "shape"):
        return name
    return text if len(text := repr(value)) < 200 else name


def whole_number(value: int, name: str, least: int, most: float = math.inf) -> int:
    """A whole number from ``least`` to ``most``.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        limits = f"at least {least}" if most == math.inf else f"{least} to {most}"
        raise ValueError(f"{name} must be a whole number of {limits}, not {shown(value)}")
    return int(value)


def number(value: float, name: str, least: float = -math.inf, above: float = -math.inf, below: float = math.inf) -> float:
    """A finite number that is at least ``least``, above ``above`` and below ``below``.

    Raises:
        ValueError: it is not.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.integer | np.floating)
        or not abs(value) <= sys.float_info.max
    ):
        raise ValueError(f"{name} must be a finite number, not {shown(value)}")
    if value < least:
        raise ValueError(f"{name} must be at least {least:g}, not {shown(value)}")
    if not above < value < below:
        limits = [f"above {above:g}"] * (above > -math.inf) + [f"below {below:g}"] * (below < math.inf)
        raise ValueError(f"{name} must be {' and '.join(limits)}, not {shown(value)}")
    small = isinstance(value, int) and abs(value) < 2**53  # larger ones do not fit into a tensor's arithmetic
    return value if small else float(value)


def share(value: float, name: str) -> float:
    """A part of a whole: a number from 0 to 1.

    Raises:
        ValueError: it is not.
    """
    if number(value, name, least=0) > 1:
        raise ValueError(f"{name} must be at most 1, not {shown(value)}")
    return value


def weight(value: float, name: str) -> float:
    """The weight of a loss: anything that converts to a finite number that is not negative, as a float.

    Raises:
        ValueError: it does not.
    """
    try:
        converted = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a number, not {shown(value)}") from None
    if not math.isfinite(converted) or converted < 0:
        raise ValueError(f"{name} must be finite and not negative, not {shown(value)}")
    return converted


def choice(value: str, name: str, choices: Sequence[str]) -> str:
    """One of ``choices``.

    Raises:
        ValueError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {shown(value)}")
    return value


def proportions(weights: Mapping[Key, float], name: str) -> dict[Key, float]:
    """Weights of which only the proportions count, scaled to the sum 1.

    Raises:
        ValueError: no mapping, a weight that is none, or no weight above 0.
    """
    if not isinstance(weights, Mapping):
        raise ValueError(f"{name} must map names of layers to weights, as {{'relu4_2': 1}}, not {shown(weights)}")
    checked = {key: weight(value, f"{name}[{key!r}]") for key, value in weights.items()}
    total = sum(checked.values())
    if not total:
        raise ValueError(f"{name} must hold at least one weight above 0")
    return {key: value / total for key, value in checked.items()}
