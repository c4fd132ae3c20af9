"""Profiles: the environment chooses; choosing writes nothing."""

import dataclasses

import pytest
import torch

from experiments import profiles


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
