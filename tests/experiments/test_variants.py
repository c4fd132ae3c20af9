"""Variants: each differs from the poster's recipe in what its name says."""

from dataclasses import fields, replace

import pytest
import torch

from experiments import table1, variants
from experiments.profiles import PROFILES
from experiments.table1 import TEST_SEED
from experiments.variants import MEDICAL_SIZE, VARIANTS, build, datasets, shipped
from nstlib.assets import asset_path
from nstlib.colorizer import RECIPES, Colorizer
from nstlib.cyclegan import CycleGAN, CycleRecipe

CHANGES = {  # end of the name -> changed settings
    "l1-gan": set(),
    "l1": {"adversarial_weight"},
    "l1-10-gan": {"l1_weight"},
    "canny-gan": {"l1_weight", "adversarial_every", "generator_lr", "beta1"},
    "perceptual-gan": {"l1_weight", "color_weight", "gradient_weight", "perceptual_weight", "perceptual_frames"},
    "naive-gan": {"l1_weight", "perceptual_weight", "perceptual_distance"},
    "gradient": {"gradient_weight"},
    "cyclegan": set(),
    "cyclegan-naive": {"operator_weight", "noise", "adversarial_every", "cycle_colors_weight", "cycle_lines_weight"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_in_what_its_name_says(name):
    variant = VARIANTS[name]
    recipe = variant.recipe(30)
    if variant.model is CycleGAN:
        base = CycleRecipe()
    elif variant.group != "medical":
        base = RECIPES["laptop"]
    else:
        base = shipped(f"colorizer-{variant.condition.operator}").recipe
    assert variant.condition.operator in name or name.startswith("sobel-lines")
    different = {f.name for f in fields(recipe) if getattr(recipe, f.name) != getattr(base, f.name)}
    loss = max((end for end in CHANGES if name.endswith(end)), key=len, default=None)
    assert different == ({"generator_lr"} if loss is None else CHANGES[loss])


def test_conditions_are_those_of_table_1():
    for name, variant in VARIANTS.items():
        if variant.notebook != "11":
            assert variant.condition.config() == table1.CONDITIONS[variant.condition.operator].config(), name


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_built_in_every_profile(name, profile):
    variant = VARIANTS[name]
    size = profile.ablation_size if variant.group == "anime" else MEDICAL_SIZE
    with torch.device("meta"):  # shapes alone
        model = build(replace(variant, start=None), size, 1, seed=0)
        assert model.generator(torch.zeros(2, 1, size, size)).shape == (2, 3, size, size)


def test_l1_is_replaced_in_the_same_way_from_line_art_and_from_grayscale():
    line_art, gray = (VARIANTS[f"{condition}-perceptual-gan"] for condition in ("canny", "grayscale"))
    assert line_art.recipe(30) == gray.recipe(30)
    assert gray.recipe(30).perceptual_frames == 4
    for condition in ("canny", "grayscale"):
        poster, ours = (VARIANTS[f"{condition}-{loss}-gan"] for loss in ("l1", "perceptual"))
        assert poster.condition is ours.condition
        assert (poster.notebook, ours.notebook, poster.group) == ("09", "09", ours.group)


def test_every_notebook_has_its_variants():
    assert {variant.notebook for variant in VARIANTS.values()} == {"06", "09", "10", "11", "12"}
    assert sum(variant.medical for variant in VARIANTS.values()) == 2 * 2
    assert set(variants.LINE_ART.values()) <= set(VARIANTS)


def test_fine_tuning_begins_with_the_shipped_weights():
    anime = Colorizer.load(asset_path("colorizer-grayscale")).generator.state_dict()
    tuned = build(VARIANTS["medical-grayscale-anime"], MEDICAL_SIZE, 1, seed=5).generator.state_dict()
    scratch = build(VARIANTS["medical-grayscale-scratch"], MEDICAL_SIZE, 1, seed=5).generator.state_dict()
    assert all(torch.equal(tuned[name], anime[name]) for name in anime)
    assert not any(torch.equal(scratch[name], anime[name]) for name in anime if anime[name].ndim == 4)


def test_epochs_and_seed_reach_the_model():
    model = build(VARIANTS["canny-l1"], 32, 7, seed=3)
    assert (model.recipe.epochs, model.seed, model.size) == (7, 3, 32)


def test_anime_frames_have_the_size():
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
    assert {min(frames[0].shape[1:]) for frames in sets.values()} == {32}


def test_medical_patches_have_the_size():
    for name, size in (("medical-grayscale-scratch", 32), ("medical-canny-scratch", MEDICAL_SIZE)):
        sets = datasets(VARIANTS[name], size, 0, frames=0, patches=6, tests=8)
        assert {name: len(patches) for name, patches in sets.items()} == {"train": 6, "validation": 8, "test": 8}
        assert {tuple(patches[0].shape) for patches in sets.values()} == {(3, size, size)}


def test_the_test_frames_do_not_depend_on_the_seed_of_training():
    first, second = (datasets(VARIANTS["canny-l1"], 16, seed, frames=4, patches=0, tests=4)["test"] for seed in (0, 2))
    assert first.shot(0) == second.shot(0)
    assert torch.equal(first[0], second[0])
    assert TEST_SEED not in (0, 2)
