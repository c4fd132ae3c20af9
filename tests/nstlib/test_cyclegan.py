"""CycleGAN: its step is the paper's equations, its pool shows earlier fakes, its other direction draws."""

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import l1_loss

from nstlib.color import rgb_to_lab, scale_lab
from nstlib.cyclegan import CycleGAN, CycleRecipe, Discriminators, Generators, ImagePool, as_lab
from nstlib.images import ImageError
from nstlib.training import Trainer

TINY = CycleRecipe(width=4, blocks=1, epochs=2, batch_size=4, pool=8)


def tiny(seed=0, **changes):
    return CycleGAN("canny", 16, recipe=dataclasses.replace(TINY, **changes), seed=seed)


def weights(model):
    state = {**model.generator.state_dict(prefix="g."), **model.discriminator.state_dict(prefix="d.")}
    return {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}


def moved(before, after):
    return {name for name, value in after.items() if not torch.equal(before[name], value)}


# one step


def test_losses_are_the_papers(batch, frames, fabric):
    model, again = tiny(), tiny()
    condition, colors = again.inputs(batch)
    lines, colors = as_lab(condition[:2]), colors[2:]
    g, f = again.generator.to_colors, again.generator.to_lines
    losses = model.training_step(batch, Trainer(model, frames, fabric=fabric))
    assert set(losses) == {"discriminator", "adversarial", "cycle", "identity"}
    cycle = l1_loss(f(g(lines)), lines) + l1_loss(g(f(colors)), colors)  # Eq. (2)
    identity = l1_loss(g(colors), colors) + l1_loss(f(lines), lines)  # section 5.2
    assert losses["cycle"].item() == pytest.approx(cycle.item(), rel=1e-4)
    assert losses["identity"].item() == pytest.approx(identity.item(), rel=1e-4)
    d_colors, d_lines = again.discriminator.train().colors, again.discriminator.lines
    expected = (d_colors(colors) - 1).square().mean() + d_colors(g(lines)).square().mean()
    expected = (expected + (d_lines(lines) - 1).square().mean() + d_lines(f(colors)).square().mean()) / 4
    assert losses["discriminator"].item() == pytest.approx(expected.item(), rel=1e-4)

    # without a step of theirs, the discriminators that teach the generators are as they were
    model, again = tiny(), tiny()
    trainer = Trainer(model, frames, fabric=fabric)
    again.discriminator.train()
    expected = (again.discriminator(again.generator(lines, "to_colors"), "colors") - 1).square().mean()
    expected += (again.discriminator(again.generator(colors, "to_lines"), "lines") - 1).square().mean()
    trainer.discriminator_optimizer.param_groups[0]["lr"] = 0.0
    assert model.training_step(batch, trainer)["adversarial"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_no_frame_is_seen_with_its_own_lines(batch, frames, fabric):
    """The colors of the first half and the lines of the second have no part in it."""
    results = []
    for other in (batch, torch.cat([batch[:2], batch[2:].roll(1, 1)])):
        model = tiny()
        lines = as_lab(model.inputs(other)[0][:2])
        results.append((lines, model.training_step(other, Trainer(model, frames, fabric=fabric))["cycle"]))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] != results[1][1], "the colors of the second half do"


def test_a_step_moves_all_four_networks(batch, frames, fabric):
    model = tiny()
    before = weights(model)
    model.training_step(batch, Trainer(model, frames, fabric=fabric))
    found = moved(before, weights(model))
    for part in ("g.to_colors.", "g.to_lines.", "d.colors.", "d.lines."):
        assert any(name.startswith(part) and name.endswith("weight") for name in found), part


def test_without_the_adversarial_loss_there_are_no_discriminators(batch, frames, fabric):
    model = tiny(adversarial_weight=0, cycle_weight=10)
    trainer = Trainer(model, frames, fabric=fabric)
    before = weights(model)
    assert set(trainer.advance(batch)) == {"cycle", "identity"}
    found = moved(before, weights(model))
    assert found
    assert not {name for name in found if name.startswith("d.")}
    assert all(pool.images is None for pool in model.discriminator.pools.values())


@pytest.mark.parametrize("alone", sorted(TINY.weights))
def test_each_loss_alone_teaches_both_generators(batch, frames, fabric, alone):
    nothing = {f"{name}_weight": 0.0 for name in TINY.weights}
    model = tiny(**{**nothing, f"{alone}_weight": 1.0})
    before = weights(model)
    model.training_step(batch, Trainer(model, frames, fabric=fabric))
    last = [name for name in before if name.startswith("g.") and name.endswith("weight")]
    assert set(last) <= moved(before, weights(model))


# training


def test_frames_need_not_be_square():
    frames = list(torch.rand(8, 3, 16, 24, generator=torch.Generator().manual_seed(0)))
    model = tiny(epochs=2)
    history = model.fit(frames, validation=frames[:3], progress=False)
    assert len(history) == 2
    assert all(math.isfinite(value) for entry in history for value in entry.values())
    assert {tuple(pool.images.shape) for pool in model.discriminator.pools.values()} == {(8, 3, 16, 24)}


def test_an_odd_batch_has_one_more_for_its_colors(frames, fabric):
    model = tiny(batch_size=3)
    batch = torch.stack([frames[i] for i in range(3)])
    Trainer(model, frames, fabric=fabric).advance(batch)
    assert [len(model.discriminator.pools[kind].images) for kind in ("colors", "lines")] == [1, 2]


def test_resumed_it_ends_with_the_same_weights(frames, tmp_path):
    """The pools are part of what a checkpoint holds."""
    alone = tiny(epochs=3)
    alone.fit(frames, progress=False)

    class Stopped(Exception):
        pass

    def stop(model):
        if len(model.history) == 1:
            raise Stopped

    with pytest.raises(Stopped):
        tiny(epochs=3).fit(frames, folder=tmp_path, progress=False, callback=stop)
    again = tiny(epochs=3)
    again.fit(frames, folder=tmp_path, progress=False)
    assert not moved(weights(alone), weights(again))
    for kind, pool in alone.discriminator.pools.items():
        assert torch.equal(pool.images, again.discriminator.pools[kind].images)


# the pool


def numbered(first, count=2, size=4):
    """Images of one value each: first, first + 1, ..."""
    return torch.arange(first, first + count).float()[:, None, None, None].expand(-1, 3, size, size + 2)


def values(images):
    assert all(image.min() == image.max() for image in images), "images stay whole"
    return [int(image[0, 0, 0]) for image in images]


@pytest.mark.parametrize("capacity", [8, 5, 2])
def test_while_the_pool_fills_it_gives_what_it_is_given(capacity):
    pool, held = ImagePool(capacity), []
    for first in range(0, capacity, 2):
        images = numbered(first)
        assert torch.equal(pool.query(images), images)
        held += values(images)
        assert values(pool.images) == held[:capacity]


@pytest.mark.parametrize("capacity", [8, 5, 2])
def test_then_half_of_the_images_are_earlier_ones(capacity):
    torch.manual_seed(0)
    pool = ImagePool(capacity)
    for first in range(0, capacity, 2):
        pool.query(numbered(first))
    start, count, earlier, ages = capacity + capacity % 2, 600, 0, []
    for first in range(start, start + count, 2):
        before = values(pool.images)
        given = list(range(first, first + 2))
        shown = values(pool.query(numbered(first)))
        after = values(pool.images)
        for mine, other in zip(given, shown, strict=True):
            assert other == mine or other in before, "each image is itself or an earlier one"
            earlier += other != mine
            ages.append(mine - other)
        assert len(after) == capacity
        assert sorted(after + shown) == sorted(before + given), "what is shown in another's place gives it that place"
    assert earlier / count == pytest.approx(0.5, abs=0.08)
    assert max(ages) > capacity


def test_what_was_given_does_not_change():
    torch.manual_seed(0)
    pool, images = ImagePool(2), [numbered(first).clone() for first in range(0, 20, 2)]
    for first, given in zip(range(0, 20, 2), images, strict=True):
        pool.query(given)
        assert torch.equal(given, numbered(first))
    assert all(torch.equal(given, numbered(first)) for first, given in zip(range(0, 20, 2), images, strict=True))


def test_a_state_keeps_the_pool():
    torch.manual_seed(0)
    pool = ImagePool(4)
    again = ImagePool(4)
    again.load_state_dict(pool.state_dict())
    assert again.images is None
    pool.query(numbered(0))
    pool.query(numbered(2))
    again.load_state_dict(pool.state_dict())
    assert values(again.images) == [0, 1, 2, 3]
    results = []
    for one in (pool, again):
        torch.manual_seed(5)
        results.append([values(one.query(numbered(first))) for first in range(4, 40, 2)])
    assert results[0] == results[1], "neither changes the other's"
    assert values(pool.images) == values(again.images)


def test_discriminators_keep_a_pool_of_either_kind(tmp_path):
    discriminator, again = Discriminators(TINY), Discriminators(TINY)
    discriminator.pools["lines"].query(numbered(0))
    torch.save(discriminator.state_dict(), tmp_path / "d.pt")
    again.load_state_dict(torch.load(tmp_path / "d.pt", weights_only=True))
    assert values(again.pools["lines"].images) == [0, 1]
    assert again.pools["colors"].images is None
    assert again.pools["colors"].capacity == TINY.pool


# the generators


def test_each_direction_has_its_own_generator():
    generators = Generators(TINY).eval()
    image = torch.rand(1, 3, 16, 20) * 2 - 1
    for direction in ("to_colors", "to_lines"):
        assert torch.equal(generators(image, direction), getattr(generators, direction)(image))
    assert not torch.equal(generators(image, "to_colors"), generators(image, "to_lines"))
    lines = image[:, :1]
    assert torch.equal(generators(lines), generators.to_colors(as_lab(lines)))


def test_lines_are_lightness_without_color():
    lines = torch.rand(2, 1, 4, 5)
    image = as_lab(lines)
    assert torch.equal(image[:, :1], lines)
    assert image.shape == (2, 3, 4, 5)
    assert not image[:, 1:].any()
    assert as_lab(image) is image


def test_draws_what_the_other_generator_makes_of_colors(batch):
    model = tiny()
    lines = model.draw(batch[:2])
    colors = scale_lab(rgb_to_lab(batch[:2]))
    assert lines.shape == (2, 1, *batch.shape[2:])
    expected = model.generator.eval().to_lines(colors)[:, :1].clamp(-1, 1)
    assert torch.allclose(lines * 2 - 1, expected, atol=1e-5)
    assert 0 <= lines.min() < lines.max() <= 1
    with pytest.raises(ImageError, match="4, 1, 16, 16"):
        model.draw(batch[:, :1])
