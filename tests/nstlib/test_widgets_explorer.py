"""An explorer draws its picture again when a slider moves, and says what went wrong if it cannot."""

import base64
import io
import re

import PIL.Image
import pytest
import torch

from nstlib.widgets import Explorer


def gray(level, other=0.0):
    return torch.full((1, 3, 8, 8), level)


def pixel(explorer):
    encoded = re.search(r'base64,([^"]+)"', explorer.picture.value)[1]
    return PIL.Image.open(io.BytesIO(base64.b64decode(encoded))).getpixel((4, 4))[0]


def test_the_picture_follows_the_slider():
    explorer = Explorer(gray, alt="A gray", level=(0.2, 0, 1))
    assert pixel(explorer) == 51
    assert 'alt="A gray, with level = 0.2"' in explorer.picture.value
    explorer.sliders["level"].value = 0.8
    assert pixel(explorer) == 204
    assert "level = 0.8" in explorer.picture.value


def test_sliders_are_independent():
    drawn = []
    explorer = Explorer(lambda **values: drawn.append(values) or gray(0.5), alt="A gray", level=(0.5, 0, 1), other=(2, 1, 3))
    explorer.sliders["other"].value = 3
    assert drawn == [{"level": 0.5, "other": 2}, {"level": 0.5, "other": 3}]


def test_three_whole_numbers_make_a_slider_of_whole_numbers():
    drawn = []
    explorer = Explorer(lambda **values: drawn.append(values) or gray(0.5), alt="A gray", block=(3, 1, 5), level=(0.5, 0, 1))
    explorer.sliders["block"].value = 5
    assert drawn == [{"block": 3, "level": 0.5}, {"block": 5, "level": 0.5}]
    assert [type(values["block"]) for values in drawn] == [int, int]
    assert "block = 5" in explorer.picture.value


def test_an_error_is_shown_and_the_next_move_goes_on():
    def refusing(level):
        if level > 0.5:
            raise ValueError("too <light>")
        return gray(level)

    explorer = Explorer(refusing, alt="A gray", level=(0.0, 0.0, 1.0))
    explorer.sliders["level"].value = 0.9
    assert "too &lt;light&gt;" in explorer.message.value
    explorer.sliders["level"].value = 0.4
    assert "light" not in explorer.message.value
    assert pixel(explorer) == 102


def test_in_a_notebook_that_is_only_read_it_says_how_to_see_it():
    assert repr(Explorer(gray, alt="A gray", level=(0.0, 0.0, 1.0))) == "Explorer: run this cell to see it"


@pytest.mark.parametrize(("sliders", "message"), [({}, "needs a slider"), ({"level": (2, 0, 1)}, "level starts at 2")])
def test_sliders_that_cannot_be(sliders, message):
    with pytest.raises(ValueError, match=message):
        Explorer(gray, alt="A gray", **sliders)
