"""Colors carried over from a reference: by VGG's features, and by learned ones."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import avg_pool2d

from nstlib import FeatureExtractor, ImageError
from nstlib.correspondence import (
    CELL,
    CORRECTIONS,
    DETAIL,
    ELSEWHERE,
    FADING,
    MATCHED_LAYERS,
    REACH,
    SIDE,
    SPREAD,
    Carried,
    Correspondence,
    _cross_entropy,
    _differences,
    _windows,
    match_colors,
    matching_loss,
    position_loss,
    with_neighbors,
)
from nstlib.edges import canny, grayscale
from nstlib.hints import known_everywhere
from nstlib.positions import sample

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


def still(height, width):
    """x and y of every pixel's middle: (1, 2, H, W)."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y])[None]


def carried_from(network, image, reference):
    """What a network finds of the gray of an image in that of a reference."""
    return network(grayscale(image) * 2 - 1, [(grayscale(reference) * 2 - 1, known_everywhere(reference))])


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
    assert torch.allclose(carried.condition, condition, atol=1e-3)
    assert len(carried.positions) == 1 + CORRECTIONS
    for positions in carried.positions:
        assert torch.allclose(positions, still(48, 48), atol=1e-2)
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
    learned.sharpness.data[:] = 4  # sharper, what is nearly alike would hang on the last bit
    condition = grayscale(images) * 2 - 1
    swapped = images.flip(0)
    carried = learned(condition, [(grayscale(swapped) * 2 - 1, known_everywhere(swapped))])
    alone = learned(condition[:1], [(grayscale(images[1:]) * 2 - 1, known_everywhere(images[1:]))])
    assert torch.allclose(carried.colors[:1], alone.colors, atol=1e-3)
    assert not torch.allclose(carried.colors[:1, :3], images[:1], atol=0.1)


def test_it_learns_from_both_steps(learned, photo):
    image, reference = crop(photo, 4, 8), crop(photo, 0, 40)
    learned.sharpness.data[:] = 2
    carried = carried_from(learned, image, reference)
    for output in (carried.colors, carried.means):
        learned.zero_grad()
        (output[:, :3] ** 2).mean().backward(retain_graph=True)
        assert learned.near[0][0].weight.grad.abs().max() > 0
    assert learned.coarse.weight.grad.abs().max() > 0


def test_positions_are_the_attentions_mean_and_colors_are_taken_there(learned, photo):
    image, reference = crop(photo, 4, 8, 16), crop(photo, 0, 40, 32)
    learned.sharpness.data[:] = 2
    carried = carried_from(learned, image, reference)
    attention, _, middles = carried.places
    assert middles.shape == (4, SIDE**2, 2)
    for cell in range(4):
        for number in range(4):
            mean = attention[cell, number] @ middles[cell]
            top, left = 8 * (cell // 2) + 4 * (number // 2), 8 * (cell % 2) + 4 * (number % 2)
            found = carried.positions[0][0, :, top : top + DETAIL, left : left + DETAIL]
            expected = mean[:, None, None] + still(DETAIL, DETAIL)[0] - DETAIL / 2
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    best = carried.cells[0][0].argmax(dim=1)
    attended = middles.mean(dim=1)  # of a window: near the cell that matched best
    assert (attended - carried.cells[2][best]).abs().max() <= CELL
    torch.testing.assert_close(carried.colors, sample(known_everywhere(reference), carried.positions[-1]), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        carried.condition, sample(grayscale(reference) * 2 - 1, carried.positions[-1]), rtol=0, atol=1e-4
    )


def test_corrections_move_the_positions_and_stay_within_the_reference(learned, photo):
    image = crop(photo, 4, 8)
    learned.correction[-1].bias.data[:] = 100  # as far to the right and downward as they go
    carried = carried_from(learned, image, image)
    for number, positions in enumerate(carried.positions):
        expected = (still(48, 48) + number * DETAIL).clamp(max=47.5) if number else still(48, 48)
        torch.testing.assert_close(positions, expected, rtol=0, atol=1e-2)
    torch.testing.assert_close(carried.colors[:, :3, :-8, :-8], image[:, :, 8:, 8:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("order", [1, -1])
def test_with_several_references_the_positions_stay_in_the_one_that_was_found(learned, photo, order):
    """The references lie below each other, each as wide as it is."""
    image, other = crop(photo, 4, 8), crop(photo, 2, 64, 32)
    condition = grayscale(image) * 2 - 1
    references = [(grayscale(one) * 2 - 1, known_everywhere(one)) for one in (other, image)][::order]
    top = 32 if order == 1 else 0
    carried = learned(condition, references)
    expected = still(48, 48) + torch.tensor([0, top])[:, None, None]
    torch.testing.assert_close(carried.positions[-1], expected, rtol=0, atol=1e-2)
    assert carried.cells[0].shape == (1, 36, 36 + 16)
    middles = carried.cells[2]
    assert middles[:, 1].max() == 48 + 32 - CELL / 2
    for bias, edge in ((100, 47.5), (-100, 0.5)):
        learned.correction[-1].bias.data[:] = bias
        pushed = learned(condition, references).positions[-1] - torch.tensor([0, top])[:, None, None]
        assert (pushed.amax() if bias > 0 else pushed.amin()).item() == pytest.approx(edge, abs=1e-3)


def test_the_correction_learns_to_look_beside(learned, photo):
    """It begins with no correction, and its last layer gets a gradient at once."""
    image = crop(photo, 4, 8)
    carried = carried_from(learned, image, image)
    for earlier, later in itertools.pairwise(carried.positions):
        torch.testing.assert_close(later, earlier)
    ((carried.positions[-1] - still(48, 48) - 1) ** 2).mean().backward()
    assert learned.correction[-1].weight.grad.abs().max() > 0


def test_the_matching_loss_is_its_formula(learned, photo):
    image, reference = crop(photo, 4, 8), crop(photo, 0, 40)
    learned.sharpness.data[:] = 2
    carried = carried_from(learned, image, reference)
    attention = carried.cells[0][0].detach()
    means = [avg_pool2d(one, CELL)[0].flatten(1) for one in (image, reference)]
    expected = 0.0
    for i in range(36):
        distances = (means[0][:, i : i + 1] - means[1]).norm(dim=0)
        expected -= math.log((attention[i] * (-distances / SPREAD).exp()).sum() + ELSEWHERE) / 36
    attention, found = carried.places[0].detach(), carried.places[1]
    places = image[0].unflatten(1, (12, DETAIL)).unflatten(3, (12, DETAIL)).mean(dim=(2, 4))  # (3, 12, 12)
    assert found.shape == (36, SIDE**2, 4)
    for cell in range(36):
        for number in range(4):
            wanted = places[:, 2 * (cell // 6) + number // 2, 2 * (cell % 6) + number % 2]
            distances = (wanted - found[cell, :, :3]).norm(dim=1)
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


@pytest.mark.parametrize("shape", [(5, 6, 7, 4), (1, 6, 7, 1), (2, 3, 2, 8)])
def test_scores_are_averaged_over_pairs_that_lie_off_in_the_same_direction(shape):
    torch.manual_seed(0)
    scores = torch.randn(2, *shape)
    found = with_neighbors(scores)
    assert found.shape == scores.shape
    steps = range(-REACH, REACH + 1)
    for here in itertools.islice(itertools.product(*map(range, shape)), 0, None, 11):
        pairs = []
        for down, across in itertools.product(steps, steps):
            there = tuple(place + step for place, step in zip(here, (down, across, down, across), strict=True))
            if all(0 <= place < side for place, side in zip(there, shape, strict=True)):
                pairs.append((FADING ** (abs(down) + abs(across)), scores[(slice(None), *there)]))
        expected = sum(weight * score for weight, score in pairs) / sum(weight for weight, _ in pairs)
        torch.testing.assert_close(found[(slice(None), *here)], expected, rtol=1e-4, atol=1e-5)


def test_equal_scores_stay_as_they_are():
    torch.testing.assert_close(with_neighbors(torch.full((1, 4, 5, 6, 3), 2.5)), torch.full((1, 4, 5, 6, 3), 2.5))


def test_after_training_matches_count_with_their_neighbors(learned, photo):
    """Of each reference apart: cells of two references are no neighbors."""
    image, wide, narrow = crop(photo, 4, 8), crop(photo, 0, 40, 40), crop(photo, 2, 64, 32)
    learned.sharpness.data[:] = 2
    references = [(grayscale(one) * 2 - 1, known_everywhere(one)) for one in (wide, narrow)]
    condition = grayscale(image) * 2 - 1
    with torch.no_grad():
        alone = learned(condition, references).cells[0]
        together = learned.eval()(condition, references).cells[0]
        keys = [learned.encode(one)[0][0] for one, _ in references]
        query = learned.encode(condition)[0][0]
    scores = [math.exp(2) * torch.einsum("chw,cij->hwij", query, key) for key in keys]
    for attention, seen in ((alone, scores), (together, [with_neighbors(one[None])[0] for one in scores])):
        expected = torch.cat([one.flatten(2).flatten(0, 1) for one in seen], dim=1).softmax(dim=1)
        torch.testing.assert_close(attention[0], expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(together, alone, atol=1e-2)


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


# positions


def test_differences_are_those_of_a_step_to_the_right_and_downward():
    middles = (still(6, 8) - 0.5) * DETAIL + DETAIL / 2
    torch.testing.assert_close(_differences(middles), torch.zeros(1, 4, 6, 8))
    stretched = _differences(middles * torch.tensor([1.5, 1.25])[:, None, None])
    expected = torch.zeros(1, 4, 6, 8)
    expected[:, 0, :, :-1], expected[:, 3, :-1] = 0.5, 0.25  # at the border nothing follows
    torch.testing.assert_close(stretched, expected, rtol=0, atol=1e-5)
    assert _differences(middles * 100).abs().max() == 2


def mixture(wanted, middles, side):
    """Weights of the middles around one position, as bilinear interpolation has them."""
    away = (wanted - middles).abs() / side
    return torch.where((away < 1).all(dim=1), (1 - away).prod(dim=1), 0.0)


def attentive(truth):
    """What perfect attention finds: in a reference of 48 x 48 pixels, where ``truth`` (1, 2, 48, 48) is far from the border.

    As ``Correspondence`` writes it, but that no cell's window goes beyond the border.
    """
    cells, places = torch.zeros(1, 36, 36), torch.zeros(36, 4, SIDE**2)
    middles = ((still(6, 6) - 0.5) * CELL + CELL / 2).flatten(2)[0].T
    around = torch.empty(36, SIDE**2, 2)
    offsets = ((still(SIDE, SIDE) - 0.5) * DETAIL + DETAIL / 2 - SIDE * DETAIL / 2).flatten(2)[0].T
    for cell in range(36):
        top, left = 8 * (cell // 6), 8 * (cell % 6)
        wanted = truth[0, :, top + 3 : top + 5, left + 3 : left + 5].mean(dim=(1, 2))
        cells[0, cell] = mixture(wanted, middles, CELL)
        nearest = middles[(middles - wanted.nan_to_num()).norm(dim=1).argmin()]
        around[cell] = nearest + offsets
        for number in range(4):
            y, x = top + 4 * (number // 2), left + 4 * (number % 2)
            wanted = truth[0, :, y + 1 : y + 3, x + 1 : x + 3].mean(dim=(1, 2))
            places[cell, number] = mixture(wanted, around[cell], DETAIL)
    found = [truth.nan_to_num().clone() for _ in range(1 + CORRECTIONS)]
    nothing = torch.zeros(1)
    return Carried(nothing, nothing, nothing, nothing, (cells, nothing, middles), (places, nothing, around), found)


def inner(positions):
    """Positions (1, 2, 48, 48), known where they are more than a cell away from the border of a reference of this size."""
    inside = ((positions > CELL + DETAIL) & (positions < 48 - CELL - DETAIL)).all(dim=1, keepdim=True)
    return torch.where(inside, positions, torch.nan)


MOVED = torch.tensor([2.0, -3.0])[:, None, None]


def test_of_perfect_attention_to_whole_cells_nothing_is_lost():
    truth = inner(still(48, 48) + CELL)
    assert position_loss(attentive(truth), truth).item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("doubt", [0.02, 0.2, 0.9])
def test_the_position_loss_is_smallest_for_perfect_attention(doubt):
    truth = inner(still(48, 48) + MOVED)
    perfect = attentive(truth)
    least = position_loss(perfect, truth).item()
    assert least > 0.1, "between the middles attention is a mixture, which has an entropy"
    for name in ("cells", "places"):
        attention, nothing, middles = getattr(perfect, name)
        vague = (1 - doubt) * attention + doubt / attention.shape[2]
        assert position_loss(perfect._replace(**{name: (vague, nothing, middles)}), truth).item() > least
        elsewhere = (1 - doubt) * attention + doubt * attention.roll(1, dims=2)
        assert position_loss(perfect._replace(**{name: (elsewhere, nothing, middles)}), truth).item() > least


def test_the_position_loss_grows_with_the_mean_distance_and_no_further_than_a_cell():
    truth = inner(still(48, 48) + MOVED)
    perfect = attentive(truth)
    least = position_loss(perfect, truth).item()
    for number in range(1 + CORRECTIONS):
        for away, counted in ((1.0, 1.0), (5.0, 5.0), (7.5, 7.5), (20.0, CELL), (500.0, CELL)):
            positions = list(perfect.positions)
            positions[number] = positions[number] + torch.tensor([0.6 * away, -0.8 * away])[:, None, None]
            more = position_loss(perfect._replace(positions=positions), truth).item() - least
            assert more == pytest.approx(counted / (1 + CORRECTIONS), rel=1e-3)


def test_the_position_loss_is_its_formula(learned, photo):
    image, reference = crop(photo, 4, 8), crop(photo, 0, 40)
    learned.sharpness.data[:] = 2
    learned.correction[-1].bias.data[:] = torch.randn(2 * DETAIL**2)
    with torch.no_grad():
        carried = carried_from(learned, image, reference)
    truth = inner(still(48, 48) + MOVED + torch.rand(1, 2, 48, 48))
    best = carried.cells[0][0].argmax(dim=1)
    far, near = [], []
    for cell in range(36):
        row, column = best[cell] // 6, best[cell] % 6
        if not (1 <= row <= 4 and 1 <= column <= 4):  # the window goes beyond the border
            truth[:, :, 8 * (cell // 6) :, 8 * (cell % 6) :][:, :, :8, :8] = torch.nan
    for cell in range(36):
        top, left = 8 * (cell // 6), 8 * (cell % 6)
        wanted = truth[0, :, top + 3 : top + 5, left + 3 : left + 5].mean(dim=(1, 2))
        weights = mixture(wanted, carried.cells[2], CELL)
        if weights.sum() > 0.5:
            far.append(-(weights * (carried.cells[0][0, cell] + 1e-6).log()).sum())
        for number in range(4):
            y, x = top + 4 * (number // 2), left + 4 * (number % 2)
            wanted = truth[0, :, y + 1 : y + 3, x + 1 : x + 3].mean(dim=(1, 2))
            weights = mixture(wanted, carried.places[2][cell], DETAIL)
            if weights.sum() > 0.5:
                near.append(-(weights * (carried.places[0][cell, number] + 1e-6).log()).sum())
    assert len(far) > 3
    assert len(near) > 3
    off = [(positions - truth).norm(dim=1).clamp(max=8).nanmean() for positions in carried.positions]
    assert off[0] != off[1]
    expected = torch.stack(far).mean() + torch.stack(near).mean() + torch.stack(off).mean()
    assert position_loss(carried, truth).item() == pytest.approx(expected.item(), rel=1e-4)


def test_unknown_positions_count_for_nothing(learned, photo):
    image, reference = crop(photo, 4, 8), crop(photo, 0, 40)
    learned.sharpness.data[:] = 2
    carried = carried_from(learned, image, reference)
    nothing = position_loss(carried, torch.full((1, 2, 48, 48), torch.nan))
    assert nothing.item() == 0
    truth = still(48, 48).clone()
    truth[:, :, :, 24:] = torch.nan
    moved = [positions.clone() for positions in carried.positions]
    for positions in moved:
        positions[:, :, :, 24:] += 7
    attention = carried.places[0].clone()
    attention[[cell for cell in range(36) if cell % 6 >= 3]] = 1 / SIDE**2
    other = carried._replace(positions=moved, places=(attention, *carried.places[1:]))
    loss = position_loss(carried, truth)
    assert position_loss(other, truth).item() == loss.item() > 0
    (loss + nothing).backward()
    gradients = [parameter.grad for parameter in learned.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert learned.near[0][0].weight.grad.abs().max() > 0
    assert learned.correction[-1].bias.grad.abs().max() > 0


def test_of_a_batch_the_position_loss_counts_what_is_known_in_each(learned, photo):
    images, swapped = (torch.cat([crop(photo, 4, 8), crop(photo, 0, 40)][::way]) for way in (1, -1))
    learned.sharpness.data[:] = 2
    both, first = carried_from(learned, images, swapped), carried_from(learned, images[:1], swapped[:1])
    truth = still(48, 48).repeat(2, 1, 1, 1)
    truth[1] = torch.nan
    expected = position_loss(first, truth[:1]).item()
    assert position_loss(both, truth).item() == pytest.approx(expected, rel=1e-4)


def test_places_that_a_window_repeats_at_the_border_share_their_weight():
    middles = torch.tensor([[2.0, 2], [2, 2], [2, 2], [6, 2]])[None]
    wanted = torch.tensor([[[3.0, 2.0]]])  # a quarter of the way from the first to the last
    best = torch.tensor([0.25, 0.25, 0.25, 0.25])
    assert (best[:, None] * middles[0]).sum(0).tolist() == wanted[0, 0].tolist()
    least = _cross_entropy(best[None, None], middles, wanted, DETAIL).item()
    assert least == pytest.approx(math.log(4), abs=1e-4)
    for other in ([0.3, 0.3, 0.3, 0.1], [0.1, 0.1, 0.1, 0.7], [0.7, 0.05, 0.0, 0.25]):
        assert _cross_entropy(torch.tensor(other)[None, None], middles, wanted, DETAIL).item() > least
