"""CycleGAN: its step is the paper's equations, its pool shows earlier fakes, its other direction draws."""

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from nstlib.color import rgb_to_lab, scale_lab
from nstlib.cyclegan import CycleGAN, CycleRecipe, Discriminators, Generators, ImagePool
from nstlib.images import ImageError
from nstlib.training import Trainer

TINY = CycleRecipe(width=4, fold=1, epochs=2, batch_size=4, pool=8, adversarial_every=1)
LEARNED = dataclasses.replace(TINY, operator_weight=0.0, noise=0.0)  # the way back, too, as in the paper


def tiny(recipe=TINY, seed=0, **changes):
    return CycleGAN("canny", 16, recipe=dataclasses.replace(recipe, **changes), seed=seed)


def weights(model):
    state = {**model.generator.state_dict(prefix="g."), **model.discriminator.state_dict(prefix="d.")}
    return {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}


def moved(before, after):
    return {name for name, value in after.items() if not torch.equal(before[name], value)}


def step(model, batch, frames, fabric):
    return model.training_step(batch, Trainer(model, frames, fabric=fabric))


# one step


def test_learned_both_ways_the_losses_are_the_papers(batch, frames, fabric):
    model, again = tiny(LEARNED), tiny(LEARNED)
    condition, colors = again.inputs(batch)
    lines, colors = condition[:2], colors[2:]
    g = again.generator.train().to_colors

    def f(colors):
        return 2 * again.generator.to_lines(colors).sigmoid() - 1

    fake_colors, fake_lines = g(lines), f(colors)
    losses = step(model, batch, frames, fabric)
    assert set(losses) == {"discriminator", "adversarial", "cycle_colors", "cycle_lines"}
    assert losses["cycle_colors"].item() == pytest.approx(l1_loss(g(fake_lines), colors).item(), rel=1e-3)
    back = (f(fake_colors) + 1) / 2
    white = (lines + 1) / 2
    expected = -(white * back.log() + (1 - white) * (1 - back).log()).mean()
    assert losses["cycle_lines"].item() == pytest.approx(expected.item(), rel=1e-3)
    d = again.discriminator.train()
    expected = (d(colors, "colors") - 1).square().mean() + d(fake_colors, "colors").square().mean()
    expected = (expected + (d(lines, "lines") - 1).square().mean() + d(fake_lines, "lines").square().mean()) / 4
    assert losses["discriminator"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_with_a_known_way_back_the_operator_teaches_it(batch, frames, fabric):
    model, again = tiny(noise=0.0), tiny()
    condition, colors = again.inputs(batch)
    losses = step(model, batch, frames, fabric)
    assert set(losses) == {"discriminator", "adversarial", "cycle_colors", "cycle_lines", "operator"}
    drawn = again.generator.train()(colors[2:], "to_lines")
    expected = binary_cross_entropy_with_logits(drawn, (condition[2:] + 1) / 2)
    assert losses["operator"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_with_a_known_way_back_no_other_loss_changes_it(batch, frames, fabric):
    results = []
    for changes in ({}, {"cycle_lines_weight": 0.0, "cycle_colors_weight": 1.0, "adversarial_weight": 0.0}):
        model = tiny(**changes)
        before = weights(model)
        step(model, batch, frames, fabric)
        after = weights(model)
        assert moved(before, after)
        results.append({name: value for name, value in after.items() if name.startswith("g.to_lines")})
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    learned = tiny(LEARNED, adversarial_weight=0.0, cycle_lines_weight=0.0)
    before = weights(learned)
    step(learned, batch, frames, fabric)
    assert "g.to_lines.layers.0.weight" in moved(before, weights(learned)), "in the paper the colors' cycle does"


def test_colors_are_drawn_in_black_and_white(batch, frames, fabric, monkeypatch):
    """No gray in which a code could hide."""
    seen = []
    forward = Generators.forward
    monkeypatch.setattr(
        Generators,
        "forward",
        lambda self, image, direction="to_colors": seen.append((direction, image)) or forward(self, image, direction),
    )
    step(tiny(), batch, frames, fabric)
    conditions = [image for direction, image in seen if direction == "to_colors"]
    assert len(conditions) == 2
    assert set(conditions[1].unique().tolist()) <= {-1.0, 1.0}
    assert not conditions[1].requires_grad


def test_noise_lies_on_fake_colors_before_lines_are_read(batch, frames, fabric):
    quiet, loud = (step(tiny(noise=noise), batch, frames, fabric) for noise in (0.0, 5.0))
    assert quiet["cycle_lines"] != loud["cycle_lines"]
    assert quiet["operator"] == loud["operator"], "true colors stay as they are"


def test_no_frame_is_seen_with_its_own_lines(batch, frames, fabric):
    """The colors of the first half have no part in it."""
    other = torch.cat([batch[:2], batch[2:]])
    model = tiny(noise=0.0)
    lines = model.inputs(batch)[0]
    torch.manual_seed(0)
    expected = step(model, batch, frames, fabric)

    class Recolored(CycleGAN):
        def inputs(self, frames):
            condition, colors = super().inputs(frames)
            return condition, torch.cat([-colors[:2], colors[2:]])

    torch.manual_seed(0)
    found = step(Recolored("canny", 16, recipe=dataclasses.replace(TINY, noise=0.0)), other, frames, fabric)
    assert found == expected
    assert lines.shape == (4, 1, 16, 16)


@pytest.mark.parametrize("recipe", [TINY, LEARNED], ids=["known", "learned"])
def test_a_step_moves_every_network(batch, frames, fabric, recipe):
    model = tiny(recipe)
    before = weights(model)
    step(model, batch, frames, fabric)
    found = moved(before, weights(model))
    kinds = ["colors"] if recipe is TINY else ["colors", "lines"]
    assert list(model.discriminator.kinds) == list(model.discriminator.pools) == kinds
    for part in ("g.to_colors.", "g.to_lines.", *(f"d.kinds.{kind}." for kind in kinds)):
        assert any(name.startswith(part) and "weight" in name for name in found), part


def test_without_the_adversarial_loss_the_discriminators_rest(batch, frames, fabric):
    model = tiny(adversarial_weight=0)
    trainer = Trainer(model, frames, fabric=fabric)
    before = weights(model)
    assert set(trainer.advance(batch)) == {"cycle_colors", "cycle_lines", "operator"}
    found = moved(before, weights(model))
    assert found
    assert not {name for name in found if name.startswith("d.")}
    assert all(pool.images is None for pool in model.discriminator.pools.values())


def test_the_gan_takes_its_turn(batch, frames, fabric):
    model = tiny(adversarial_every=2)
    trainer = Trainer(model, frames, fabric=fabric)
    assert ["adversarial" in trainer.advance(batch) for _ in range(4)] == [True, False, True, False]
    with pytest.raises(ValueError, match="adversarial_every must be 1"):
        dataclasses.replace(
            TINY, **{f"{name}_weight": float(name == "adversarial") for name in TINY.weights}, adversarial_every=2
        )


# training


def test_frames_need_not_be_square():
    frames = list(torch.rand(8, 3, 16, 24, generator=torch.Generator().manual_seed(0)))
    model = tiny(epochs=2)
    history = model.fit(frames, validation=frames[:3], progress=False)
    assert len(history) == 2
    assert all(math.isfinite(value) for entry in history for value in entry.values())
    assert model.discriminator.pools["colors"].images.shape == (8, 3, 16, 24)


def test_an_odd_batch_has_one_more_for_its_colors(frames, fabric):
    model = tiny(LEARNED, batch_size=3)
    batch = torch.stack([frames[i] for i in range(3)])
    Trainer(model, frames, fabric=fabric).advance(batch)
    assert [len(model.discriminator.pools[kind].images) for kind in ("colors", "lines")] == [1, 2]


def test_resumed_it_ends_with_the_same_weights(frames, tmp_path):
    """The pools are part of what a checkpoint holds."""
    alone = tiny(LEARNED, epochs=3)
    alone.fit(frames, progress=False)

    class Stopped(Exception):
        pass

    def stop(model):
        if len(model.history) == 1:
            raise Stopped

    with pytest.raises(Stopped):
        tiny(LEARNED, epochs=3).fit(frames, folder=tmp_path, progress=False, callback=stop)
    again = tiny(LEARNED, epochs=3)
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
    discriminator, again = Discriminators(LEARNED), Discriminators(LEARNED)
    discriminator.pools["lines"].query(numbered(0))
    torch.save(discriminator.state_dict(), tmp_path / "d.pt")
    again.load_state_dict(torch.load(tmp_path / "d.pt", weights_only=True))
    assert values(again.pools["lines"].images) == [0, 1]
    assert again.pools["colors"].images is None
    assert again.pools["colors"].capacity == TINY.pool


# the generators


def test_each_direction_has_its_own_generator():
    generators = Generators(16, TINY).eval()
    lines, colors = torch.rand(1, 1, 16, 20) * 2 - 1, torch.rand(1, 3, 16, 20) * 2 - 1
    assert torch.equal(generators(lines), generators.to_colors(lines))
    assert torch.equal(generators(colors, "to_lines"), generators.to_lines(colors))


def test_draws_what_the_other_generator_makes_of_colors(batch):
    model = tiny()
    lines = model.draw(batch[:2])
    assert lines.shape == (2, 1, *batch.shape[2:])
    expected = model.generator.eval().to_lines(scale_lab(rgb_to_lab(batch[:2]))).sigmoid()
    assert torch.allclose(lines, expected, atol=1e-5)
    assert 0 <= lines.min() < lines.max() <= 1
    with pytest.raises(ImageError, match="4, 1, 16, 16"):
        model.draw(batch[:, :1])
