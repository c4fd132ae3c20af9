"""PixelOptimizer, on objectives that are known in closed form."""

import itertools
import math

import pytest
import torch

from nstlib.pixels import DIVERGED, DivergenceError, PixelOptimizer, TransferError, clip

METHODS = ["lbfgs", "adam"]


def noise(seed=0, size=8):
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Distance:
    """Mean squared distance to a target, some directions a hundred times as steep as others."""

    def __init__(self, target, scale=1.0):
        self.target, self.scale, self.calls = target, scale, 0
        self.steepness = torch.logspace(-1, 1, target.numel()).reshape(target.shape)

    def __call__(self, image):
        self.calls += 1
        total = self.scale * (self.steepness * (image - self.target).square()).mean()
        return {"distance": total / self.scale, "total": total}


# what is computed


@pytest.mark.parametrize("method", METHODS)
def test_begins_at_the_start(method):
    start, target = noise(0), noise(1)
    optimizer = PixelOptimizer(Distance(target), start, method)
    expected = Distance(target)(start)
    torch.testing.assert_close(optimizer.image, start)
    torch.testing.assert_close(optimizer.best, start)
    torch.testing.assert_close(optimizer.pixels.detach() * optimizer.unit, start)
    assert optimizer.losses == pytest.approx({name: value.item() for name, value in expected.items()})
    assert optimizer.value.item() == pytest.approx(optimizer.losses["total"]), "no pixel is out of range"
    assert optimizer.best_total == optimizer.first_total == optimizer.losses["total"]


def test_the_start_is_left_as_it_is():
    start = noise(0)
    before = start.clone()
    optimizer = PixelOptimizer(Distance(noise(1)), start, "adam")
    optimizer.step()
    assert torch.equal(start, before)
    assert not start.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_gradient_is_that_of_the_value(method):
    """Central difference along the gradient, some pixels out of range."""
    optimizer = PixelOptimizer(Distance(noise(1)), 1.4 * noise(0) - 0.2, method)
    gradient = optimizer.gradient.clone()
    direction = gradient / gradient.norm()
    start, step = optimizer.pixels.detach().clone(), 1e-4 * float(optimizer.pixels.detach().norm())
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            optimizer.pixels.copy_(start + sign * step * direction)
        optimizer.evaluate()
        values.append(float(optimizer.value))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.02)


def test_pixels_out_of_range_are_clipped_and_brought_back():
    seen = []

    def objective(image):
        seen.append(image.detach())
        return {"total": 0 * image.sum()}

    def outside():
        pixels = optimizer.pixels.detach() * optimizer.unit
        return (pixels - pixels.clamp(0, 1)).abs().max()

    optimizer = PixelOptimizer(objective, 3 * noise(0) - 1, "lbfgs")
    before = outside()
    assert optimizer.value > 0
    for _ in range(5):
        optimizer.step()
    assert all(image.min() >= 0 and image.max() <= 1 for image in seen)
    assert outside() < 0.01 * before


@pytest.mark.parametrize("scale", [10, 1e5])
def test_the_first_trial_of_lbfgs_moves_pixels_by_a_gray_level_on_average(scale):
    seen = []

    def objective(image):
        seen.append(image.detach())
        return {"total": scale * image.mean()}

    PixelOptimizer(objective, 0.25 + 0.5 * noise(0), "lbfgs").step()
    assert (seen[0] - seen[1]).abs().mean().item() == pytest.approx(1 / 255, rel=1e-3)


# the optimization


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_minimum(method):
    target = 0.2 + 0.6 * noise(1)
    optimizer = PixelOptimizer(Distance(target), noise(0), method)
    for _ in range(150):
        optimizer.step()
    torch.testing.assert_close(optimizer.best, target, atol=0.02, rtol=0)
    assert optimizer.best_total < 1e-2 * optimizer.first_total


def test_line_search_never_lets_the_value_rise():
    optimizer = PixelOptimizer(Distance(noise(1)), noise(0), "lbfgs")
    values = [float(optimizer.value)]
    for _ in range(15):
        optimizer.step()
        values.append(float(optimizer.value))
    assert all(after < before for before, after in itertools.pairwise(values))


def test_lbfgs_returns_the_losses_of_where_it_arrived_adam_of_where_it_began():
    for method in METHODS:
        optimizer = PixelOptimizer(Distance(noise(1)), noise(0), method)
        for _ in range(4):
            before = optimizer.pixels.detach() * optimizer.unit
            losses = optimizer.step()
            after = optimizer.pixels.detach() * optimizer.unit
            stood = after if method == "lbfgs" else before
            torch.testing.assert_close(optimizer.image, stood.clamp(0, 1))
            assert losses["total"] == pytest.approx(Distance(noise(1))(stood.clamp(0, 1))["total"].item(), rel=1e-4)


def test_nothing_is_computed_twice():
    """Adam evaluates once a step, and the first step is of the start, which is known."""
    objective = Distance(noise(1))
    optimizer = PixelOptimizer(objective, noise(0), "adam")
    for _ in range(5):
        optimizer.step()
    assert objective.calls == 5


def test_best_is_the_lowest_not_the_last():
    """Adam overshoots: from 0.02 beside the minimum its first step is 0.02 long, and the next goes beyond."""
    target = torch.full((1, 3, 4, 4), 0.5)
    optimizer = PixelOptimizer(lambda image: {"total": (image - target).square().mean()}, target + 0.02, "adam")
    totals, images = [], []
    for _ in range(6):
        totals.append(optimizer.step()["total"])
        images.append(optimizer.image)
    lowest = min(range(len(totals)), key=totals.__getitem__)
    assert totals[lowest] < totals[-1]
    assert torch.equal(optimizer.best, images[lowest])
    assert optimizer.best_total == totals[lowest]


# a new objective


@pytest.mark.parametrize("method", METHODS)
def test_restarted_it_goes_on_from_the_pixels_by_the_new_loss(method):
    optimizer = PixelOptimizer(Distance(noise(1)), noise(0), method)
    for _ in range(5):
        optimizer.step()
    stood = (optimizer.pixels.detach() * optimizer.unit).clamp(0, 1)
    optimizer.objective = Distance(noise(2))
    optimizer.restart()
    torch.testing.assert_close(optimizer.image, stood)
    torch.testing.assert_close(optimizer.best, stood)
    assert optimizer.losses["total"] == pytest.approx(Distance(noise(2))(stood)["total"].item(), rel=1e-4)
    assert optimizer.best_total == optimizer.first_total == optimizer.losses["total"]
    for _ in range(10):
        optimizer.step()
    assert optimizer.best_total < optimizer.first_total


def test_restarted_adam_keeps_its_running_means():
    """With none, its first step would be down the new gradient."""
    optimizer = PixelOptimizer(lambda image: {"total": image.mean()}, 0.5 + 0.2 * noise(0), "adam")
    for _ in range(10):
        optimizer.step()
    optimizer.objective = lambda image: {"total": -image.mean()}
    optimizer.restart()
    before = optimizer.pixels.detach().clone()
    optimizer.step()
    assert (optimizer.pixels.detach() < before).all()


# interrupted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop_at", [0, 1, 4])
def test_a_state_goes_on_as_if_never_interrupted(method, stop_at, tmp_path):
    alone, interrupted = (PixelOptimizer(Distance(noise(1)), noise(0), method) for _ in range(2))
    for _ in range(stop_at):
        interrupted.step()
    torch.save(interrupted.state_dict(), tmp_path / "state.pt")
    resumed = PixelOptimizer(Distance(noise(1)), noise(3), method)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for name in ("image", "best", "gradient", "value"):
        assert torch.equal(getattr(resumed, name), getattr(interrupted, name))
    totals = [[optimizer.step()["total"] for _ in range(steps)] for optimizer, steps in ((alone, 8), (resumed, 8 - stop_at))]
    assert totals[0][stop_at:] == totals[1]
    assert torch.equal(alone.pixels, resumed.pixels)
    assert torch.equal(alone.best, resumed.best)


@pytest.mark.parametrize("method", METHODS)
def test_a_state_does_not_change_as_it_goes_on(method):
    optimizer = PixelOptimizer(Distance(noise(1)), noise(0), method)
    optimizer.step()
    state = optimizer.state_dict()
    before = {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}
    optimizer.step()
    assert before
    assert all(torch.equal(state[name], value) for name, value in before.items())


# divergence


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_start_without_a_finite_loss_is_refused(bad):
    with pytest.raises(DivergenceError):
        PixelOptimizer(lambda image: {"total": bad * image.sum()}, noise(0))


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_not_finite_any_more_is_told_and_the_best_kept(method):
    class Poisoned(Distance):
        def __call__(self, image):
            losses = super().__call__(image)
            return losses if self.calls < 9 else {name: loss * math.nan for name, loss in losses.items()}

    optimizer = PixelOptimizer(Poisoned(noise(1)), noise(0), method)
    with pytest.raises(DivergenceError):
        [optimizer.step() for _ in range(50)]
    assert torch.isfinite(optimizer.best).all()
    assert optimizer.best_total < optimizer.first_total


def test_a_gradient_that_is_not_finite_is_told():
    with pytest.raises(DivergenceError):
        PixelOptimizer(lambda image: {"total": image.sub(image).sqrt().sum()}, noise(0))


def test_adam_is_stopped_when_the_loss_has_grown_beyond_bounds():
    def objective(image):
        calls.append(1)
        return {"total": (DIVERGED * 1.2 if len(calls) == 5 else 1.0) * (1 + 0.1 * image.mean())}

    calls = []
    optimizer = PixelOptimizer(objective, noise(0), "adam")
    with pytest.raises(DivergenceError, match=f"{DIVERGED:g}"):
        [optimizer.step() for _ in range(10)]
    assert len(calls) == 5
    assert optimizer.best_total < optimizer.first_total


def test_divergence_is_an_error_of_transfer():
    assert issubclass(DivergenceError, TransferError)


# black and white pixels


def test_clip_is_a_clip():
    pixels = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1.5, math.inf, -math.inf])
    assert clip(pixels).tolist() == pixels.clamp(0, 1).tolist()
    assert math.isnan(clip(torch.tensor(math.nan)).item())


def test_clip_has_the_gradient_one_at_both_ends_and_none_outside():
    pixels = torch.tensor([-0.5, -1e-6, 0.0, 0.3, 1.0, 1 + 1e-6, 1.5], requires_grad=True)
    clip(pixels).sum().backward()
    assert pixels.grad.tolist() == [0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_pixels_are_moved(method, level):
    optimizer = PixelOptimizer(Distance(noise()), torch.full((1, 3, 8, 8), level), method)
    assert (optimizer.gradient != 0).all()
    first = optimizer.losses["total"]
    for _ in range(15):
        optimizer.step()
    assert optimizer.best_total < first / 2
    assert (optimizer.best != level).float().mean() > 0.7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_the_callers_autograd_state_does_not_matter(method, off):
    expected = PixelOptimizer(Distance(noise(1)), noise(0), method)
    objective = Distance(noise(1))
    with off():
        optimizer = PixelOptimizer(objective, noise(0), method)
        for _ in range(3):
            losses = optimizer.step()
    for _ in range(3):
        expected.step()
    assert losses == expected.losses
    assert torch.equal(optimizer.image, expected.image)
    optimizer.image.requires_grad_().sum().backward()
