"""Plots: each shows what it was given; figures of pictures become JPEG, others PNG, all with alternative text."""

import base64
import io
import math

import numpy as np
import PIL.Image
import pytest
import torch
from matplotlib.figure import Figure

from experiments import plots


@pytest.fixture
def pictures():
    """A figure of pictures."""
    noise = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    return plots.image_grid([[noise]], [["a"]])


@pytest.fixture
def curves():
    """A plot."""
    return plots.learning_curves({"accuracy": {"a": [[0.0, 0.2, 0.4]]}}, 300)


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed: data and metadata."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda data, **kwargs: found.append((data, kwargs["metadata"])))
    return found


def text_of(file):
    """The alternative text that a file carries."""
    information = PIL.Image.open(file).info
    return information.get("Description") or information["comment"].decode()


@pytest.mark.parametrize(("kind", "name", "mime"), [("pictures", "a.jpg", "image/jpeg"), ("curves", "a.png", "image/png")])
def test_a_figure_is_displayed_and_saved_with_alternative_text(kind, name, mime, request, displayed, tmp_path):
    figure = request.getfixturevalue(kind)
    plots.show(figure, alt="a × b", path=tmp_path / "new" / name)
    ((data, metadata),) = displayed
    assert set(data) == {mime, "text/plain"}
    assert metadata[mime]["alt"] == data["text/plain"] == "a × b"
    content = base64.b64decode(data[mime])
    assert text_of(tmp_path / "new" / name) == text_of(io.BytesIO(content)) == "a × b"
    saved, on_screen = PIL.Image.open(tmp_path / "new" / name), PIL.Image.open(io.BytesIO(content))
    assert saved.get_format_mimetype() == on_screen.get_format_mimetype() == mime
    assert saved.width > on_screen.width


@pytest.mark.parametrize(("kind", "name"), [("pictures", "a.png"), ("pictures", "a"), ("curves", "a.jpg")])
def test_another_suffix_is_refused(kind, name, request, displayed, tmp_path):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        plots.show(request.getfixturevalue(kind), "a", tmp_path / name)
    assert not displayed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("alt", ["", " "])
def test_alternative_text_is_required(alt, pictures, displayed, tmp_path):
    with pytest.raises(ValueError, match="alternative text"):
        plots.show(pictures, alt)
    with pytest.raises(ValueError, match="alternative text"):
        plots.save(pictures, alt, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_a_figure_that_did_not_change_leaves_its_file_alone(pictures, tmp_path):
    path = tmp_path / "a.jpg"
    plots.save(pictures, "a", path)
    content, written = path.read_bytes(), path.stat().st_mtime_ns
    plots.save(pictures, "a", path)
    assert path.stat().st_mtime_ns == written
    plots.save(pictures, "b", path)
    assert path.read_bytes() != content


def test_a_small_picture_in_a_drawing_and_a_map_of_numbers_stay_png():
    drawing = Figure(figsize=(4, 4))
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.imshow(np.zeros((8, 8, 3)), extent=(0, 0.4, 0, 0.4))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    assert plots.suffix(drawing) == ".png"
    axes.imshow(np.zeros((8, 8, 3)), extent=(0.5, 1, 0, 0.5))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    assert plots.suffix(drawing) == ".jpg", "together they cover more than a quarter"
    assert plots.suffix(plots.heat_table({"a": {"x": 0.1}}, "", "")) == ".png"


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(PIL.Image.open(buffer).convert("RGB")).astype(int)


def test_image_grid_shows_the_images():
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0] = 1
    drawn = pixels(plots.image_grid([[image, red], [red, image]], [["one", "two"], ["three", "four"]]))
    is_red = (drawn[..., 0] > 250) & (drawn[..., 1] < 5) & (drawn[..., 2] < 5)
    height, width = is_red.shape
    assert is_red[: height // 2, width // 2 :].mean() > 0.3
    assert is_red[height // 2 :, : width // 3].mean() > 0.3


def test_a_heat_table_has_its_numbers_in_their_places():
    figure = plots.heat_table({"a": {"x": 0.1, "y": 0.2}, "b": {"x": 0.3, "y": 0.4}}, "trained on", "tested on")
    axes = figure.axes[0]
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {
        ((0, 0), "0.100"),
        ((1, 0), "0.200"),
        ((0, 1), "0.300"),
        ((1, 1), "0.400"),
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert (axes.get_ylabel(), axes.get_title()) == ("trained on", "tested on")


def test_learning_curves_are_means_over_the_seeds():
    curves = {"a": [[0.0, 0.2, 0.4], [0.0, 0.4, 0.6]], "b": [[0.1, 0.1, 0.1]]}
    left, right = plots.learning_curves({"one": curves, "other": {"a": [[0.5, 0.6]]}}, 300).axes
    assert (left.get_title(), right.get_title()) == ("one", "other")
    assert list(right.lines[0].get_ydata()) == [0.5, 0.6]
    a, b = left.lines
    assert list(a.get_xdata()) == [0, 150, 300]
    assert list(a.get_ydata()) == pytest.approx([0.0, 0.3, 0.5])
    assert list(b.get_ydata()) == pytest.approx([0.1, 0.1, 0.1])


def test_loss_curves_draw_what_was_measured():
    history = [
        {"step": i + 1, "size": 32 if i < 3 else 64, "content": 0.1, "style": 1 / (i + 1), "total": 2.0} for i in range(6)
    ]
    axes = Figure().subplots()
    plots.loss_curves(axes, history, content_weight=3, style_weight=8)
    total, content, style, boundary = axes.lines
    assert list(total.get_ydata()) == [2.0] * 6
    assert list(content.get_ydata()) == pytest.approx([0.3] * 6)
    assert list(style.get_ydata()) == pytest.approx([8 / (i + 1) for i in range(6)])
    assert boundary.get_xdata()[0] == 3.5


def test_training_curves_mark_the_loss_of_a_discriminator_at_chance():
    history = [{"l1": 0.2, "discriminator": 1.2, "accuracy": 0.1}, {"l1": 0.1, "discriminator": 1.3, "accuracy": 0.2}]
    l1, discriminator, accuracy = plots.training_curves({"a": history}).axes
    assert list(l1.lines[0].get_ydata()) == [0.2, 0.1]
    losses, chance = discriminator.lines
    assert list(losses.get_ydata()) == [1.2, 1.3]
    assert chance.get_ydata()[0] == pytest.approx(2 * math.log(2))
    assert list(accuracy.lines[0].get_xdata()) == [1, 2]


def test_accuracy_curves_mark_the_posters_values_at_t_2():
    figure = plots.accuracy_curves({"a": [0.1, 0.3], "b": [0.2, 0.4]}, [1, 5], {"a": 0.632})
    a, b, mark = figure.axes[0].lines
    assert list(a.get_ydata()) == [0.1, 0.3]
    assert list(b.get_xdata()) == [1, 5]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (2, 0.632)
    assert mark.get_color() == a.get_color()


def test_loss_history_draws_a_curve_for_each_run_that_has_the_loss():
    records = {"a": {"losses": {"l1": [3.0, 2.0], "cycle": [1.0, 0.5]}}, "b": {"losses": {"l1": [2.0, 1.5]}}}
    figure = plots.loss_history(records, {"l1": "L1", "cycle": "there and back"})
    first, second = figure.axes
    assert [line.get_ydata().tolist() for line in first.lines] == [[3.0, 2.0], [2.0, 1.5]]
    assert next(line.get_ydata() for line in second.lines).tolist() == [1.0, 0.5]
    assert [axes.get_title() for axes in figure.axes] == ["L1", "there and back"]
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["a", "b"]


def test_cycles_name_what_is_in_each_box():
    figure = plots.cycles(("x", "G(x)", "H(G(x))"), ("y", "H(y)", "G(H(y))"))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"x", "G(x)", "H(G(x))", "y", "H(y)", "G(H(y))", "$G$", "$H$"} <= set(texts)
    assert texts.count("must be the same") == 2
