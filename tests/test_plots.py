import io

import numpy as np
import PIL.Image
import pytest
import torch

from nstlib import plots
from nstlib.vgg import FeatureExtractor


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(PIL.Image.open(buffer).convert("RGB")).astype(int)


@pytest.fixture
def image():
    return torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def history():
    return [{"step": i + 1, "size": 32 if i < 3 else 64, "content": 0.1, "style": 1 / (i + 1), "total": 2.0} for i in range(6)]


def test_show_displays_with_alternative_text_and_saves_the_same(image, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **kwargs: shown.append((data, kwargs)))
    plots.show(plots.image_grid([[image]], [["a"]]), alt="noise", path=tmp_path / "figure.png")
    ((data, kwargs),) = shown
    assert kwargs["metadata"]["image/png"]["alt"] == data["text/plain"] == "noise"
    assert PIL.Image.open(tmp_path / "figure.png").info["Description"] == "noise"


def test_show_insists_on_alternative_text(image):
    with pytest.raises(ValueError, match="alternative text"):
        plots.show(plots.image_grid([[image]], [["a"]]), alt=" ")


def test_image_grid_shows_the_images(image):
    red = torch.zeros(1, 3, 32, 32)
    red[:, 0] = 1
    drawn = pixels(plots.image_grid([[image, red], [red, image]], [["one", "two"], ["three", "four"]]))
    is_red = (drawn[..., 0] > 250) & (drawn[..., 1] < 5) & (drawn[..., 2] < 5)
    height, width = is_red.shape
    assert is_red[: height // 2, width // 2 :].mean() > 0.3
    assert is_red[height // 2 :, : width // 3].mean() > 0.3


def test_transfer_figure_panels_are_large_enough(image, history):
    """Acceptance: the longer side of every panel of Figure 2 is at least 512 pixels as saved."""
    row = {
        "content": image, "style": image.mT, "image": image, "names": ["a", "b", "c"], "history": history,
        "content_weight": 1, "style_weight": 8,
    }  # fmt: skip
    figure = plots.transfer_figure([row, row])
    for axes in figure.axes:
        if axes.images:
            box = axes.get_window_extent()
            assert max(box.width, box.height) * plots.DPI / figure.dpi >= 512


def test_loss_curves_draw_what_was_measured(history):
    noise = torch.rand(1, 3, 8, 8)
    row = {"content": noise, "style": noise, "image": noise, "names": ["", "", ""], "history": history}
    figure = plots.transfer_figure([{**row, "content_weight": 3, "style_weight": 8}])
    total, content, style, boundary = figure.axes[-1].lines
    assert list(total.get_ydata()) == [2.0] * 6
    assert list(content.get_ydata()) == pytest.approx([0.3] * 6)
    assert list(style.get_ydata()) == pytest.approx([8 / (i + 1) for i in range(6)])
    assert boundary.get_xdata()[0] == 3.5


def test_activation_grid_has_a_row_a_layer(image):
    features = FeatureExtractor(weights=None, layers=["relu1_1", "relu2_1"])(image)
    figure = plots.activation_grid(features, filters=4)
    assert len(figure.axes) == 8
    assert any("relu2_1" in text.get_text() for text in figure.texts)


@pytest.mark.parametrize("arch", ["vgg16", "vgg19"])
def test_diagram_names_its_taps(image, arch):
    figure = plots.vgg_diagram(image, ["relu4_2"], ["relu1_1", "relu5_1"], arch)
    texts = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(name in texts for name in ("relu4_2", "relu1_1", "relu5_1", "block 5"))
    assert pixels(figure).std() > 10


def test_activation_grid_passes_over_maps_of_the_padding_only():
    maps = torch.zeros(1, 2, 7, 12)
    maps[0, 0, [0, -1]] = 9  # lit along the border
    maps[0, 1, 3, 5] = 1
    figure = plots.activation_grid({"relu5_1": maps}, filters=1)
    assert figure.axes[0].images[0].get_array()[3, 5] == 1


def test_bars_have_the_means_and_whiskers_the_deviations():
    measured = {
        "the poster": {"accuracy": {"mean": 0.2, "sd": 0.01}, "ssim": {"mean": 0.7, "sd": 0.02}},
        "another": {"accuracy": {"mean": 0.3, "sd": 0.03}, "ssim": {"mean": 0.6}},
    }
    figure = plots.measure_bars(measured, {"accuracy": "right", "ssim": "alike"})
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [0.2, 0.3]
    assert [label.get_text() for label in left.get_yticklabels()] == ["the poster", "another"]
    assert left.lines[-1].get_xdata()[0] == 0.2, "a line where the poster's is"
    (whiskers,) = [c for c in left.collections if hasattr(c, "get_segments")]
    assert [list(segment[:, 0]) for segment in whiskers.get_segments()] == [
        pytest.approx([0.19, 0.21]),
        pytest.approx([0.27, 0.33]),
    ]
    assert right.get_title() == "alike"


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
    figure = plots.learning_curves({"a": [[0.0, 0.2, 0.4], [0.0, 0.4, 0.6]], "b": [[0.1, 0.1, 0.1]]}, 300, "accuracy")
    a, b = figure.axes[0].lines
    assert list(a.get_xdata()) == [0, 150, 300]
    assert list(a.get_ydata()) == pytest.approx([0.0, 0.3, 0.5])
    assert list(b.get_ydata()) == pytest.approx([0.1, 0.1, 0.1])
