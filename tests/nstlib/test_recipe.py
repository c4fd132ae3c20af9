"""What recipes have, and what they refuse."""

import dataclasses
import math

import pytest

from nstlib import ColorizerRecipe, CycleRecipe
from nstlib.colorizer import POSTER, RECIPES
from nstlib.recipe import TrainingRecipe
from nstlib.reference import ReferenceRecipe

KINDS = [TrainingRecipe, ColorizerRecipe, CycleRecipe, ReferenceRecipe]
WEIGHTS = {
    ColorizerRecipe: {"adversarial", "l1", "color", "gradient", "perceptual"},
    CycleRecipe: {"adversarial", "cycle_colors", "cycle_lines", "operator"},
    ReferenceRecipe: {"color", "matching", "position"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_can_be_used_and_not_changed(kind):
    recipe = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 1
    assert dataclasses.replace(recipe, epochs=7).epochs == 7


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_are_those_of_the_models_own_losses(kind):
    assert set(kind().weights) == WEIGHTS[kind]
    for name in WEIGHTS[kind]:
        assert kind(**{f"{name}_weight": 3}).weights[name] == 3


def test_each_model_has_its_own_settings_only():
    for name in ("dropout", "discriminator_norm", "l1_weight", "color_weight", "gradient_weight", "perceptual_weight"):
        assert hasattr(ColorizerRecipe(), name)
        with pytest.raises(TypeError, match=name):
            CycleRecipe(**{name: 0.5})
    for name in ("cycle_colors_weight", "cycle_lines_weight", "operator_weight", "pool", "noise"):
        assert hasattr(CycleRecipe(), name)
        with pytest.raises(TypeError, match=name):
            ColorizerRecipe(**{name: 1})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", 0),
        ("batch_size", "8"),
        ("generator_lr", -1),
        ("generator_lr", 0),
        ("generator_lr", math.nan),
        ("beta1", 1),
        ("beta1", -0.1),
        ("schedule", "step"),
    ],
)
def test_training_settings_out_of_range(kind, name, value):
    with pytest.raises(ValueError, match=name):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, f"{name}_weight") for kind, names in WEIGHTS.items() for name in sorted(names)]
)
@pytest.mark.parametrize("value", [-10, math.nan, math.inf, "much", None])
def test_weights_out_of_range(kind, name, value):
    with pytest.raises(ValueError, match=name):
        kind(**{name: value})


@pytest.mark.parametrize("kind", WEIGHTS)
def test_one_weight_above_0_is_needed(kind):
    nothing = {f"{name}_weight": 0 for name in WEIGHTS[kind]}
    if "adversarial_weight" in nothing:
        nothing["adversarial_every"] = 1
    with pytest.raises(ValueError, match=r"\b0\b"):
        kind(**nothing)
    for name in [name for name in nothing if name.endswith("_weight")]:
        assert sum(kind(**{**nothing, name: 1e-6}).weights.values()) == 1e-6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 0),
        ("width", 8.0),
        ("fold", 0),
        ("fold", 3),
        ("fold", 17),
        ("fold", 4.0),
        ("discriminator_lr", math.inf),
        ("discriminator_lr", 0),
        ("discriminator_lr", None),
        ("generator_steps", 0),
        ("discriminator_halvings", 0),
        ("discriminator_halvings", 6),
        ("discriminator_halvings", 2.5),
        ("adversarial_every", 0),
        ("adversarial_every", -1),
        ("adversarial_every", 1.5),
        ("output_gain", 0.0),
        ("output_gain", -1),
        ("output_gain", math.nan),
        ("dropout", 1),
        ("dropout", -0.1),
    ],
)
def test_colorizers_settings_out_of_range(name, value):
    with pytest.raises(ValueError, match=name):
        ColorizerRecipe(**{name: value})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("width", {"width": 0}),
        ("fold", {"fold": 3}),
        ("discriminator_halvings", {"discriminator_halvings": 0}),
        ("adversarial_every", {"adversarial_every": 0}),
        ("noise", {"noise": -0.1}),
        ("batch_size", {"batch_size": 1}),
        ("pool", {"pool": 0}),
        ("pool", {"batch_size": 8, "pool": 7}),
    ],
)
def test_cyclegans_settings_out_of_range(name, settings):
    with pytest.raises(ValueError, match=name):
        CycleRecipe(**settings)


def test_the_posters_recipe_is_that_of_nazeri_et_al():
    assert ColorizerRecipe() == POSTER == RECIPES["poster"]
    assert (POSTER.width, POSTER.epochs, POSTER.l1_weight, POSTER.generator_steps, POSTER.beta1) == (64, 30, 100, 2, 0)
    assert POSTER.generator_lr == 3e-4
    assert POSTER.discriminator_lr == pytest.approx(POSTER.generator_lr / 10)
    assert (POSTER.fold, POSTER.discriminator_halvings, POSTER.adversarial_every) == (1, 3, 1)
    assert RECIPES["laptop"].epochs == 30


def test_no_step_is_without_a_loss():
    with pytest.raises(ValueError, match="adversarial_every must be 1"):
        ColorizerRecipe(l1_weight=0, adversarial_every=2)
    ColorizerRecipe(l1_weight=0, adversarial_every=1)
    ColorizerRecipe(l1_weight=0, gradient_weight=1, adversarial_every=2)
