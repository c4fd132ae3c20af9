"""Variants: each differs from the poster's recipe in what its name says; weights are those that tuning chose."""

from dataclasses import fields, replace

import pytest
import torch

from experiments import report, table1, variants
from experiments.profiles import PROFILES
from experiments.table1 import TEST_SEED
from experiments.variants import MEDICAL_SIZE, SMALL, VARIANTS, build, datasets, shipped
from nstlib.assets import asset_path
from nstlib.colorizer import RECIPES, Colorizer
from nstlib.cyclegan import CycleGAN, CycleRecipe

CHANGES = {  # end of the name -> changed settings
    "l1-gan": set(),
    "l1": {"adversarial_weight"},
    "perceptual-gan": {"l1_weight", "perceptual_weight"},
    "l1-perceptual-gan": {"perceptual_weight"},
    "gradient": {"gradient_weight"},
    "gradient-perceptual": {"gradient_weight", "perceptual_weight"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_in_what_its_name_says(name):
    variant = VARIANTS[name]
    recipe, poster = (
        variant.recipe(30),
        SMALL if variant.group == "small" else shipped(f"colorizer-{variant.condition.operator}").recipe,
    )
    assert variant.condition.operator in name or name.startswith("sobel-lines")
    if variant.model is CycleGAN:
        assert recipe == replace(CycleRecipe(), epochs=30)
        return
    different = {f.name for f in fields(recipe) if getattr(recipe, f.name) != getattr(poster, f.name)}
    loss = max((end for end in CHANGES if name.endswith(end)), key=len, default=None)
    assert different == (CHANGES[loss] if loss else {"generator_lr"})


def test_small_frames_are_not_folded():
    different = {f.name for f in fields(SMALL) if getattr(SMALL, f.name) != getattr(RECIPES["laptop"], f.name)}
    assert different == {
        "batch_size",
        "fold",
        "discriminator_halvings",
        "discriminator_norm",
        "generator_lr",
        "discriminator_lr",
        "beta2",
        "adversarial_every",
        "generator_steps",
    }
    for setting in different - {"generator_lr", "discriminator_lr"}:  # the poster's instead
        assert getattr(SMALL, setting) == getattr(RECIPES["poster"], setting)
    for name, variant in VARIANTS.items():
        if variant.model is not CycleGAN:
            assert (variant.recipe(1).fold == 1) == (variant.group == "small"), name


def test_small_frames_have_their_lines_found_at_twice_the_size():
    for name, variant in VARIANTS.items():
        if variant.group != "small":  # frames as large as those of the shipped colorizers
            assert variant.condition.config() == table1.CONDITIONS[variant.condition.operator].config(), name
        elif variant.condition.operator != "grayscale":
            assert variant.condition.supersample == 2, name


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_built_in_every_profile(name, profile):
    variant = VARIANTS[name]
    size = profile.ablation_size if variant.group == "small" else MEDICAL_SIZE
    with torch.device("meta"):  # shapes alone
        model = build(replace(variant, start=None), size, 1, seed=0)
        assert model.generator(torch.zeros(2, 1, size, size)).shape == (2, 3, size, size)


def test_weights_are_those_that_tuning_chose():
    tuning = report.read(report.TUNING)
    for name, chosen in (("perceptual", variants.PERCEPTUAL_WEIGHT), ("gradient", variants.GRADIENT_WEIGHT)):
        poster = tuning[name]["0"]["accuracy"]
        assert chosen == max(float(weight) for weight, found in tuning[name].items() if found["accuracy"] > 0.98 * poster)
    for name, chosen in (("perceptual-gan", variants.PERCEPTUAL_WEIGHT), ("start", SMALL.output_gain)):
        accuracy = {float(value): found["accuracy"] for value, found in tuning[name].items()}
        assert max(accuracy, key=accuracy.get) == chosen


def test_all_choices_are_on_record():
    found = {name: tuple(map(float, values)) for name, values in report.read(report.TUNING).items()}
    assert found == {name: tuning.choices for name, tuning in variants.TUNED.items()}


def test_every_notebook_has_its_variants():
    assert {variant.notebook for variant in VARIANTS.values()} == {"09", "10", "11", "12"}
    assert sum(variant.share is not None for variant in VARIANTS.values()) == 2 * 2 * 3 + 2 * 2
    assert set(variants.LINE_ART.values()) <= set(VARIANTS)


def test_fine_tuning_begins_with_the_shipped_weights():
    anime = Colorizer.load(asset_path("colorizer-grayscale")).generator.state_dict()
    tuned = build(VARIANTS["medical-grayscale-anime-100"], MEDICAL_SIZE, 1, seed=5).generator.state_dict()
    scratch = build(VARIANTS["medical-grayscale-scratch-100"], MEDICAL_SIZE, 1, seed=5).generator.state_dict()
    assert all(torch.equal(tuned[name], anime[name]) for name in anime)
    assert not any(torch.equal(scratch[name], anime[name]) for name in anime if anime[name].ndim == 4)


def test_epochs_and_seed_reach_the_model():
    model = build(VARIANTS["canny-l1"], 32, 7, seed=3)
    assert (model.recipe.epochs, model.seed, model.size) == (7, 3, 32)


def test_anime_frames_are_as_large_as_the_condition_needs():
    sets = datasets(VARIANTS["canny-l1-gan"], 32, 0, frames=50, patches=0, tests=100)
    assert {name: len(frames) for name, frames in sets.items()} == {
        "train": 50,
        "validation": variants.VALIDATION_FRAMES,
        "test": 100,
    }
    assert {name: frames.split for name, frames in sets.items()} == {
        "train": "train",
        "validation": "validation",
        "test": "shots",
    }
    assert {min(frames[0].shape[1:]) for frames in sets.values()} == {64}


def test_medical_patches_are_a_share():
    sets = datasets(VARIANTS["medical-grayscale-scratch-30"], 32, 0, frames=0, patches=20, tests=8)
    assert {name: len(patches) for name, patches in sets.items()} == {"train": 6, "validation": 8, "test": 8}
    assert {tuple(patches[0].shape) for patches in sets.values()} == {(3, 32, 32)}
    sets = datasets(VARIANTS["medical-canny-scratch-30"], MEDICAL_SIZE, 0, frames=0, patches=20, tests=8)
    assert {tuple(patches[0].shape) for patches in sets.values()} == {(3, MEDICAL_SIZE, MEDICAL_SIZE)}


def test_the_test_frames_do_not_depend_on_the_seed_of_training():
    first, second = (datasets(VARIANTS["canny-l1"], 16, seed, frames=4, patches=0, tests=4)["test"] for seed in (0, 2))
    assert first.shot(0) == second.shot(0)
    assert torch.equal(first[0], second[0])
    assert TEST_SEED not in (0, 2)
