"""The labs without a browser, with real images, small."""

import html
import io
import re
import subprocess
import sys
import threading
import time
import types

import numpy as np
import PIL.Image
import pytest
import torch

import nstlib
from nstlib.assets import asset_path
from nstlib.images import ImageError
from nstlib.widgets import ColorizeLab, StyleLab
from nstlib.widgets.base import picture
from nstlib.widgets.style import CURVE, PAINTINGS, loss_curve

PATIENCE = 20.0  # seconds
SMALL = {"size": 64, "steps": 6, "steps_per_press": 2}


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "nstlib-lab"]


@pytest.fixture(autouse=True)
def no_threads_are_left():
    yield
    if StyleLab.active is not None:
        StyleLab.active.stop()
    assert not threads()


class Still:
    """A transfer whose image does not change."""

    def __init__(self, *images, **settings):
        self.history, self.image = [], torch.zeros(1, 3, 8, 8)

    def step(self):
        entry = {"step": len(self.history) + 1, "size": 8, "content": 0.5, "style": 0.1, "tv": 0.01, "seconds": 0.1}
        self.history.append(entry)


def steps(lab):
    return len(lab.painting.history)


def steps_shown(lab):
    """The number in the alternative text of the picture; None before the first."""
    found = re.search(r'alt="\D*(\d+)\D*"', lab.pictures["painting"].value)
    return int(found.group(1)) if found else None


def buttons(lab):
    return {b.description: b for box in lab.children for b in getattr(box, "children", ()) if hasattr(b, "click")}


def press(lab, description):
    buttons(lab)[description].click()


def message(lab):
    return html.unescape(re.sub(r"<.*?>", "", lab.message.value))


def is_error(lab):
    return 'role="alert"' in lab.message.value


def alternatives(lab):
    return {name: html.unescape(re.search(r'alt="(.*?)"', shown.value).group(1)) for name, shown in lab.pictures.items()}


def png(width=48, height=40, color="teal"):
    stream = io.BytesIO()
    PIL.Image.new("RGB", (width, height), color).save(stream, "png")
    return stream.getvalue()


def uploads(name, content):
    """What FileUpload's value is in ipywidgets 8 and 7."""
    return (
        ({"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)},),
        {name: {"metadata": {"name": name}, "content": content}},
    )


# the style lab


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where it saves."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new_lab(**changes):
    return StyleLab(asset_path("washington"), asset_path("scream"), **{**SMALL, **changes})


@pytest.fixture
def style_lab(folder):
    made = new_lab()
    wait_until(lambda: made.progress.value)
    return made


def test_shows_three_pictures_with_alternative_text(style_lab):
    shown = alternatives(style_lab)
    assert list(shown) == ["content", "painting", "style"]
    assert "content" in shown["content"]
    assert "style" in shown["style"]
    assert steps_shown(style_lab) == 0
    assert style_lab.curve.value == ""
    assert "StyleLab" in repr(style_lab)


def test_every_control_is_labeled(style_lab):
    def controls(widget):
        children = getattr(widget, "children", ())
        return [c for child in children for c in controls(child)] if children else [widget]

    found = [c for c in controls(style_lab) if hasattr(c, "description") and not type(c).__name__.startswith("HTML")]
    assert len(found) == 19
    assert all(control.description for control in found)


def test_arguments_are_those_of_the_transfer():
    lab = new_lab(size=80, steps=7, steps_per_press=3)
    wait_until(lambda: lab.painting.image is not None)
    transfer = lab.painting.transfer
    assert (transfer.size, transfer.steps) == (80, 7)
    assert max(lab.painting.image.shape) == 80
    assert "3 steps" in buttons(lab)


@pytest.mark.parametrize("name", ["size", "steps", "steps_per_press"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "many"])
def test_invalid_arguments_are_rejected(name, value):
    with pytest.raises(ValueError, match=name):
        new_lab(**{name: value})


def test_bad_images_are_refused_before_anything_is_shown():
    with pytest.raises(ImageError, match=r"style.*nowhere\.png"):
        StyleLab(asset_path("washington"), "nowhere.png")
    with pytest.raises(ImageError, match="content"):
        StyleLab(torch.zeros(3, 8, 8), asset_path("scream"))


def test_start_paints_in_the_background_and_pause_holds(style_lab):
    press(style_lab, "Start")
    wait_until(lambda: steps(style_lab) > 8)  # beyond its six: it has no end
    assert len(threads()) == 1
    press(style_lab, "Pause")
    wait_until(lambda: steps_shown(style_lab) == steps(style_lab))  # what the refresh rate kept back is shown
    time.sleep(0.5)  # for the step that was under way
    assert steps_shown(style_lab) == steps(style_lab)
    painted, held = style_lab.pictures["painting"].value, steps(style_lab)
    time.sleep(0.3)
    assert (style_lab.pictures["painting"].value, steps(style_lab)) == (painted, held)
    assert "<svg" in style_lab.curve.value


def test_a_press_paints_so_many_steps(style_lab):
    press(style_lab, "2 steps")
    wait_until(lambda: steps_shown(style_lab) == 2)
    time.sleep(0.05)
    assert steps(style_lab) == 2
    assert not style_lab.worker.going


def test_instant_paints_in_one_pass_and_start_begins_the_search(style_lab, folder):
    press(style_lab, "Start")
    wait_until(lambda: steps(style_lab) > 1)
    press(style_lab, "Instant")
    assert not threads()
    small = nstlib.images.resize(nstlib.load_image(asset_path("washington")), 64)
    expected = nstlib.FastStyle.load(asset_path("fast-style-scream")).stylize(small)
    assert torch.equal(style_lab.painting.image, expected)
    assert "one pass" in alternatives(style_lab)["painting"]
    assert "by a network" in message(style_lab)
    press(style_lab, "Save")
    assert torch.allclose(nstlib.load_image(folder / "painting-1.png"), expected, atol=0.5 / 255 + 1e-6)
    press(style_lab, "Start")
    wait_until(lambda: (steps_shown(style_lab) or 0) > 0)


def test_sliders_bend_it_without_a_restart(style_lab):
    style_lab.start(steps=3)
    wait_until(lambda: steps(style_lab) == 3)
    transfer = style_lab.painting.transfer
    style_lab.style_weight.value = 100.0
    style_lab.layer_weights["relu3_1"].value = 0.25
    style_lab.start(steps=1)
    wait_until(lambda: steps_shown(style_lab) == 4)
    assert style_lab.painting.transfer is transfer
    assert style_lab.painting.weights_in_use.style == 100
    assert transfer.weights.style == 100
    assert transfer.weights.style_layers["relu3_1"] == pytest.approx(0.25 / 4.25)
    wait_until(lambda: "1, 1, 0.25, 1, 1" in style_lab.progress.value)
    assert "100" in style_lab.progress.value


@pytest.mark.parametrize("name", ["content", "style", "tv"])
def test_each_slider_is_of_its_own_weight(style_lab, name):
    getattr(style_lab, f"{name}_weight").value = 2.5
    weights = style_lab.painting.weights
    assert [other for other in ("content", "style", "tv") if getattr(weights, other) == 2.5] == [name]


def test_with_all_layers_at_nothing_the_last_weights_stay(style_lab):
    for slider in style_lab.layer_weights.values():
        slider.value = 0.0
    assert is_error(style_lab)
    assert sum(weight for _, weight in style_lab.painting.weights.layers) == 1
    press(style_lab, "Reset")  # not even that can break it
    assert is_error(style_lab)
    style_lab.layer_weights["relu2_1"].value = 0.5
    assert message(style_lab) == ""
    style_lab.start(steps=1)
    wait_until(lambda: steps(style_lab) == 1)


def test_reset_begins_anew_with_the_sliders_as_they_are(style_lab):
    style_lab.style_weight.value = 50.0
    style_lab.start()
    wait_until(lambda: steps(style_lab) > 4)
    old = style_lab.painting
    press(style_lab, "Reset")
    assert style_lab.painting is not old
    assert len(threads()) == 1
    wait_until(lambda: steps(style_lab) > 0)  # it was painting, so it goes on
    assert style_lab.painting.weights_in_use.style == 50.0


@pytest.mark.parametrize(("control", "value"), [("init", "noise"), ("init", "style"), ("pooling", "max")])
def test_choices_begin_anew(style_lab, control, value):
    old = style_lab.painting
    getattr(style_lab, control).value = value
    wait_until(lambda: style_lab.painting.image is not None)
    assert style_lab.painting is not old
    transfer = style_lab.painting.transfer
    assert value in (transfer.init, transfer.extractor.pooling)
    time.sleep(0.05)
    assert steps(style_lab) == 0, "it was not painting, so it waits"


def test_a_second_lab_ends_the_first_ones_thread(style_lab):
    style_lab.start()
    wait_until(lambda: steps(style_lab) > 2)
    second = new_lab()
    assert StyleLab.active is second
    assert not style_lab.worker.is_alive()
    assert "Start" in message(style_lab)
    assert not is_error(style_lab)
    assert len(threads()) == 1
    press(style_lab, "Start")  # it takes the place back
    wait_until(lambda: steps(style_lab) > 0)
    assert StyleLab.active is style_lab
    assert not second.worker.is_alive()
    assert len(threads()) == 1


def test_many_labs_leave_one_thread(monkeypatch):
    monkeypatch.setattr("nstlib.widgets.style.StyleTransfer", Still)
    content = torch.rand(1, 3, 16, 16)
    for _ in range(30):
        lab = StyleLab(content, content)
        lab.start()
    assert len(threads()) == 1
    lab.stop()
    assert not threads()
    lab.stop()


def test_an_error_shows_and_start_begins_anew(style_lab, monkeypatch):
    monkeypatch.setattr(nstlib.StyleTransfer, "step", lambda self: (_ for _ in ()).throw(MemoryError("<too large>")))
    press(style_lab, "Start")
    wait_until(lambda: not style_lab.worker.is_alive())
    assert is_error(style_lab)
    assert "MemoryError: &lt;too large&gt;" in style_lab.message.value
    monkeypatch.undo()
    press(style_lab, "Start")
    wait_until(lambda: steps(style_lab) > 1)
    assert message(style_lab) == ""


@pytest.mark.parametrize("version", [8, 7])
@pytest.mark.parametrize("name", ["content", "style"])
def test_an_uploaded_image_takes_the_place(style_lab, name, version):
    before = dict(style_lab.images)
    style_lab.upload(name, {"new": uploads("own.png", png())[8 - version]})
    assert message(style_lab) == ""
    assert style_lab.images[name].shape == (1, 3, 40, 48)
    assert [other for other in before if style_lab.images[other] is not before[other]] == [name]
    style_lab.start(steps=1)
    wait_until(lambda: steps(style_lab) == 1)


@pytest.mark.parametrize(
    "content", [b"", b"<svg>", png()[:60], png(1, 1), png(2000, 2)], ids=["empty", "svg", "cut", "tiny", "thread"]
)
def test_a_bad_upload_is_named_and_nothing_breaks(style_lab, content):
    before = dict(style_lab.images)
    style_lab.start()
    wait_until(lambda: steps(style_lab) > 1)
    at = steps(style_lab)
    for value in uploads("<holiday>.png", content):
        style_lab.upload("content", {"new": value})
        assert is_error(style_lab)
        assert "<holiday>.png" in message(style_lab) or "2000 x 2" in message(style_lab)
        assert "<holiday>" not in style_lab.message.value
    assert style_lab.images == before
    wait_until(lambda: steps(style_lab) > at)


def test_an_upload_too_narrow_to_paint_is_said_and_another_one_works(style_lab):
    style_lab.upload("content", {"new": uploads("ribbon.png", png(900, 8))[0]})
    wait_until(lambda: is_error(style_lab))
    assert "content" in message(style_lab)
    style_lab.upload("content", {"new": uploads("own.png", png())[0]})
    style_lab.start(steps=1)
    wait_until(lambda: steps(style_lab) == 1)


def test_an_emptied_upload_changes_nothing(style_lab):
    old = style_lab.painting
    style_lab.upload("content", {"new": ()})
    assert style_lab.painting is old


def test_the_menu_changes_the_style_image_and_gives_the_first_one_back(style_lab):
    before = dict(style_lab.images)
    style_lab.menu.value = "The Starry Night"
    assert message(style_lab) == ""
    assert torch.equal(style_lab.images["style"], nstlib.load_image(nstlib.asset_path("starry-night")))
    assert style_lab.images["content"] is before["content"]
    style_lab.start(steps=1)
    wait_until(lambda: steps(style_lab) == 1)
    style_lab.menu.value = "as given"
    assert style_lab.images["style"] is before["style"]


@pytest.mark.parametrize("name", PAINTINGS.values())
def test_every_painting_of_the_menu_is_there(name):
    assert nstlib.asset_path(name).is_file()


def test_save_never_overwrites(style_lab, folder):
    style_lab.start(steps=1)
    wait_until(lambda: steps_shown(style_lab) == 1)
    for name in ("painting-1.png", "painting-2.png"):
        press(style_lab, "Save")
        assert name in message(style_lab)
        assert not is_error(style_lab)
        assert (nstlib.load_image(folder / name) - style_lab.painting.image).abs().max() < 1 / 255
    with pytest.raises(ImageError, match="nowhere"):
        style_lab.save(folder / "nowhere" / "painting.png")


def test_nothing_to_save_yet(folder, monkeypatch):
    ready = threading.Event()
    monkeypatch.setattr("nstlib.widgets.style.StyleTransfer", lambda *images, **settings: ready.wait(PATIENCE) and Still())
    lab = StyleLab(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    press(lab, "Save")
    assert is_error(lab)
    assert not list(folder.iterdir())
    ready.set()


def test_on_colab_steps_are_painted_in_the_foreground(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    lab = new_lab()
    assert lab.worker is None
    assert not threads()
    assert buttons(lab)["Start"].disabled
    press(lab, "2 steps")
    press(lab, "2 steps")
    assert steps_shown(lab) == steps(lab) == 4
    press(lab, "Pause")
    press(lab, "Reset")
    assert steps_shown(lab) == steps(lab) == 0
    lab.stop()
    assert not threads()


def test_the_kernels_other_threads_may_use_it_too(style_lab):
    """Callbacks come from a thread of the kernel's (comms over subshells) while cells call methods."""

    def shake():
        for i in range(10):
            style_lab.style_weight.value = float(i + 1)
            style_lab.reset()
            style_lab.start(steps=2)

    shakers = [threading.Thread(target=shake) for _ in range(3)]
    for shaker in shakers:
        shaker.start()
    for shaker in shakers:
        shaker.join(3 * PATIENCE)
        assert not shaker.is_alive()
    assert len(threads()) == 1


SCRIPT = """
import nstlib
from nstlib.widgets import StyleLab
lab = StyleLab(nstlib.asset_path("washington"), nstlib.asset_path("scream"), size=128, steps=6)
{then}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "then",
    ["", "lab.start()", "lab.start()\nwhile len(lab.painting.history) < 2: pass"],
    ids=["made", "started", "painting"],
)
def test_a_script_that_ends_at_once_exits_with_status_0(then):
    command = [sys.executable, "-c", SCRIPT.format(then=then)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# what is drawn


def entries(count):
    return [{"content": 0.1 + 0.001 * i, "style": 1 / (i + 1)} for i in range(count)]


@pytest.mark.parametrize("count", [0, 1])
def test_a_curve_needs_two_points(count):
    assert loss_curve(entries(count)) == ""


@pytest.mark.parametrize("count", [2, 149, 150, 151, 10_000])
def test_a_curve_is_small_and_fills_its_frame(count):
    svg = loss_curve(entries(count))
    width, height, most = CURVE
    lines = re.findall(r'points="(.*?)"', svg)
    assert len(lines) == 2
    for line in lines:
        points = np.array([[float(v) for v in pair.split(",")] for pair in line.split()])
        assert 2 <= len(points) <= most
        assert points[0, 0] == 0
        assert points[-1, 0] == width
        assert points[:, 1].min() >= 0
        assert points[:, 1].max() <= height
    assert len(svg) < 8000
    assert re.search(rf'aria-label="[^"]*\b{count}\b', svg)


def test_a_curve_of_equal_losses_is_drawn():
    svg = loss_curve([{"content": 0.0, "style": 0.0}] * 5)
    assert "<svg" in svg
    assert "nan" not in svg


def test_small_pictures_are_png_large_ones_jpeg():
    assert "image/png" in picture(torch.rand(1, 3, 64, 64), "a", "b")
    large = picture(torch.rand(1, 3, 300, 200), "<a>", '"b"')
    assert "image/jpeg" in large
    assert "&lt;a&gt;" in large
    assert "&quot;b&quot;" in large
    assert 'width="200" height="300"' in large


def test_pyplot_is_not_needed():
    code = "import sys, nstlib.widgets; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# the colorization lab


@pytest.fixture(scope="module")
def colorizers():
    return [nstlib.Colorizer.load(asset_path(f"colorizer-{name}")) for name in ("grayscale", "canny")]


def colorized(lab):
    return lab.pictures["colorized"].value


def test_begins_with_what_the_last_colorizer_was_trained_on(colorizers):
    lab = ColorizeLab(*colorizers)
    assert lab.operator.value == "canny"
    assert lab.sigma.value == colorizers[1].condition.settings["sigma"]
    shown = alternatives(lab)
    assert list(shown) == ["frame", "condition", "colorized"]
    assert "canny, σ = 1" in shown["condition"]
    assert len(set(shown.values())) == 3


def test_what_is_shown_is_what_the_colorizer_makes(colorizers):
    """The accuracies under the pictures are those of ``compare`` on the same frame."""
    lab = ColorizeLab(*colorizers)
    canny = colorizers[1]
    compared = canny.compare(nstlib.AnimeFrames("shots", canny.frame_size, length=100), [0])
    assert f"{float(compared['accuracy']):.2f}" in lab.measured.value
    assert picture(compared["colorized"], "", "").split('"')[3] in colorized(lab)  # the image's data


def test_sigma_changes_lines_and_colors(colorizers):
    lab = ColorizeLab(*colorizers)
    seen = set()
    for sigma in (0.5, 1.0, 2.0, 4.0):
        lab.sigma.value = sigma
        seen.add((lab.pictures["condition"].value, colorized(lab)))
    assert len({lines for lines, _ in seen}) == len({colors for _, colors in seen}) == 4


def test_each_operator_is_colorized_by_its_own_colorizer_or_the_last(colorizers):
    lab = ColorizeLab(*colorizers)
    for operator, trained in (("grayscale", "grayscale"), ("sobel", "canny"), ("xdog", "canny"), ("canny", "canny")):
        lab.operator.value = operator
        assert message(lab) == ""
        assert [name for name in lab.operator.options if name in lab.measured.value] == [trained]
        assert lab.sigma.disabled == (operator == "grayscale")


def test_one_colorizer_is_enough(colorizers):
    lab = ColorizeLab(colorizers[0])
    assert lab.operator.value == "grayscale"
    lab.operator.value = "canny"
    assert "grayscale" in lab.measured.value
    assert "canny" in alternatives(lab)["condition"]


def test_a_cyclegan_is_a_colorizer_too():
    recipe = nstlib.CycleRecipe(width=4, fold=1)
    lab = ColorizeLab(nstlib.CycleGAN("canny", 32, recipe=recipe), frames=[torch.rand(3, 40, 40)])
    assert message(lab) == ""
    assert "<img" in colorized(lab)


def test_none_is_rejected():
    with pytest.raises(ValueError, match="ColorizeLab"):
        ColorizeLab()


def test_frames_of_ones_own(colorizers):
    lab = ColorizeLab(*colorizers, frames=[torch.rand(3, 40, 40) for _ in range(3)])
    assert lab.number.max == 2
    before = colorized(lab)
    lab.number.value = 2
    assert colorized(lab) != before


@pytest.mark.parametrize("version", [8, 7])
def test_an_uploaded_frame_is_cut_square_and_colorized(colorizers, version):
    lab = ColorizeLab(*colorizers)
    before = colorized(lab)
    lab.upload({"new": uploads("own.png", png(90, 50))[8 - version]})
    assert message(lab) == ""
    assert colorized(lab) != before
    lab.upload({"new": uploads("broken.png", b"no")[8 - version]})
    assert is_error(lab)
    assert "broken.png" in message(lab)
    lab.upload({"new": ()})
    assert message(lab) == ""
