"""Colorized frames show no grid of the squares that a folded network works on."""

import itertools

import pytest
import torch

from nstlib import AnimeFrames, Colorizer, ColorizerRecipe, asset_path
from nstlib.color import lab_to_rgb, rgb_to_lab

TILE = 64  # pixels a side
MOST = 1.5  # of a picture without a grid
FOLD = 4  # of the laptop's recipe, and the period to look for where nothing is folded


def powers(error, period):
    """Power of an error (B, C, H, W), at least 64 pixels a side, at the frequencies that a grid of ``period`` pixels has, the
    multiples of (1 / period, 1 / period) cycles a pixel but 0, and at those around them; both (frequencies, C)."""
    window = torch.hann_window(TILE, periodic=True)
    tiles = error.unfold(2, TILE, TILE).unfold(3, TILE, TILE) * window * window[:, None]
    power = torch.fft.fft2(tiles).abs().square().mean(dim=(0, 2, 3))
    peaks = [place for place in itertools.product(range(0, TILE, TILE // period), repeat=2) if any(place)]
    # the window spreads a peak over 1 bin to each side
    around = [place for place in itertools.product((-3, 0, 3), repeat=2) if any(place)]
    neighbors = [((u + i) % TILE, (v + j) % TILE) for i, j in around for u, v in peaks]
    return tuple(torch.stack([power[:, u, v] for u, v in places]) for places in (peaks, neighbors))


def grid_energy(error, period=FOLD):
    """How much stronger the grid's frequencies are than their neighbors, (C,); about 1 without a grid."""
    at_peaks, beside = powers(error, period)
    return at_peaks.mean(0) / beside.mean(0)


def grid_amplitude(error, period=FOLD):
    """Root mean square of the grid, in the units of the error, (C,): what the frequencies have more than their neighbors."""
    at_peaks, beside = powers(error, period)
    of_one = powers(checkerboard(TILE, TILE, period // 2)[None, None], period)[0].sum()
    return ((at_peaks - beside.mean(0)).sum(0).clamp_min(0) / of_one).sqrt()


def checkerboard(height, width, side=FOLD // 2):
    """1 and -1, in squares of ``side`` pixels: it repeats after twice as many."""
    y, x = torch.arange(height) // side, torch.arange(width) // side
    return 1 - 2.0 * ((y[:, None] + x) % 2)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def held_out(size, count=16):
    """Frames that no colorizer is trained on, (count, 3, size, size)."""
    shots = AnimeFrames("shots", size, count, seed=1)
    return torch.stack([shots[i] for i in range(count)])


# the measure


@pytest.mark.parametrize("period", [2, 4, 8])
def test_what_repeats_after_a_period_is_found_and_nothing_else(period):
    error = noise(8, 3, 192, 256)
    clean = grid_energy(error, period)
    assert clean.shape == (3,)
    assert ((clean > 0.8) & (clean < 1.2)).all()
    pattern = noise(period, period, seed=1).repeat(192 // period, 256 // period)
    for shift in range(period):  # wherever it begins
        assert (grid_energy(error + 0.3 * pattern.roll((shift, 2 * shift), (0, 1)), period) > 2 * MOST).all()
    only_b = error + 0.3 * pattern * torch.tensor([0, 0, 1])[:, None, None]
    assert torch.equal(grid_energy(only_b, period)[:2], clean[:2])
    assert grid_energy(only_b, period)[2] > 2 * MOST
    for other in (3, 5, 7):
        pattern = noise(other, other, seed=1).repeat(65, 90)[:192, :256]
        assert (grid_energy(error + 0.3 * pattern, period) < MOST).all(), other


def test_a_faint_checkerboard_on_clean_pictures_is_found():
    """Colors are off by a few percent, smoothly; the checkerboard by 1."""
    truth = held_out(128)
    lab = rgb_to_lab(truth)
    wrong = 0.9 * lab + torch.tensor([4.0, 3, -5])[:, None, None] + noise(*lab.shape)
    assert (grid_energy(rgb_to_lab(lab_to_rgb(wrong)) - lab) < MOST).all()
    for channel in range(3):
        only = torch.eye(3)[channel][:, None, None] * checkerboard(128, 128)
        assert grid_energy(rgb_to_lab(lab_to_rgb(wrong + only)) - lab)[channel] > 3 * MOST


def test_a_folded_network_whose_places_differ_is_found():
    """The grid that folding can leave: each of the 2 x 2 places that the output unfolds has a channel of its own."""
    model = Colorizer("grayscale", 128, recipe=ColorizerRecipe(width=4, fold=FOLD))
    truth = held_out(128)
    torch.nn.init.zeros_(model.generator.output.weight)

    def found(period):
        return grid_energy(rgb_to_lab(model.colorize(model.condition(truth))) - rgb_to_lab(truth), period)

    assert (found(FOLD)[1:] < MOST).all(), "gray: a and b are wrong as the truth has them"
    model.generator.output.bias.data.copy_(0.02 * noise(3 * (FOLD // 2) ** 2))
    assert (found(model.generator.outer_fold)[1:] > 3 * MOST).all()


def test_the_amplitude_is_that_of_the_grid():
    error = 3 * noise(16, 3, 192, 256)
    assert (grid_amplitude(error) < 0.2).all()
    for amplitude in (0.5, 2.0):
        found = grid_amplitude(error + amplitude * checkerboard(192, 256))
        torch.testing.assert_close(found, torch.full((3,), amplitude), rtol=0.1, atol=0.05)


# what ships


@pytest.mark.parametrize("condition", ["grayscale", "canny"])
def test_shipped_colorizers_show_no_grid(condition):
    """A difference of 1 in CIELAB is hardly seen where two areas meet; a grid of that amplitude would be."""
    model = Colorizer.load(asset_path(f"colorizer-{condition}"))
    shown = model.compare(AnimeFrames("shots", model.frame_size, 16, seed=1), range(16))
    error = rgb_to_lab(shown["colorized"]) - rgb_to_lab(shown["truth"])
    for period in (model.generator.fold, model.generator.outer_fold):
        assert (grid_amplitude(error, period) < 0.5).all()
        grid = checkerboard(*error.shape[2:], period // 2)
        assert (grid_amplitude(error + grid, period) > 0.9).all(), "it would be found"
