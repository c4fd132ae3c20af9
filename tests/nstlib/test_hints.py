"""Dabs of color: where they are put, and which color they have."""

import pytest
import torch

from nstlib.color import scaled_lab_to_rgb
from nstlib.hints import DAB, MOST_DABS, Dab, hints_map, known_everywhere, random_hints


def test_a_dab_is_a_square_of_its_color():
    known = hints_map([Dab(0.5, 0.25, (1.0, 0.2, 0.1))], 32, 64)
    assert known.shape == (1, 4, 32, 64)
    mask = known[0, 3]
    rows, columns = mask.nonzero().T
    assert (rows.min(), rows.max()) == (8 - DAB // 2, 8 + DAB // 2)
    assert (columns.min(), columns.max()) == (32 - DAB // 2, 32 + DAB // 2)
    assert set(mask.unique().tolist()) == {0, 1}
    colors = scaled_lab_to_rgb(known[:, :3])[0, :, mask == 1]
    assert torch.allclose(colors, torch.tensor([1.0, 0.2, 0.1])[:, None].expand_as(colors), atol=1e-3)
    assert (known[0, :3, mask == 0] == 0).all()


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_a_dab_at_a_corner_is_cut_off_there(place):
    mask = hints_map([Dab(*place, (0.0, 0.0, 1.0))], 20, 20)[0, 3]
    assert mask.sum() == (DAB // 2 + 1) ** 2
    assert set(mask.unique().tolist()) == {0, 1}


def test_where_dabs_overlap_it_is_the_mean():
    one, other = Dab(0.5, 0.5, (1.0, 0.0, 0.0)), Dab(0.6, 0.5, (0.0, 0.0, 1.0))
    both = hints_map([one, other], 20, 20)
    alone = [hints_map([dab], 20, 20) for dab in (one, other)]
    overlap = (alone[0][:, 3:] * alone[1][:, 3:]) == 1
    assert overlap.sum() == (DAB - 2) * DAB
    expected = (alone[0][:, :3] + alone[1][:, :3]) / 2
    assert torch.allclose(both[:, :3][overlap.expand(-1, 3, -1, -1)], expected[overlap.expand(-1, 3, -1, -1)], atol=1e-5)


def test_the_later_of_two_dabs_wins():
    first, later = Dab(0.5, 0.5, (1.0, 0.0, 0.0)), Dab(0.5, 0.5, (0.0, 1.0, 0.0))
    assert torch.equal(hints_map([first, later], 20, 20), hints_map([later], 20, 20))


def test_no_dabs_no_hints():
    assert torch.equal(hints_map([], 8, 12), torch.zeros(1, 4, 8, 12))


def test_random_hints_are_true_at_their_centers_and_often_few():
    torch.manual_seed(0)
    colors = torch.rand(400, 3, 32, 32)
    known = random_hints(colors, hinted=0.75)
    area = known[:, 3].sum(dim=(1, 2))
    assert 0.6 < (area > 0).float().mean() < 0.8  # of those that may have some, a few have none by chance
    assert area.max() <= 3 * MOST_DABS * DAB**2
    assert (area[area > 0] <= 3 * DAB**2).float().mean() > 0.25
    assert torch.equal(random_hints(colors, hinted=0.0), torch.zeros(400, 4, 32, 32))
    flat = torch.rand(50, 3, 1, 1).expand(-1, -1, 16, 16)  # one color each: every dab has it
    known = random_hints(flat, hinted=1.0)
    assert torch.allclose(known[:, :3], flat * known[:, 3:], atol=1e-6)


def test_known_everywhere():
    colors = torch.rand(2, 3, 4, 5)
    known = known_everywhere(colors)
    assert torch.equal(known[:, :3], colors)
    assert (known[:, 3] == 1).all()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((-0.1, 0.5, (0, 0, 0)), "x"),
        ((0.5, 1.1, (0, 0, 0)), "y"),
        (("left", 0.5, (0, 0, 0)), "x"),
        ((0.5, 0.5, (0, 0)), "color"),
        ((0.5, 0.5, (0, 0, 255)), "color"),
        ((0.5, 0.5, "red"), "color"),
        ((0.5, 0.5, "#f00000"), "color"),
        ((0.5, 0.5, None), "color"),
    ],
)
def test_what_is_no_dab_is_refused(arguments, what):
    with pytest.raises(ValueError, match=what):
        Dab(*arguments)
