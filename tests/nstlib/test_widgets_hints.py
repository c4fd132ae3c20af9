"""The hint lab without a browser: dabs are put where one points, taken away again, and painted from."""

import io

import PIL.Image
import PIL.ImageDraw
import pytest

from nstlib import AnimePairs, ImageError, ReferenceColorizer, ReferenceRecipe
from nstlib.widgets import HintLab

RECIPE = ReferenceRecipe(width=8, fold=2)


def drawn(size=(120, 90)):
    picture = PIL.Image.new("RGB", size, "white")
    PIL.ImageDraw.Draw(picture).ellipse((20, 20, 100, 80), outline="black", width=2)
    return picture


def uploaded(picture):
    stream = io.BytesIO()
    picture.save(stream, "png")
    return {"new": ({"name": "a.png", "type": "image/png", "size": 1, "content": memoryview(stream.getvalue())},)}


@pytest.fixture
def lab():
    return HintLab(ReferenceColorizer("canny", 32, recipe=RECIPE), drawn())


def point(lab, x, y):
    lab.pointed.point = (x, y, lab.pointed.point[2] + 1)


def test_a_point_puts_a_dab_of_the_chosen_color(lab):
    before = lab.colored.value, lab.pointed.source
    lab.color.value = "#ff8000"
    point(lab, 0.25, 0.75)
    (dab,) = lab.dabs
    assert (dab.x, dab.y) == (0.25, 0.75)
    assert dab.color == pytest.approx((1, 128 / 255, 0))
    assert lab.colored.value != before[0]
    assert lab.pointed.source != before[1], "the dab has a dot on the drawing"
    assert "1 dab" in lab.pointed.alt
    lab.color.value = "blue"
    point(lab, 0.25, 0.75)  # the same place again
    assert lab.dabs[1].color == (0, 0, 1)
    assert "2 dabs" in lab.pointed.alt


def test_points_beyond_the_border_are_on_it(lab):
    point(lab, -0.1, 1.2)
    assert (lab.dabs[0].x, lab.dabs[0].y) == (0, 1)


def test_undo_and_clear(lab):
    plain = lab.pointed.source
    for x in (0.2, 0.5, 0.8):
        point(lab, x, 0.5)
    undo, clear = (child for child in lab.children[1].children if getattr(child, "description", "") in ("Undo", "Clear"))
    undo.click()
    assert [dab.x for dab in lab.dabs] == [0.2, 0.5]
    clear.click()
    assert lab.dabs == []
    assert lab.pointed.source == plain
    undo.click()
    assert 'role="alert"' not in lab.message.value


def test_a_drawing_and_a_colored_frame_of_ones_own(lab):
    point(lab, 0.5, 0.5)
    lab.upload_drawing(uploaded(drawn((90, 120))))
    assert lab.dabs == []
    assert 'width="90" height="120"' in lab.colored.value
    lab.upload_reference(uploaded(PIL.Image.new("RGB", (64, 48), "red")))
    assert "a colored frame" in lab.colored.value


def test_what_is_no_picture_is_said(lab):
    lab.upload_drawing({"new": ({"name": "a.txt", "type": "text/plain", "size": 1, "content": memoryview(b"no")},)})
    assert 'role="alert"' in lab.message.value
    assert "a.txt" in lab.message.value
    with pytest.raises(ImageError, match="drawing"):
        HintLab(ReferenceColorizer("grayscale", 32, recipe=RECIPE), drawn())


def test_it_begins_with_a_reference():
    frame = AnimePairs("scenes", 32, 1)[0][None, :3]
    lab = HintLab(ReferenceColorizer("canny", 32, recipe=RECIPE), drawn(), reference=frame)
    assert "0 dabs and a colored frame" in lab.colored.value
