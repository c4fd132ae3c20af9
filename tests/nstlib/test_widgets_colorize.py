"""The colorization lab takes a drawing as it is, and shows no accuracy where there is no truth."""

import io

import PIL.Image
import PIL.ImageDraw
import pytest

from nstlib import AnimeFrames, Colorizer, ColorizerRecipe, Condition
from nstlib.widgets import ColorizeLab


@pytest.fixture
def lab():
    return ColorizeLab(Colorizer("canny", 16, recipe=ColorizerRecipe(width=4)))


def upload(lab, picture):
    stream = io.BytesIO()
    picture.save(stream, "png")
    lab.upload({"new": ({"name": "a.png", "type": "image/png", "size": 1, "content": memoryview(stream.getvalue())},)})


def test_a_drawing_is_taken_as_it_is_and_has_no_accuracy(lab):
    assert "accuracy" in lab.measured.value
    picture = PIL.Image.new("RGB", (120, 120), "white")
    PIL.ImageDraw.Draw(picture).ellipse((20, 20, 100, 100), outline="black", width=2)
    upload(lab, picture)
    assert lab.line_art.value
    assert lab.sigma.disabled
    assert "accuracy" not in lab.measured.value
    lab.line_art.value = False
    assert "accuracy" in lab.measured.value
    lab.line_art.value = True
    lab.number.value = 1
    assert not lab.line_art.value
    assert "accuracy" in lab.measured.value


def test_a_photograph_is_no_drawing(lab):
    upload(lab, PIL.Image.effect_noise((90, 90), 60).convert("RGB"))
    assert not lab.line_art.value
    assert "accuracy" in lab.measured.value


@pytest.mark.parametrize("operator", ["mixed", "given", "sobel"])
def test_a_colorizer_of_any_condition_has_a_lab(operator):
    colorizer = Colorizer(Condition(operator), 32, recipe=ColorizerRecipe(width=4))
    lab = ColorizeLab(colorizer, frames=AnimeFrames("shots", 32, 2))
    assert "colorized in" in lab.measured.value
    assert lab.operator.value == (operator if operator == "sobel" else "canny")
    if operator == "sobel":
        assert lab.sigma.value == 0, "as in training"


def test_the_lab_keeps_the_thresholds_of_training():
    plain = ColorizeLab(Colorizer(Condition("canny"), 32, recipe=ColorizerRecipe(width=4)), frames=AnimeFrames("shots", 32, 1))
    condition = Condition("canny", low=0.9, high=1.8)
    strict = ColorizeLab(Colorizer(condition, 32, recipe=ColorizerRecipe(width=4)), frames=AnimeFrames("shots", 32, 1))
    assert strict.pictures["condition"].value != plain.pictures["condition"].value
