"""An argument that can be used comes back as it is; any other is a ValueError that names it."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from nstlib.arguments import choice, number, proportions, shown, weight, whole_number
from nstlib.images import ImageError


def refusal(check, value, name, *limits, **options):
    """The message with which a value is refused; it begins with the argument's name, and is not that of an image."""
    with pytest.raises(ValueError, match=f"^{re.escape(name)} ") as caught:
        check(value, name, *limits, **options)
    assert not isinstance(caught.value, ImageError)
    return str(caught.value)


# --- whole numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "limits"),
    [(0, (0,)), (1, (1,)), (10**400, (1,)), (-3, (-3,)), (8, (8, 8)), (8, (8, 128)), (128, (8, 128)), (5, (1, math.inf))],
)
def test_whole_numbers_within_their_limits(value, limits):
    assert whole_number(value, "size", *limits) is value


@pytest.mark.parametrize(
    ("value", "limits"), [(-1, (0,)), (0, (1,)), (7, (8, 128)), (129, (8, 128)), (9, (8, 8)), (-(10**400), (0,))]
)
def test_whole_numbers_beyond_their_limits(value, limits):
    message = refusal(whole_number, value, "size", *limits)
    assert shown(value) in message.split()[-1]
    assert all(re.search(rf"\b{limit}\b", message) for limit in limits)


@pytest.mark.parametrize(
    "value",
    [True, False, 2.0, 2.5, math.nan, math.inf, "2", None, [2], 2j, Fraction(2), np.zeros(2), torch.tensor(2)],
    ids=repr,
)
def test_what_is_no_whole_number(value):
    assert shown(value) in refusal(whole_number, value, "batch_size", 0)


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (0, {}),
        (-1e308, {}),
        (2, {}),
        (0.5, {"least": 0.5}),
        (0, {"least": 0, "below": 1}),
        (1 - 2**-53, {"least": 0, "below": 1}),
        (5e-324, {"above": 0}),
        (1e308, {"above": 0}),
        (0.2, {"above": 0, "below": 1}),
        (np.float64(0.5), {"least": 0}),
    ],
)
def test_numbers_within_their_limits(value, limits):
    assert number(value, "sigma", **limits) == value


@pytest.mark.parametrize(
    ("value", "limits", "named"),
    [
        (-1e-9, {"least": 0}, "least 0"),
        (0.4, {"least": 0.5, "below": 1}, "least 0.5"),
        (0, {"above": 0}, "above 0"),
        (-1, {"above": 0}, "above 0"),
        (1.6, {"above": 2.5}, "above 2.5"),
        (1, {"below": 1}, "below 1"),
        (1.0, {"least": 0, "below": 1}, "below 1"),
        (1, {"above": 0, "below": 1}, "above 0 and below 1"),
        (0.0, {"above": 0, "below": 1}, "above 0 and below 1"),
    ],
)
def test_numbers_beyond_their_limits(value, limits, named):
    message = refusal(number, value, "sigma", **limits)
    assert named in message
    assert message.endswith(repr(value))


@pytest.mark.parametrize(
    "value",
    [True, False, math.nan, math.inf, -math.inf, 10**400, "1", None, [1], 1j, np.zeros(2), torch.tensor(1.0)],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_finite_number(value):
    assert shown(value) in refusal(number, value, "XDoG's k")


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1, 2.5, 1e6, True, "2", torch.tensor(3.0), np.float32(0.5), Fraction(1, 4)], ids=repr)
def test_weights_come_back_as_floats(value):
    found = weight(value, "style_weight")
    assert type(found) is float
    assert found == float(value)


@pytest.mark.parametrize(
    "value",
    [-1, -1e-9, math.nan, math.inf, -math.inf, None, "much", [1], 1j, 10**400, torch.ones(2)],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_weigh_a_loss(value):
    assert shown(value) in refusal(weight, value, "style['relu1_1']")


# --- choices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choices", [["max", "average"], ("max", "average"), {"max": 1, "average": 2}.keys()])
def test_a_choice_comes_back(choices):
    value = "average"
    assert choice(value, "pooling", list(choices)) is value


@pytest.mark.parametrize("value", ["MAX", "", "ma", "max, average", None, 1, ["max"], np.nan], ids=repr)
def test_what_is_none_of_the_choices(value):
    message = refusal(choice, value, "pooling", ("max", "average"))
    assert "max, average" in message
    assert message.endswith(repr(value))


# --- proportions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"relu1_1": 5}, {"relu1_1": 1}),
        ({"relu1_1": 1, "relu2_1": 3}, {"relu1_1": 0.25, "relu2_1": 0.75}),
        ({"relu2_1": 2e-9, "relu1_1": 2e-9}, {"relu2_1": 0.5, "relu1_1": 0.5}),
        ({"relu1_1": 0, "relu2_1": "4"}, {"relu1_1": 0, "relu2_1": 1}),
        ({0: 1, 1: torch.tensor(1.0)}, {0: 0.5, 1: 0.5}),
    ],
)
def test_proportions_have_the_sum_1(weights, expected):
    before = dict(weights)
    found = proportions(weights, "style_layers")
    assert found == expected
    assert list(found) == list(weights), "in the order given"
    assert weights == before
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("weights", [None, "relu1_1", ["relu1_1"], 1.0, [("relu1_1", 1)]], ids=repr)
def test_proportions_need_a_mapping(weights):
    assert repr(weights) in refusal(proportions, weights, "style_layers")


@pytest.mark.parametrize("weights", [{}, {"relu1_1": 0}, {"relu1_1": 0.0, "relu2_1": 0}], ids=repr)
def test_proportions_of_nothing(weights):
    refusal(proportions, weights, "style_layers")


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, None, "much"])
def test_a_weight_among_proportions_is_named_by_its_layer(value):
    with pytest.raises(ValueError, match=r"^style_layers\['relu2_1'\] "):
        proportions({"relu1_1": 1, "relu2_1": value}, "style_layers")
