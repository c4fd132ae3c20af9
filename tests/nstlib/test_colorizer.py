"""The conditional GAN: its step is Equations (4) and (5), each loss alone teaches, and colors are learned."""

import dataclasses

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from nstlib import AnimeFrames, Colorizer, ColorizerRecipe
from nstlib.color import scaled_lab_to_rgb
from nstlib.colorizer import PERCEPTUAL_LOSSES, RECIPES
from nstlib.losses import PerceptualLoss, color_loss, image_gradient_loss
from nstlib.training import Trainer

TINY = ColorizerRecipe(width=4, epochs=2, batch_size=4, generator_lr=2e-3, discriminator_lr=2e-4)


def tiny(seed=0, **changes):
    return Colorizer("grayscale", 16, recipe=dataclasses.replace(TINY, **changes), seed=seed)


def weights(model):
    state = {**model.generator.state_dict(prefix="g."), **model.discriminator.state_dict(prefix="d.")}
    return {name: value.clone() for name, value in state.items()}


def moved(before, after):
    return {name for name, value in after.items() if not torch.equal(before[name], value)}


def test_recipes_have_names():
    assert Colorizer(size=16).recipe == RECIPES["poster"], "it is the default"
    assert Colorizer(size=32, recipe="laptop").recipe == RECIPES["laptop"]


def test_long_has_twice_the_shallow_channels_of_laptop_and_no_more_weights():
    networks = [Colorizer("canny", recipe=recipe).generator for recipe in ("laptop", "long")]
    first = [network.encoder[0][1].out_channels for network in networks]
    deepest = [network.encoder[-1][1].out_channels for network in networks]
    weights = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert (first, deepest) == ([32, 64], [256, 192])
    assert weights[1] < weights[0]


def test_networks_are_as_the_recipe_says():
    folded = dataclasses.replace(RECIPES["laptop"], width=4)
    model = Colorizer("canny", recipe=folded)
    assert (model.size, model.generator.fold, model.discriminator.fold) == (256, 4, 2)
    assert model.discriminator.patch == 68
    assert model.generator.base is None, "lines say nothing of lightness"
    plain = tiny()
    assert (plain.generator.fold, plain.discriminator.fold, plain.discriminator.patch) == (1, 1, 70)
    assert plain.generator.base is None
    assert tiny(discriminator_halvings=1).discriminator.patch == 16
    with pytest.raises(ValueError, match=r"^size .*\b32\b.*\b31$"):
        Colorizer(size=31, recipe=folded)


def test_folded_grayscale_is_the_picture_to_begin_with():
    model = Colorizer("grayscale", 64, recipe=dataclasses.replace(TINY, fold=4))
    torch.nn.init.zeros_(model.generator.output.weight)
    gray = torch.linspace(0, 1, 64 * 80).view(1, 1, 64, 80)
    torch.testing.assert_close(model.colorize(gray), gray.expand(-1, 3, -1, -1), rtol=0, atol=0.01)
    torch.nn.init.constant_(model.generator.output.bias, 0.1)
    assert (model.colorize(gray) - gray).abs().max() > 0.03, "what the network gives is added"


# one step


def test_losses_are_equations_4_and_5(batch, frames, fabric):
    """Against the formulas with log and sigmoid written out, on the networks as they were before the step."""
    model, again = tiny(dropout=0.0), tiny(dropout=0.0)
    condition, colors = again.inputs(batch)
    generator, discriminator = again.generator.train(), again.discriminator.train()
    fake = generator(condition)
    of_real, of_fake = discriminator(condition, colors).sigmoid(), discriminator(condition, fake).sigmoid()
    eq5 = of_real.log().mean() + (1 - of_fake).log().mean()  # not halved
    losses = model.training_step(batch, Trainer(model, frames, fabric=fabric))
    assert set(losses) == {"l1", "adversarial", "discriminator"}
    assert losses["discriminator"].item() == pytest.approx(-eq5.item(), rel=1e-4)
    assert losses["l1"].item() == pytest.approx(l1_loss(fake, colors).item(), rel=1e-4)

    # the discriminator that teaches the generator has taken its own step; without one it is as it was
    model, again = tiny(dropout=0.0), tiny(dropout=0.0)
    trainer = Trainer(model, frames, fabric=fabric)
    trainer.step = 1  # not the discriminator's turn
    of_fake = again.discriminator.train()(condition, again.generator.train()(condition))
    losses = model.training_step(batch, trainer)
    assert set(losses) == {"l1", "adversarial"}
    expected = binary_cross_entropy_with_logits(of_fake, torch.ones_like(of_fake))
    assert losses["adversarial"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_step_moves_what_it_should(batch, frames, fabric):
    model = tiny()
    trainer = Trainer(model, frames, fabric=fabric)
    before = weights(model)
    trainer.step = 1
    model.training_step(batch, trainer)
    after = weights(model)
    learned = {f"d.{name}" for name, _ in model.discriminator.named_parameters()}
    found = moved(before, after)
    assert any(name.startswith("g.") and name.endswith("weight") for name in found)
    assert not found & learned, "the generator's step leaves the discriminator as it is"
    trainer.step = 2
    model.training_step(batch, trainer)
    assert moved(after, weights(model)) >= learned
    assert all(p.requires_grad for p in model.discriminator.parameters())


def test_without_the_adversarial_loss_there_is_no_discriminator(batch, frames, fabric):
    model = tiny(adversarial_weight=0.0)
    before = weights(model)
    losses = model.training_step(batch, Trainer(model, frames, fabric=fabric))
    assert set(losses) == {"l1"}
    assert not {name for name in moved(before, weights(model)) if name.startswith("d.")}


@pytest.mark.parametrize(
    ("every", "generator_steps", "gan", "discriminator"),
    [(4, 1, {0, 4, 8}, {0, 4, 8}), (2, 2, {0, 2, 4, 6, 8}, {0, 4, 8}), (1, 3, set(range(9)), {0, 3, 6})],
)
def test_the_gans_part_of_a_step_is_taken_once_in_so_many(batch, frames, fabric, every, generator_steps, gan, discriminator):
    model = tiny(adversarial_every=every, generator_steps=generator_steps)
    trainer = Trainer(model, frames, fabric=fabric)
    learned = {f"d.{name}" for name, _ in model.discriminator.named_parameters()}
    for step in range(9):
        before = weights(model)
        losses = trainer.advance(batch)
        found = moved(before, weights(model))
        expected = {"l1"} | ({"adversarial"} if step in gan else set())
        assert set(losses) == expected | ({"discriminator"} if step in discriminator else set()), step
        assert found & learned == (learned if step in discriminator else set()), step
        assert any(name.startswith("g.") for name in found), "the generator learns in every step"
        if step not in gan:
            assert not any(name.startswith("d.") for name in found), "nor does batch norm see anything"


def test_losses_of_the_steps_that_had_them_are_on_record(frames):
    """The mean over those steps: the others do not count as 0."""
    noted = []

    class Noting(Colorizer):
        def training_step(self, frames, trainer):
            losses = super().training_step(frames, trainer)
            noted.append({name: value.item() for name, value in losses.items()})
            return losses

    recipe = dataclasses.replace(TINY, epochs=1, adversarial_every=4, generator_steps=1)
    (entry,) = Noting("grayscale", 16, recipe=recipe).fit(frames, progress=False)
    for name in ("adversarial", "discriminator", "l1"):
        values = [losses[name] for losses in noted if name in losses]
        assert len(values) == (8 if name == "l1" else 2)
        assert entry[name] == pytest.approx(sum(values) / len(values), rel=1e-5)


@pytest.mark.parametrize("distance", PERCEPTUAL_LOSSES)
def test_losses_beyond_the_posters_are_those_of_the_images(batch, frames, fabric, distance):
    settings = {f"{name}_weight": 1.0 for name in ("perceptual", "gradient", "color")}
    settings |= {"perceptual_distance": distance, "perceptual_frames": 3}
    model, again = (tiny(**settings, dropout=0.0) for _ in range(2))
    condition, real = again.inputs(batch)
    fake = again.generator.train()(condition).detach()
    losses = model.training_step(batch, Trainer(model, frames, fabric=fabric))
    images = (scaled_lab_to_rgb(image[:3], clip=False) for image in (fake, real))
    expected = PerceptualLoss(**PERCEPTUAL_LOSSES[distance])(*images).item()
    assert losses["perceptual"].item() == pytest.approx(expected, rel=0.02)
    assert losses["gradient"].item() == pytest.approx(image_gradient_loss(fake, real).item(), rel=1e-3)
    assert losses["color"].item() == pytest.approx(color_loss(fake, real).item(), rel=1e-3)


@pytest.mark.parametrize("alone", sorted(TINY.weights))
def test_each_loss_alone_teaches_the_generator(batch, frames, fabric, alone):
    nothing = {f"{name}_weight": 0.0 for name in TINY.weights}
    model = tiny(**{**nothing, f"{alone}_weight": 1.0})
    before = weights(model)
    losses = model.training_step(batch, Trainer(model, frames, fabric=fabric))
    assert alone in losses
    learned = {f"g.{name}" for name, _ in model.generator.named_parameters() if not name.endswith("bias")}
    assert learned <= moved(before, weights(model))


def test_colors_that_cannot_be_shown_are_led_back():
    """The perceptual loss sees colors unclipped: clipped, they would have no gradient."""
    blue = torch.tensor([0.9, 0.0, -0.9])[None, :, None, None].expand(1, 3, 2, 2).clone().requires_grad_(True)
    shown = scaled_lab_to_rgb(blue, clip=False)
    assert shown.max() > 1, "brighter than blue can be"
    shown.clamp(min=1).sum().backward()  # what is above 1
    assert (blue.grad[:, 0] > 0).all(), "less light lowers it"


# learning


def test_learns_to_color_a_few_frames():
    """The loss falls, and the colors come near the truth, on a dataset of four frames."""
    model = tiny(epochs=25, width=8, dropout=0.0, schedule="one-cycle", generator_lr=1e-2)
    few = AnimeFrames("train", 16, 4)
    before = model.evaluate(few)["accuracy_5"].mean()
    history = model.fit(few, frames_per_epoch=32, progress=False)
    assert history[-1]["l1"] < 0.4 * history[0]["l1"]
    assert model.evaluate(few)["accuracy_5"].mean() > before + 0.2


@pytest.mark.parametrize("condition", ["grayscale", "canny"])
def test_the_laptops_recipe_learns_to_color_a_few_frames(condition):
    recipe = dataclasses.replace(RECIPES["laptop"], width=8, epochs=12, batch_size=4)
    model, few = Colorizer(condition, 32, recipe=recipe), AnimeFrames("train", 32, 4)
    before = model.evaluate(few)["accuracy_ab_5"].mean()
    history = model.fit(few, frames_per_epoch=64, progress=False)
    assert history[-1]["l1"] < 0.6 * history[0]["l1"]
    assert model.evaluate(few)["accuracy_ab_5"].mean() > before + 0.1
