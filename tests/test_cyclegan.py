"""CycleGAN: its step is the paper's equations, its loop is the colorizer's."""

import dataclasses

import pytest
import torch
from torch.nn.functional import l1_loss

from nstlib.color import rgb_to_lab, scale_lab
from nstlib.colorizer import Colorizer, ColorizerError, Recipe, Training
from nstlib.cyclegan import CycleGAN, CycleRecipe, Discriminators, as_lab
from nstlib.images import ImageError

TINY = CycleRecipe(width=4, blocks=1, epochs=2, batch_size=4, pool=8)


def tiny(seed=0, **changes):
    return CycleGAN("canny", 16, recipe=dataclasses.replace(TINY, **changes), seed=seed)


def weights(model):
    networks = {"g": model.generator, "d": model.discriminator}
    return {f"{n}.{name}": value.clone() for n, network in networks.items() for name, value in network.state_dict().items()}


def test_losses_are_the_papers(batch, fabric):
    model, again = tiny(), tiny()
    condition, colors = again.inputs(batch)
    lines, colors = as_lab(condition[:2]), colors[2:]
    g, f = again.generator.colorize, again.generator.draw
    losses = model.training_step(batch, Training(model, fabric, 32, 32))
    cycle = l1_loss(f(g(lines)), lines) + l1_loss(g(f(colors)), colors)  # Eq. (2)
    identity = l1_loss(g(colors), colors) + l1_loss(f(lines), lines)  # section 5.2
    assert losses["cycle"].item() == pytest.approx(cycle.item(), rel=1e-4)
    assert losses["identity"].item() == pytest.approx(identity.item(), rel=1e-4)
    d_colors, d_lines = again.discriminator.train().colors, again.discriminator.lines
    expected = (d_colors(colors) - 1).square().mean() + d_colors(g(lines)).square().mean()
    expected = (expected + (d_lines(lines) - 1).square().mean() + d_lines(f(colors)).square().mean()) / 4
    assert losses["discriminator"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert set(losses) == {"discriminator", "adversarial", "cycle", "identity"}


def test_no_frame_is_seen_with_its_own_lines(batch, fabric):
    """The colours of the first half and the lines of the second have no part in it."""
    results = []
    for other in (batch, torch.cat([batch[:2], batch[2:].roll(1, 1)])):
        model = tiny()
        drawn = as_lab(model.inputs(other)[0][:2])
        results.append((drawn, model.training_step(other, Training(model, fabric, 32, 32))["cycle"]))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] != results[1][1], "the colours of the second half do"


def test_a_step_moves_all_four_networks(batch, fabric):
    model = tiny()
    before = weights(model)
    model.training_step(batch, Training(model, fabric, 32, 32))
    moved = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    for part in ("g.colorize", "g.draw", "d.colors.", "d.lines."):
        assert any(name.startswith(part) and name.endswith("weight") for name in moved), part


def test_the_pool_gives_back_earlier_paintings():
    torch.manual_seed(0)
    judges = Discriminators(TINY, 8)
    numbered = [torch.full((2, 3, 8, 8), float(i)) for i in range(1, 30)]
    shown = [judges.remembered(images, -images) for images in numbered]
    for images, (colorized, drawn) in list(zip(numbered, shown, strict=True))[:4]:
        assert torch.equal(colorized, images), "while it fills, what is given"
        assert torch.equal(drawn, -images)
    later = [(i, float(image.mean())) for i, (colorized, _) in enumerate(shown[4:], start=5) for image in colorized]
    earlier = [value < i for i, value in later]
    assert 0.25 < sum(earlier) / len(earlier) < 0.75
    assert all(value <= i for i, value in later)
    assert int(judges.filled) == 8


def test_resumed_it_ends_with_the_same_weights(frames, tmp_path):
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
    expected, found = weights(alone), weights(again)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_draws_what_the_other_generator_makes_of_colours(batch):
    model = tiny()
    drawn = model.draw(batch[:2])
    colors = scale_lab(rgb_to_lab(batch[:2]))
    assert drawn.shape == (2, 1, *batch.shape[2:])
    expected = model.generator.eval().draw(colors)[:, :1].clamp(-1, 1)
    assert torch.allclose(drawn * 2 - 1, expected, atol=1e-5)
    assert 0 <= drawn.min() < drawn.max() <= 1
    with pytest.raises(ImageError):
        model.draw(batch[:, :1])


def test_paints_saves_and_loads(tmp_path):
    model = tiny()
    condition = torch.rand(2, 1, 16, 20)
    painted = model.colorize(condition)
    assert painted.shape == (2, 3, 16, 20)
    model.save(tmp_path / "c.safetensors")
    loaded = CycleGAN.load(tmp_path / "c.safetensors")
    assert loaded.recipe == model.recipe
    assert (loaded.colorize(condition) - painted).abs().mean() < 0.01
    with pytest.raises(ColorizerError, match="not a colorizer that this version can read"):
        Colorizer.load(tmp_path / "c.safetensors")


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"pool": 3}])
def test_a_recipe_that_cannot_be(changes):
    with pytest.raises(ValueError, match="pool"):
        dataclasses.replace(TINY, **changes)


def test_a_recipe_of_another_kind():
    with pytest.raises(ValueError, match="CycleRecipe"):
        CycleGAN(recipe=Recipe())
