"""What computes gradients does so whatever the caller has switched off."""

import contextlib

import pytest
import torch

from nstlib.autograd import own_autograd

OFF = [contextlib.nullcontext, torch.no_grad, torch.inference_mode]


@own_autograd
def slope(x):
    """Of x squared."""
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(leaf.square().sum(), leaf)[0]


@pytest.mark.parametrize("off", OFF)
def test_a_gradient_is_computed_and_the_state_is_as_before(off):
    with off():
        before = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        result = slope(torch.tensor([3.0]))
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert result.item() == 6
    assert not result.is_inference()


def test_switched_off_for_good():
    torch.set_grad_enabled(False)
    try:
        assert slope(torch.tensor([3.0])).item() == 6
        assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)


def test_after_an_error_the_state_is_as_before():
    @own_autograd
    def fail():
        raise KeyError

    with torch.no_grad():
        with pytest.raises(KeyError):
            fail()
        assert not torch.is_grad_enabled()


def test_it_keeps_its_name():
    assert slope.__name__ == "slope"
    assert slope.__doc__ == "Of x squared."
