"""Positions between pixels: kept in 8 bits, and sampled at."""

import pytest
import torch

from nstlib.positions import centers, decode_positions, encode_positions, sample


def still(height, width):
    """x and y of every pixel's middle: (1, 2, H, W)."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y])[None]


def test_centers_are_the_middles_of_squares():
    assert torch.equal(centers(3, 4, 1), still(3, 4)[0])
    assert centers(2, 3, 8).tolist() == [[[4, 12, 20], [4, 12, 20]], [[4, 4, 4], [12, 12, 12]]]


@pytest.mark.parametrize("size", [(256, 256), (64, 96)])
def test_positions_survive_being_kept_in_8_bits(size):
    torch.manual_seed(0)
    positions = torch.rand(3, 2, 16, 20) * torch.tensor(size[::-1])[:, None, None]
    positions[0, :, 3:5] = torch.nan
    channels = encode_positions(positions, *size)
    assert channels.shape == (3, 4, 16, 20)
    assert 0 <= channels.min() <= channels.max() <= 1
    kept = (channels * 255).round()
    torch.testing.assert_close(channels, kept / 255, rtol=0, atol=1e-7)
    decoded = decode_positions(kept.byte() / 255, *size)
    assert torch.equal(decoded.isnan(), positions.isnan())
    assert (decoded - positions).nan_to_num().abs().max() < 0.01
    assert (channels[0, :, 3:5] == 0).all()


def test_positions_at_the_corners_are_known_and_those_without_one_coordinate_are_not():
    corners = torch.tensor([[0.0, 0.0], [64.0, 48.0]]).T[None, :, None]  # (1, 2, 1, 2): x and y
    decoded = decode_positions(encode_positions(corners, 48, 64), 48, 64)
    torch.testing.assert_close(decoded, corners, rtol=0, atol=0.01)
    half = torch.tensor([torch.nan, 20.0]).view(1, 2, 1, 1)
    assert decode_positions(encode_positions(half, 48, 64), 48, 64).isnan().all()


def test_sampling_at_whole_pixels_shifts():
    images = torch.rand(2, 3, 20, 30)
    found = sample(images, (still(12, 16) + torch.tensor([5.0, 3.0])[:, None, None]).expand(2, -1, -1, -1))
    torch.testing.assert_close(found, images[:, :, 3:15, 5:21], rtol=0, atol=1e-5)


def test_sampling_between_pixels_mixes_and_beyond_the_border_repeats():
    images = torch.rand(1, 2, 8, 8)
    right = sample(images, still(8, 8) + torch.tensor([0.25, 0.0])[:, None, None])
    torch.testing.assert_close(right[..., :-1], 0.75 * images[..., :-1] + 0.25 * images[..., 1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(right[..., -1], images[..., -1], rtol=0, atol=1e-5)
    far = sample(images, still(8, 8) - 100)
    torch.testing.assert_close(far, images[..., :1, :1].expand(-1, -1, 8, 8), rtol=0, atol=1e-5)
