"""What is matched of a style: each target has no loss against its own moments, and 1 for features that are all zero."""

import pytest
import torch

from nstlib.statistics import SETTINGS, STYLE_LAYERS, TARGETS


@pytest.fixture
def features():
    torch.manual_seed(0)
    return torch.randn(1, 6, 12, 10).relu()


@pytest.mark.parametrize("statistic", list(TARGETS))
def test_no_loss_against_itself_and_1_for_zeros(features, statistic):
    kind = TARGETS[statistic]
    target = kind(*kind.moments(features, None))
    assert target.loss(*kind.moments(features, None)).item() == pytest.approx(0, abs=1e-4)
    assert target.loss(*kind.moments(0 * features, None)).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("statistic", list(TARGETS))
def test_places_do_not_matter_but_amounts_do(features, statistic):
    kind = TARGETS[statistic]
    target = kind(*kind.moments(features, None))
    assert target.loss(*kind.moments(features.flip(2, 3), None)).item() == pytest.approx(0, abs=1e-4)
    assert target.loss(*kind.moments(1.5 * features, None)).item() > 0.05


def test_a_gaussian_sees_weak_filters_that_a_gram_matrix_hardly_sees(features):
    loud = features.clone()
    loud[:, 0] *= 30
    changed = loud.clone()
    changed[:, 1:] *= 1.5
    losses = {}
    for statistic, kind in TARGETS.items():
        target = kind(*kind.moments(loud, None))
        losses[statistic] = target.loss(*kind.moments(changed, None)).item()
    assert losses["gaussian"] > 2 * losses["gram"]


def test_every_statistic_has_settings():
    assert set(SETTINGS) == set(TARGETS)
    for settings in SETTINGS.values():
        assert set(settings["style_layers"]) <= set(STYLE_LAYERS)
        assert sum(settings["style_layers"].values()) > 0
