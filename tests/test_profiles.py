import pytest
import torch

from nstlib import profiles


@pytest.mark.parametrize("name", ["smoke", "cpu", "gpu"])
def test_chosen_by_the_environment(name, monkeypatch, tmp_path):
    monkeypatch.setenv("NSTLIB_PROFILE", name)
    assert profiles.current().name == name


def test_without_a_choice_the_machine_decides(monkeypatch):
    monkeypatch.delenv("NSTLIB_PROFILE", raising=False)
    assert profiles.current().name == ("gpu" if torch.cuda.is_available() else "cpu")


def test_unknown_profile(monkeypatch):
    monkeypatch.setenv("NSTLIB_PROFILE", "tpu")
    with pytest.raises(ValueError, match="smoke, cpu, gpu"):
        profiles.current()


def test_smoke_keeps_its_pictures_apart():
    folders = [profile.figures for profile in profiles.PROFILES.values()]
    assert profiles.PROFILES["smoke"].figures not in (profiles.PROFILES["cpu"].figures, profiles.PROFILES["gpu"].figures)
    assert all(folder.name in ("figures", "smoke") for folder in folders)
