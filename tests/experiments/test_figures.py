"""The poster's figures: every panel has its place, its size and its name."""

import pytest
import torch

from experiments import figures, plots
from nstlib import AnimeFrames, Colorizer, ColorizerRecipe
from nstlib.vgg import FeatureExtractor


@pytest.fixture
def image():
    return torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def transfer(image):
    """A row of Figure 2."""
    history = [{"step": i + 1, "size": 32, "content": 0.1, "style": 1 / (i + 1), "total": 2.0} for i in range(6)]
    return {
        "content": image, "style": image.mT, "image": image, "names": ["a", "b", "c"], "history": history,
        "content_weight": 3, "style_weight": 8,
    }  # fmt: skip


def pictures(figure):
    """The arrays that a figure shows, from top left."""
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_panels_of_figure_2_are_large_enough(transfer):
    """Acceptance: the longer side of every panel is at least 512 pixels as saved."""
    figure = figures.transfer_figure([transfer, transfer])
    dpi = plots.DPI[plots.suffix(figure)]
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.images]
    assert len(boxes) == 6
    assert all(max(box.width, box.height) * dpi / figure.dpi >= 512 for box in boxes)


def test_figure_2_has_each_transfers_losses(transfer):
    *_, axes = figures.transfer_figure([transfer]).axes
    total, content, style = axes.lines
    assert list(total.get_ydata()) == [2.0] * 6
    assert list(content.get_ydata()) == pytest.approx([0.3] * 6)
    assert list(style.get_ydata()) == pytest.approx([8 / (i + 1) for i in range(6)])


def test_activation_grid_has_a_row_a_layer(image):
    features = FeatureExtractor(weights=None, layers=["relu1_1", "relu2_1"])(image)
    figure = figures.activation_grid(features, filters=4)
    assert len(figure.axes) == 8
    assert any("relu2_1" in text.get_text() for text in figure.texts)


def test_activation_grid_passes_over_maps_of_the_padding_only():
    maps = torch.zeros(1, 2, 7, 12)
    maps[0, 0, [0, -1]] = 9  # lit along the border
    maps[0, 1, 3, 5] = 1
    (shown,) = pictures(figures.activation_grid({"relu5_1": maps}, filters=1))
    brightness = shown.sum(axis=2, dtype=int)
    assert brightness[3, 5] == brightness.max() > 600
    assert (brightness == brightness.max()).sum() == 1


@pytest.mark.parametrize("arch", ["vgg16", "vgg19"])
def test_diagram_names_its_taps(image, arch):
    figure = figures.vgg_diagram(image, ["relu4_2"], ["relu1_1", "relu5_1"], arch)
    texts = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(name in texts for name in ("relu4_2", "relu1_1", "relu5_1", "block 5"))
    (shown,) = pictures(figure)
    assert shown.shape == (32, 48, 3)


def test_photographs_become_jpeg_and_the_diagram_png(image, transfer):
    features = FeatureExtractor(weights=None, layers=["relu1_1"])(image)
    block = {"title": "", "condition": image[:, :1], "truth": image, "colorized": image, "accuracy": torch.tensor([0.5])}
    suffixes = {
        "activations": plots.suffix(figures.activation_grid(features)),
        "transfer": plots.suffix(figures.transfer_figure([transfer])),
        "colorization": plots.suffix(figures.colorization_figure([block])),
        "diagram": plots.suffix(figures.vgg_diagram(image, ["relu4_2"], ["relu1_1"])),
        "diagram of a portrait": plots.suffix(figures.vgg_diagram(image.mT, ["relu4_2"], ["relu1_1"])),
    }
    assert suffixes == {
        "activations": ".jpg",
        "transfer": ".jpg",
        "colorization": ".jpg",
        "diagram": ".png",
        "diagram of a portrait": ".png",
    }


def test_colorization_figure_shows_condition_truth_and_result():
    condition, truth, colorized = (torch.full((1, channels, 8, 8), value) for channels, value in ((1, 0.2), (3, 0.4), (3, 0.6)))
    block = {
        "title": "held out",
        "condition": condition,
        "truth": truth,
        "colorized": colorized,
        "accuracy": torch.tensor([0.25]),
    }
    figure = figures.colorization_figure([block, block], condition="line-art")
    assert [round(shown.mean() / 255, 1) for shown in pictures(figure)] == [0.2, 0.4, 0.6] * 2
    assert [axes.get_title() for axes in figure.axes[:3]] == ["line-art", "ground truth", "colorized"]
    assert [text.get_text() for text in figure.texts].count("0.25") == 2


def test_first_and_worst_are_chosen_by_rule():
    frames = AnimeFrames("shots", 16, 6)
    colorizer = Colorizer("grayscale", 16, recipe=ColorizerRecipe(width=4))
    accuracy = torch.tensor([0.5, 0.1, 0.9, 0.0, 0.8, 0.7])
    shown = pictures(figures.first_and_worst(colorizer, frames, accuracy, rows=2))
    truths = [torch.from_numpy(array.data.copy()) / 255 for array in shown[1::3]]
    expected = [frames[index].permute(1, 2, 0) for index in (0, 1, 3, 1)]
    assert all(torch.allclose(found, frame, atol=1 / 255) for found, frame in zip(truths, expected, strict=True))
