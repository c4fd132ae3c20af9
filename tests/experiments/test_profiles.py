"""Profiles: the environment chooses; choosing writes nothing."""

import dataclasses
import inspect

import pytest
import torch

from experiments import profiles
from nstlib.colorizer import RECIPES, Colorizer
from nstlib.medical import MedicalPatches


@pytest.mark.parametrize("name", ["smoke", "cpu", "gpu"])
def test_chosen_by_the_environment(name, monkeypatch):
    monkeypatch.setenv("NSTLIB_PROFILE", name)
    assert profiles.current().name == name


def test_without_a_choice_the_machine_decides(monkeypatch):
    monkeypatch.delenv("NSTLIB_PROFILE", raising=False)
    assert profiles.current().name == ("gpu" if torch.cuda.is_available() else "cpu")


def test_an_unknown_profile_is_an_error(monkeypatch):
    monkeypatch.setenv("NSTLIB_PROFILE", "tpu")
    with pytest.raises(ValueError, match=r"NSTLIB_PROFILE.*tpu"):
        profiles.current()


def test_smoke_has_its_own_folder_in_figures():
    folders = {name: profile.figures for name, profile in profiles.PROFILES.items()}
    assert folders == {"smoke": profiles.FIGURES / "smoke", "cpu": profiles.FIGURES, "gpu": profiles.FIGURES}


def test_choosing_makes_no_folder(monkeypatch, tmp_path):
    profile = dataclasses.replace(profiles.PROFILES["smoke"], figures=tmp_path / "figures")
    monkeypatch.setenv("NSTLIB_PROFILE", "smoke")
    monkeypatch.setitem(profiles.PROFILES, "smoke", profile)
    assert profiles.current() is profile
    assert not profile.figures.exists()


@pytest.mark.parametrize("profile", profiles.PROFILES.values(), ids=profiles.PROFILES)
def test_the_recipe_can_train_on_the_frames(profile):
    with torch.device("meta"):  # shapes alone
        colorizer = Colorizer("canny", profile.frame_size, recipe=profile.frame_recipe)
        assert colorizer.recipe == RECIPES[profile.frame_recipe]
        condition = torch.zeros(2, 1, profile.frame_size, profile.frame_size)
        assert colorizer.generator(condition).shape == (2, 3, profile.frame_size, profile.frame_size)


def test_sizes_that_go_together_are_the_same():
    """Medical patches are by default as large as the frames of the colorizers."""
    sizes = {profiles.PROFILES[name].frame_size for name in ("cpu", "gpu")}
    defaults = {inspect.signature(made).parameters["size"].default for made in (Colorizer, MedicalPatches)}
    assert sizes == defaults == {256}


def test_variants_train_on_frames_no_larger_than_the_colorizers():
    assert all(profile.ablation_size <= profile.frame_size for profile in profiles.PROFILES.values())
