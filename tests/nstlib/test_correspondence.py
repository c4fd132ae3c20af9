"""Colors carried over from a reference: by VGG's features, and by learned ones."""

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, pixel_unshuffle

from nstlib import FeatureExtractor, ImageError
from nstlib.correspondence import (
    CELL,
    DETAIL,
    ELSEWHERE,
    MATCHED_LAYERS,
    SIDE,
    SPREAD,
    Correspondence,
    _windows,
    match_colors,
    matching_loss,
)
from nstlib.edges import canny, grayscale
from nstlib.hints import known_everywhere

OPERATORS = pytest.mark.parametrize("operator", [grayscale, canny])


@pytest.fixture(scope="module")
def extractor():
    return FeatureExtractor(layers=MATCHED_LAYERS)


@pytest.fixture
def learned():
    torch.manual_seed(0)
    network = Correspondence(8, 16)
    network.sharpness.data[:] = 8  # hardly any doubt
    return network


def crop(photo, top, left, side=48):
    return photo[:, :, top : top + side, left : left + side]


# VGG


@OPERATORS
def test_an_image_is_colored_by_itself_exactly(extractor, photo, operator):
    image = crop(photo, 4, 8)
    lines = operator(image)
    colored = match_colors(lines, lines, image, extractor)
    if operator is grayscale:
        assert torch.equal(colored, image)
    else:  # where there are no lines all cells look alike
        assert (colored == image).all(dim=1).float().mean() > 0.4


def test_a_moved_image_is_found_again(extractor, photo):
    reference, image = crop(photo, 0, 0), crop(photo, 4, 8)
    colored = match_colors(grayscale(image), grayscale(reference), reference, extractor)
    inside = (colored - image).abs().amax(dim=1)[:, 4:-8, 4:-12]
    assert (inside < 0.02).float().mean() > 0.8


def test_every_color_is_one_of_the_references(extractor, photo):
    colored = match_colors(grayscale(crop(photo, 4, 8)), grayscale(crop(photo, 0, 40)), crop(photo, 0, 40), extractor, cell=2)
    palette = {tuple(color.tolist()) for color in crop(photo, 0, 40)[0].flatten(1).T}
    assert {tuple(color.tolist()) for color in colored[0].flatten(1).T} <= palette


def test_images_of_two_sizes_match(extractor, photo):
    assert match_colors(torch.rand(1, 1, 32, 48), grayscale(photo[..., :52, :]), photo[..., :52, :], extractor).shape == (
        1,
        3,
        32,
        48,
    )


@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        (((1, 3, 32, 32), (1, 1, 32, 32), (1, 3, 32, 32)), "condition"),
        (((1, 1, 32, 32), (1, 3, 32, 32), (1, 3, 32, 32)), "reference_condition"),
        (((1, 1, 32, 32), (1, 1, 32, 32), (1, 1, 32, 32)), "reference"),
        (((2, 1, 32, 32), (1, 1, 32, 32), (1, 3, 32, 32)), "condition"),
        (((1, 1, 32, 32), (1, 1, 32, 36), (1, 3, 32, 32)), "different sizes"),
        (((1, 1, 32, 33), (1, 1, 32, 32), (1, 3, 32, 32)), "multiples of the cell"),
    ],
)
def test_what_does_not_fit_is_refused(extractor, shapes, what):
    with pytest.raises(ImageError, match=what):
        match_colors(*(torch.zeros(shape) for shape in shapes), extractor)


# learned


@OPERATORS
def test_untrained_it_finds_a_frame_in_itself(learned, photo, operator):
    image = crop(photo, 4, 8)
    condition, colors = operator(image) * 2 - 1, known_everywhere(image)
    if operator is canny:
        condition = condition + 0.01 * torch.randn_like(condition)  # no two cells quite alike
    carried = learned(condition, [(condition, colors)])
    assert torch.allclose(carried.colors, colors, atol=1e-3)
    assert torch.allclose(carried.means, avg_pool2d(colors, CELL), atol=1e-3)
    assert carried.confidence.shape == (1, 1, 6, 6)
    assert carried.confidence.min() > 0.9


def test_of_several_references_the_right_one_is_looked_at(learned, photo):
    image, other = crop(photo, 4, 8), crop(photo, 2, 44, 32)
    condition = grayscale(image) * 2 - 1
    references = [(grayscale(one) * 2 - 1, known_everywhere(one)) for one in (other, image)]
    for order in (references, references[::-1]):
        assert torch.allclose(learned(condition, order).colors, known_everywhere(image), atol=1e-3)


def test_each_frame_of_a_batch_has_its_own_reference(learned, photo):
    images = torch.cat([crop(photo, 4, 8), crop(photo, 0, 40)])
    condition = grayscale(images) * 2 - 1
    swapped = images.flip(0)
    carried = learned(condition, [(grayscale(swapped) * 2 - 1, known_everywhere(swapped))])
    alone = learned(condition[:1], [(grayscale(images[1:]) * 2 - 1, known_everywhere(images[1:]))])
    assert torch.allclose(carried.colors[:1], alone.colors, atol=1e-4)
    assert not torch.allclose(carried.colors[:1, :3], images[:1], atol=0.1)


def test_it_learns_from_both_steps(learned, photo):
    image, reference = crop(photo, 4, 8), crop(photo, 0, 40)
    learned.sharpness.data[:] = 2
    carried = learned(grayscale(image) * 2 - 1, [(grayscale(reference) * 2 - 1, known_everywhere(reference))])
    for output in (carried.colors, carried.means):
        learned.zero_grad()
        (output[:, :3] ** 2).mean().backward(retain_graph=True)
        assert learned.near[0][0].weight.grad.abs().max() > 0
    assert learned.coarse.weight.grad.abs().max() > 0


def test_the_matching_loss_is_its_formula(learned, photo):
    image, reference = crop(photo, 4, 8), crop(photo, 0, 40)
    learned.sharpness.data[:] = 2
    carried = learned(grayscale(image) * 2 - 1, [(grayscale(reference) * 2 - 1, known_everywhere(reference))])
    attention = carried.cells[0][0].detach()
    means = [avg_pool2d(one, CELL)[0].flatten(1) for one in (image, reference)]
    expected = 0.0
    for i in range(36):
        distances = (means[0][:, i : i + 1] - means[1]).norm(dim=0)
        expected -= math.log((attention[i] * (-distances / SPREAD).exp()).sum() + ELSEWHERE) / 36
    attention, found = carried.places[0].detach(), carried.places[1]
    places = pixel_unshuffle(image, DETAIL)[0]  # (48, 12, 12)
    for cell in range(36):
        for number in range(4):
            wanted = places[:, 2 * (cell // 6) + number // 2, 2 * (cell % 6) + number % 2]
            distances = (wanted - found[cell, :, :48]).norm(dim=1) / DETAIL
            expected -= math.log((attention[cell, number] * (-distances / SPREAD).exp()).sum() + ELSEWHERE) / 144
    assert matching_loss(carried, image, torch.ones(1)).item() == pytest.approx(expected, rel=1e-3)


def test_the_matching_loss_leaves_out_images_without_references(learned, photo):
    images = torch.cat([crop(photo, 4, 8), crop(photo, 0, 40)])
    condition = grayscale(images) * 2 - 1
    both = learned(condition, [(condition.flip(0), known_everywhere(images.flip(0)))])
    first = learned(condition[:1], [(condition[1:], known_everywhere(images[1:]))])
    expected = matching_loss(first, images[:1], torch.ones(1))
    assert matching_loss(both, images, torch.tensor([1.0, 0.0])).item() == pytest.approx(expected.item(), rel=1e-4)
    assert matching_loss(both, images, torch.zeros(2)).item() == 0


def test_windows_are_the_cell_and_its_neighbors():
    windows = _windows(6, 8)  # places; 3 x 4 cells
    assert windows.shape == (12, SIDE**2)
    inside = CELL // DETAIL
    rows, columns = windows // 8, windows % 8
    for cell in range(12):
        row, column = cell // 4, cell % 4
        expected_rows = [min(max(row * inside + d, 0), 5) for d in range(-inside, 2 * inside)]
        expected_columns = [min(max(column * inside + d, 0), 7) for d in range(-inside, 2 * inside)]
        assert rows[cell].view(SIDE, SIDE)[:, 0].tolist() == expected_rows
        assert columns[cell].view(SIDE, SIDE)[0].tolist() == expected_columns
