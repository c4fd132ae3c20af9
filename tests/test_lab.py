"""The labs without a browser: clock, display and transfer injected; then the widgets, with real images at smoke size."""

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
from nstlib import lab as lab_module
from nstlib.assets import asset_path
from nstlib.images import ImageError
from nstlib.lab import REFRESH, ColorizeLab, Painting, StyleLab, Weights, Worker

PATIENCE = 20.0  # seconds


class FakeTransfer:
    """Counts steps; its picture's gray level is their number, in percent."""

    def __init__(self):
        self.history, self.weights, self.thread = [], [], set()

    def reweight(self, content_weight, style_weight, tv_weight, style_layers):
        self.weights.append((content_weight, style_weight, tv_weight, style_layers))

    def step(self):
        self.thread.add(threading.current_thread().name)
        self.history.append(
            {"step": len(self.history) + 1, "content": 0.5, "style": 0.1, "tv": 0.01, "size": 8, "seconds": 0.1}
        )

    @property
    def image(self):
        return torch.full((1, 3, 8, 8), min(1.0, len(self.history) / 100))


class FakeClock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def fake_painting(show=lambda painting: None, clock=time.monotonic):
    transfer = FakeTransfer()
    return Painting(lambda: transfer, Weights(), show, clock), transfer


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
    if StyleLab._painting_now is not None:
        StyleLab._painting_now.stop()
    assert not threads()


# --- painting ---------------------------------------------------------------------------------------------------------


def test_the_transfer_is_made_late_and_shown_at_once():
    made, shown = [], []
    painting = Painting(lambda: made.append(1) or FakeTransfer(), Weights(), lambda p: shown.append(len(p.history)))
    assert not made
    assert painting.history == []
    painting.open()
    painting.open()
    assert (len(made), shown) == (1, [0])


def test_pictures_come_at_the_refresh_rate_at_most():
    clock, shown = FakeClock(), []
    painting, _ = fake_painting(lambda p: shown.append(len(p.history)), clock)
    painting.open()
    for _ in range(100):
        clock.now += REFRESH / 3.9
        painting.advance()
    assert shown == [0, *range(4, 101, 4)]
    assert float(painting.image.mean()) == pytest.approx(1.0)


def test_what_the_rate_kept_back_is_shown_when_asked():
    clock, shown = FakeClock(), []
    painting, _ = fake_painting(lambda p: shown.append(len(p.history)), clock)
    painting.advance()
    painting.show()
    assert shown == [0, 1]


def test_new_weights_hold_from_the_next_step_on():
    painting, transfer = fake_painting()
    painting.advance()
    assert transfer.weights == [], "the transfer was made with them"
    new = Weights(content=2.0, style=3.0, tv=4.0, layers=(("relu1_1", 0.5),))
    painting.weights = new
    assert painting.weights_in_use == Weights()
    painting.advance()
    painting.advance()
    assert transfer.weights == [(2.0, 3.0, 4.0, {"relu1_1": 0.5})]
    assert painting.weights_in_use is new


def test_weights_cannot_be_changed_only_replaced():
    with pytest.raises(AttributeError):
        Weights().style = 3.0


def test_weights_that_change_all_the_time_are_never_mixed():
    """Whatever a step uses was one of the snapshots, whole."""
    painting, transfer = fake_painting()
    worker = Worker(painting, pytest.fail)
    worker.start()
    worker.go()
    for i in range(2000):
        painting.weights = Weights(float(i), float(i), float(i), (("relu1_1", float(i)),))
    wait_until(lambda: painting.weights_in_use.style == 1999)
    worker.stop()
    assert all(content == style == tv == layers["relu1_1"] for content, style, tv, layers in transfer.weights)


# --- the worker ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def worker():
    painting, transfer = fake_painting()
    worker = Worker(painting, lambda error: None)
    worker.transfer = transfer
    worker.start()
    yield worker
    worker.stop()


def test_waits_until_told_and_paints_in_its_own_thread(worker):
    wait_until(lambda: worker.painting.image is not None)
    time.sleep(0.05)
    assert worker.transfer.history == []
    worker.go()
    wait_until(lambda: len(worker.transfer.history) > 10)
    assert worker.transfer.thread == {"nstlib-lab"}
    assert worker.daemon, "it dies with the kernel"


def test_paused_it_stays_and_goes_on(worker):
    worker.go()
    wait_until(lambda: len(worker.transfer.history) > 5)
    worker.pause()
    wait_until(lambda: float(worker.painting.image.mean()) == pytest.approx(min(1, len(worker.transfer.history) / 100)))
    steps = len(worker.transfer.history)
    time.sleep(0.05)
    assert len(worker.transfer.history) == steps
    assert not worker.going
    worker.go()
    wait_until(lambda: len(worker.transfer.history) > steps)


def test_paints_so_many_steps_and_pauses(worker):
    for total in (7, 14):
        worker.go(steps=7)
        wait_until(lambda: not worker.going)
        time.sleep(0.02)
        assert len(worker.transfer.history) == total
        assert float(worker.painting.image.mean()) == pytest.approx(total / 100), "the last step is shown"


def test_told_to_go_on_for_good_it_does_not_stop_at_the_number(worker):
    for _ in range(200):
        worker.go(steps=1)
        worker.go()
        assert worker.going
    wait_until(lambda: len(worker.transfer.history) > 300)


@pytest.mark.parametrize("going", [False, True])
def test_stops_and_is_waited_for(worker, going):
    if going:
        worker.go()
    worker.stop()
    assert not worker.is_alive()
    worker.stop()  # again does no harm


def test_a_worker_that_never_began_can_be_stopped():
    painting, _ = fake_painting()
    Worker(painting, pytest.fail).stop()


def test_an_error_ends_it_and_is_told():
    told = []
    painting, transfer = fake_painting()
    transfer.step = lambda: (_ for _ in ()).throw(RuntimeError("no memory"))
    worker = Worker(painting, told.append)
    worker.start()
    worker.go()
    wait_until(lambda: not worker.is_alive())
    assert [str(error) for error in told] == ["no memory"]
    assert not worker.going


def test_an_error_while_the_transfer_is_made_is_told_too():
    told = []

    def begin():
        raise ImageError("content: too flat")

    worker = Worker(Painting(begin, Weights(), lambda p: None), told.append)
    worker.start()
    wait_until(lambda: told)
    worker.stop()


def test_a_hundred_starts_and_stops_leave_no_thread():
    for _ in range(100):
        painting, _ = fake_painting()
        worker = Worker(painting, pytest.fail)
        worker.start()
        worker.go()
        worker.stop()
    assert not threads()


# --- the style lab ------------------------------------------------------------------------------------------------------


@pytest.fixture
def smoke(monkeypatch, tmp_path):
    monkeypatch.setenv("NSTLIB_PROFILE", "smoke")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def style_lab(smoke):
    made = StyleLab(asset_path("washington"), asset_path("scream"))
    wait_until(lambda: "not painted yet" in made._progress.value)
    return made


def steps(lab):
    return len(lab._painting.history)


def press(lab, description):
    buttons = {b.description: b for box in lab.children for b in getattr(box, "children", ()) if hasattr(b, "click")}
    buttons[description].click()


def message(lab):
    return html.unescape(re.sub(r"<.*?>", "", lab._message.value))


def alternatives(lab):
    return [html.unescape(re.search(r'alt="(.*?)"', picture.value).group(1)) for picture in lab._pictures.values()]


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


def test_shows_three_pictures_with_alternative_text(style_lab):
    assert alternatives(style_lab) == ["the content image", "the picture after 0 steps", "the style image"]
    assert "not painted yet" in style_lab._progress.value
    assert "run this cell" in repr(style_lab)


def test_every_control_is_labelled(style_lab):
    def controls(widget):
        children = getattr(widget, "children", ())
        return [c for child in children for c in controls(child)] if children else [widget]

    found = [c for c in controls(style_lab) if hasattr(c, "description") and not type(c).__name__.startswith("HTML")]
    assert len(found) == 17
    assert all(control.description for control in found)


def test_start_paints_in_the_background_and_pause_holds(style_lab):
    press(style_lab, "Start")
    wait_until(lambda: steps(style_lab) > 8)
    assert len(threads()) == 1
    press(style_lab, "Pause")
    time.sleep(0.5)  # for the step that was under way
    assert f"step {steps(style_lab)}<" in style_lab._pictures["painting"].value, "what the refresh rate kept back is shown"
    painted, held = style_lab._pictures["painting"].value, steps(style_lab)
    time.sleep(0.3)
    assert (style_lab._pictures["painting"].value, steps(style_lab)) == (painted, held)
    assert 'aria-label="losses over' in style_lab._curve.value


def test_a_press_paints_the_profiles_steps(style_lab):
    press(style_lab, "2 steps")
    wait_until(lambda: "step 2 " in style_lab._progress.value)
    assert steps(style_lab) == 2


def test_sliders_bend_it_without_a_restart(style_lab):
    style_lab.start(steps=3)
    wait_until(lambda: steps(style_lab) == 3)
    transfer = style_lab._painting._transfer
    style_lab._style_weight.value = 100.0
    style_lab._layers["relu3_1"].value = 0.25
    style_lab.start(steps=1)
    wait_until(lambda: "style 100" in style_lab._progress.value)
    assert style_lab._painting._transfer is transfer
    assert transfer.style_weight == 100
    assert transfer.style_layers["relu3_1"] == pytest.approx(0.25 / 4.25)
    assert "layers 1, 1, 0.25, 1, 1" in style_lab._progress.value


def test_with_all_layers_at_nothing_the_last_weights_stay(style_lab):
    for slider in style_lab._layers.values():
        slider.value = 0.0
    assert 'role="alert"' in style_lab._message.value
    assert "at least one of the style's layers" in message(style_lab)
    assert sum(weight for _, weight in style_lab._painting.weights.layers) == 1
    press(style_lab, "Reset")  # not even that can break it
    assert "at least one" in message(style_lab)
    style_lab._layers["relu2_1"].value = 0.5
    assert message(style_lab) == ""
    style_lab.start(steps=1)
    wait_until(lambda: steps(style_lab) == 1)


def test_reset_begins_anew_with_the_sliders_as_they_are(style_lab):
    style_lab._style_weight.value = 50.0
    style_lab.start()
    wait_until(lambda: steps(style_lab) > 4)
    old = style_lab._painting
    press(style_lab, "Reset")
    assert style_lab._painting is not old
    assert len(threads()) == 1
    wait_until(lambda: steps(style_lab) > 0)  # it was painting, so it goes on
    assert style_lab._painting.weights_in_use.style == 50.0


@pytest.mark.parametrize(("control", "value"), [("_init", "noise"), ("_init", "style"), ("_pooling", "max")])
def test_choices_begin_anew(style_lab, control, value):
    old = style_lab._painting
    getattr(style_lab, control).value = value
    wait_until(lambda: style_lab._painting.image is not None)
    assert style_lab._painting is not old
    transfer = style_lab._painting._transfer
    assert value in (transfer.init, transfer.extractor.pooling)
    time.sleep(0.05)
    assert steps(style_lab) == 0, "it was not painting, so it waits"


def test_a_second_lab_ends_the_first_ones_thread(style_lab):
    style_lab.start()
    wait_until(lambda: steps(style_lab) > 2)
    second = StyleLab(asset_path("washington"), asset_path("scream"))
    assert not style_lab._worker.is_alive()
    assert "another lab paints now" in message(style_lab)
    assert len(threads()) == 1
    press(style_lab, "Start")  # it takes the place back
    wait_until(lambda: steps(style_lab) > 0)
    assert not second._worker.is_alive()
    assert len(threads()) == 1


def test_a_hundred_labs_leave_one_thread(smoke, monkeypatch):
    monkeypatch.setattr(lab_module, "StyleTransfer", lambda *images, **settings: FakeTransfer())
    content = torch.rand(1, 3, 16, 16)
    for _ in range(100):
        lab = StyleLab(content, content)
        lab.start()
    assert len(threads()) == 1
    lab.stop()
    assert not threads()
    lab.stop()


def test_an_error_shows_and_start_begins_anew(style_lab, monkeypatch):
    monkeypatch.setattr(nstlib.StyleTransfer, "step", lambda self: (_ for _ in ()).throw(MemoryError("<too large>")))
    press(style_lab, "Start")
    wait_until(lambda: not style_lab._worker.is_alive())
    assert 'role="alert"' in style_lab._message.value
    assert "MemoryError: &lt;too large&gt;" in style_lab._message.value
    monkeypatch.undo()
    monkeypatch.setenv("NSTLIB_PROFILE", "smoke")
    press(style_lab, "Start")
    wait_until(lambda: steps(style_lab) > 1)
    assert message(style_lab) == ""


@pytest.mark.parametrize("version", [8, 7])
@pytest.mark.parametrize("name", ["content", "style"])
def test_an_uploaded_image_takes_the_place(style_lab, name, version):
    value = uploads("own.png", png())[8 - version]
    style_lab._on_upload(name, {"new": value})
    assert message(style_lab) == ""
    assert style_lab._images[name].shape == (1, 3, 40, 48)
    style_lab.start(steps=1)
    wait_until(lambda: steps(style_lab) == 1)


@pytest.mark.parametrize(
    "content", [b"", b"<svg>", png()[:60], png(1, 1), png(2000, 2)], ids=["empty", "svg", "cut", "tiny", "thread"]
)
def test_a_bad_upload_is_named_and_nothing_breaks(style_lab, content):
    before = dict(style_lab._images)
    style_lab.start()
    wait_until(lambda: steps(style_lab) > 1)
    at = steps(style_lab)
    for value in uploads("<holiday>.png", content):
        style_lab._on_upload("content", {"new": value})
        assert 'role="alert"' in style_lab._message.value
        assert "&lt;holiday&gt;.png" in style_lab._message.value or "cannot resize 2000 x 2" in message(style_lab)
    assert style_lab._images == before
    wait_until(lambda: steps(style_lab) > at)


def test_an_upload_too_narrow_to_paint_is_said_and_another_one_works(style_lab):
    style_lab._on_upload("content", {"new": uploads("ribbon.png", png(900, 8))[0]})
    wait_until(lambda: "content" in message(style_lab))
    style_lab._on_upload("content", {"new": uploads("own.png", png())[0]})
    style_lab.start(steps=1)
    wait_until(lambda: steps(style_lab) == 1)


def test_an_emptied_upload_changes_nothing(style_lab):
    old = style_lab._painting
    style_lab._on_upload("content", {"new": ()})
    assert style_lab._painting is old


def test_save_never_overwrites(style_lab, smoke):
    style_lab.start(steps=1)
    wait_until(lambda: "step 1<" in style_lab._pictures["painting"].value)
    for name in ("painting-1.png", "painting-2.png"):
        press(style_lab, "Save")
        assert message(style_lab) == f"saved as {name}"
        saved = nstlib.load_image(smoke / name)
        assert (saved - style_lab._painting.image).abs().max() < 1 / 255
    with pytest.raises(ImageError, match="nowhere"):
        style_lab.save(smoke / "nowhere" / "painting.png")


def test_nothing_to_save_yet(smoke, monkeypatch):
    ready = threading.Event()
    monkeypatch.setattr(lab_module, "StyleTransfer", lambda *images, **settings: ready.wait(PATIENCE) and FakeTransfer())
    lab = StyleLab(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    press(lab, "Save")
    assert "no picture to save yet" in message(lab)
    ready.set()


def test_on_colab_steps_are_painted_in_the_foreground(smoke, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    lab = StyleLab(asset_path("washington"), asset_path("scream"))
    assert not threads()
    start = next(b for box in lab.children for b in getattr(box, "children", ()) if getattr(b, "description", "") == "Start")
    assert start.disabled
    press(lab, "2 steps")
    press(lab, "2 steps")
    assert "step 4 " in lab._progress.value
    press(lab, "Pause")
    press(lab, "Reset")
    assert steps(lab) == 0
    lab.stop()
    assert not threads()


def test_bad_images_are_refused_before_anything_is_shown(smoke):
    with pytest.raises(ImageError, match=r"style: .*no such file"):
        StyleLab(asset_path("washington"), "nowhere.png")
    with pytest.raises(ImageError, match="content"):
        StyleLab(torch.zeros(3, 8, 8), asset_path("scream"))


def test_the_kernels_other_threads_may_use_it_too(style_lab):
    """Callbacks come from a thread of the kernel's (comms over subshells) while cells call methods."""

    def shake():
        for i in range(10):
            style_lab._style_weight.value = float(i + 1)
            style_lab.reset()
            style_lab.start(steps=2)

    shakers = [threading.Thread(target=shake) for _ in range(3)]
    for shaker in shakers:
        shaker.start()
    for shaker in shakers:
        shaker.join(PATIENCE)
        assert not shaker.is_alive()
    assert len(threads()) == 1


# --- what is drawn ------------------------------------------------------------------------------------------------------


def entries(count):
    return [{"content": 0.1 + 0.001 * i, "style": 1 / (i + 1)} for i in range(count)]


@pytest.mark.parametrize("count", [0, 1])
def test_a_curve_needs_two_points(count):
    assert lab_module._loss_curve(entries(count)) == ""


@pytest.mark.parametrize("count", [2, 149, 150, 151, 10_000])
def test_a_curve_is_small_and_fills_its_frame(count):
    svg = lab_module._loss_curve(entries(count))
    width, height, most = lab_module.CURVE
    for line in re.findall(r'points="(.*?)"', svg):
        points = np.array([[float(v) for v in pair.split(",")] for pair in line.split()])
        assert 2 <= len(points) <= most
        assert points[0, 0] == 0
        assert points[-1, 0] == width
        assert points[:, 1].min() >= 0
        assert points[:, 1].max() <= height
    assert len(svg) < 8000
    assert f"losses over {count} steps" in svg


def test_a_curve_of_equal_losses_is_drawn():
    assert "nan" not in lab_module._loss_curve([{"content": 0.0, "style": 0.0}] * 5)


def test_small_pictures_are_png_large_ones_jpeg():
    assert "image/png" in lab_module._figure(torch.rand(1, 3, 64, 64), "a", "b")
    large = lab_module._figure(torch.rand(1, 3, 300, 200), "<a>", '"b"')
    assert "image/jpeg" in large
    assert "&lt;a&gt;" in large
    assert "&quot;b&quot;" in large
    assert 'width="200" height="300"' in large


def test_pyplot_is_not_needed():
    code = "import sys, nstlib.lab; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the colorization lab -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def colorizers():
    return [nstlib.Colorizer.load(asset_path(f"colorizer-{name}")) for name in ("grayscale", "canny")]


def colorized(lab):
    return lab._pictures["colorized"].value


def test_begins_with_what_the_last_colorizer_was_trained_on(colorizers):
    lab = ColorizeLab(*colorizers)
    assert lab._operator.value == "canny"
    assert lab._sigma.value == colorizers[1].condition.settings["sigma"]
    assert alternatives(lab) == ["the frame", "the frame's condition: canny, σ = 1", "the frame, colorized from its condition"]


def test_what_is_shown_is_what_the_colorizer_paints(colorizers):
    """The accuracies under the pictures are those of ``compare`` on the same frame."""
    lab = ColorizeLab(*colorizers)
    canny = colorizers[1]
    frames = nstlib.AnimeFrames("shots", canny.size * canny.condition.detail, length=100)
    accuracy = float(canny.compare(frames, [0])["accuracy"])
    assert f"accuracy {accuracy:.2f} at t = 2" in lab._measured.value


def test_sigma_changes_lines_and_colours(colorizers):
    lab = ColorizeLab(*colorizers)
    seen = set()
    for sigma in (0.5, 1.0, 2.0, 4.0):
        lab._sigma.value = sigma
        seen.add((lab._pictures["condition"].value, colorized(lab)))
    assert len({lines for lines, _ in seen}) == len({colors for _, colors in seen}) == 4


def test_each_operator_is_painted_by_its_own_colorizer_or_the_last(colorizers):
    lab = ColorizeLab(*colorizers)
    for operator, painter in (("grayscale", "grayscale"), ("sobel", "canny"), ("xdog", "canny"), ("canny", "canny")):
        lab._operator.value = operator
        assert message(lab) == ""
        assert f"by the colorizer trained on {painter}" in lab._measured.value
        assert lab._sigma.disabled == (operator == "grayscale")


def test_one_colorizer_is_enough(colorizers):
    lab = ColorizeLab(colorizers[0])
    assert lab._operator.value == "grayscale"
    lab._operator.value = "canny"
    assert "trained on grayscale" in lab._measured.value


def test_none_is_not():
    with pytest.raises(ValueError, match="needs a colorizer"):
        ColorizeLab()


def test_frames_of_ones_own(colorizers):
    frames = [torch.rand(3, 40, 40) for _ in range(3)]
    lab = ColorizeLab(*colorizers, frames=frames)
    assert lab._number.max == 2
    before = colorized(lab)
    lab._number.value = 2
    assert colorized(lab) != before


@pytest.mark.parametrize("version", [8, 7])
def test_an_uploaded_frame_is_cut_square_and_painted(colorizers, version):
    lab = ColorizeLab(*colorizers)
    before = colorized(lab)
    lab._on_upload({"new": uploads("own.png", png(90, 50))[8 - version]})
    assert message(lab) == ""
    assert colorized(lab) != before
    lab._on_upload({"new": uploads("broken.png", b"no")[8 - version]})
    assert "broken.png" in message(lab)
    lab._on_upload({"new": ()})
    assert message(lab) == ""
