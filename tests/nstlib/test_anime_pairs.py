"""Pairs show one scene twice; the training's are warped, and say where the reference shows what the frame shows."""

import dataclasses

import numpy as np
import pytest
import torch

from nstlib.anime import CANVAS, SPLITS, TRAIN, WIDTHS, ZOOM, AnimeFrames, Shot, band, layers, rendered
from nstlib.anime_pairs import MIRRORED, WARPED_ALIKE, AnimePairs, _inverted, _positions, _taken, _warp
from nstlib.positions import centers, decode_positions, sample

FAR = -3000.0  # an actor who stands there is in no frame


def known(item):
    """Positions of an item of the training, (1, 2, H, W), and where they are known, (H, W)."""
    positions = decode_positions(item[None, 6:], *item.shape[1:])
    return torch.nan_to_num(positions), ~positions[0].isnan().any(dim=0)


def shot(center=(640.0, 360.0), height=720.0, flip=False, actor=FAR):
    return Shot("club", (("sylvie-blue-normal", actor),), center, height, flip)


def still_positions(one, other, size):
    return _positions(one, other, centers(*size, 1))


# what pairs show


@pytest.mark.parametrize("split", SPLITS)
def test_a_pair_is_a_frame_and_its_scene_from_another_camera(split):
    pairs, frames = AnimePairs(split, 32, 60), AnimeFrames(split, 32, 60)
    assert len(pairs) == 60
    item = pairs[7]
    assert item.shape == ((10 if split == "train" else 6), 32, 32)
    assert item.dtype == torch.float32
    assert 0 <= item.min() <= item.max() <= 1
    assert torch.equal(item, AnimePairs(split, 32, 8)[7])
    assert not torch.equal(item, AnimePairs(split, 32, 8, seed=1)[7])
    if split != "train":
        assert torch.equal(item, torch.cat([rendered(pairs.reference(7), (32, 32)), frames[7]]))
    moved, zoomed = [], []
    for i in range(60):
        shot, reference = frames.shot(i), pairs.reference(i)
        assert reference.background == shot.background
        assert split == "train" or reference.flip == shot.flip
        assert [name.rpartition("-")[0] for name, _ in reference.actors] == [name.rpartition("-")[0] for name, _ in shot.actors]
        assert CANVAS[1] / ZOOM[1] - 1e-6 <= reference.height <= CANVAS[1]
        sides = WIDTHS.get(reference.background, CANVAS[0]), CANVAS[1]
        for center, end in zip(reference.center, sides, strict=True):
            assert reference.height / 2 - 1e-6 <= center <= end - reference.height / 2 + 1e-6
        moved.append(abs(reference.center[0] - shot.center[0]) / shot.height)
        zoomed.append(abs(reference.height / shot.height - 1))
    assert 0.03 < sum(moved) / 60 < (0.3 if split == "train" else 0.2)
    assert 0.03 < sum(zoomed) / 60 < (0.2 if split == "train" else 0.15)


def test_in_the_training_actors_move_half_as_much_again():
    spread = {}
    for split in ("train", "shots"):
        pairs = AnimePairs(split, 32, 400)
        both = [(pairs.frames.shot(i).actors, pairs.reference(i).actors) for i in range(400)]
        spread[split] = np.std([there - here for one, other in both for (_, here), (_, there) in zip(one, other, strict=True)])
    assert spread["shots"] == pytest.approx(40, rel=0.1)
    assert spread["train"] == pytest.approx(60, rel=0.1)


def test_a_quarter_of_the_trainings_references_is_mirrored():
    pairs = AnimePairs("train", 32, 400)
    mirrored = sum(pairs.reference(i).flip != pairs.frames.shot(i).flip for i in range(400))
    assert mirrored / 400 == pytest.approx(MIRRORED, abs=0.06)


def test_most_of_the_trainings_pairs_are_warped_alike_and_the_others_frames_are_as_drawn():
    pairs = AnimePairs("train", 32, 100)
    drawn = [torch.equal(pairs[i][3:6], pairs.frames[i]) for i in range(100)]
    assert 1 - sum(drawn) / 100 == pytest.approx(WARPED_ALIKE, abs=0.12)


def test_references_of_the_training_are_bent():
    pairs = AnimePairs("train", 64, 8)
    for i in range(8):
        straight, bent = rendered(pairs.reference(i), (64, 64)), pairs[i][:3]
        assert (bent - straight).abs().mean() > 0.01
        assert (bent.mean(dim=(1, 2)) - straight.mean(dim=(1, 2))).abs().max() < 0.15, "of about the same colors"


def test_references_show_another_expression_where_there_is_one():
    for split in SPLITS:
        pairs = AnimePairs(split, 32, 200)
        for i in range(200):
            for (name, _), (other, _) in zip(pairs.frames.shot(i).actors, pairs.reference(i).actors, strict=True):
                if split == "train" and name == "eileen-concerned":
                    assert other == name, "training has no other"
                else:
                    assert other != name


def test_no_reference_of_the_training_shows_what_is_kept_for_a_test():
    pairs = AnimePairs("train", 32, 500)
    trained = {f"{name}-{one}" for name, expressions in SPLITS["train"]["characters"].items() for one in expressions}
    for i in range(500):
        reference = pairs.reference(i)
        assert band(reference.center[0]) in TRAIN
        assert {name for name, _ in reference.actors} <= trained


# positions


@pytest.mark.parametrize("size", [96, (64, 96)])
def test_at_the_positions_the_reference_has_the_frames_colors(size):
    pairs = AnimePairs("train", size, 16)
    errors, moved, shares = [], [], []
    for i in range(16):
        item = pairs[i]
        positions, where = known(item)
        found, beside = (sample(item[None, :3], positions + shift)[0] for shift in (0, 2))
        errors.append((found - item[3:6]).abs().mean(dim=0)[where].mean())
        moved.append((beside - item[3:6]).abs().mean(dim=0)[where].mean())
        shares.append(where.float().mean())
    errors, moved = torch.stack(errors), torch.stack(moved)
    assert errors.mean() < 0.04
    assert errors.max() < 0.06
    assert (errors < moved).all()
    assert moved.mean() > 1.5 * errors.mean(), "two pixels beside they are wrong"
    assert torch.stack(shares).mean() > 0.2


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
def test_of_a_camera_that_moved_the_positions_are_exact(flips):
    """The frame sees the whole canvas's height, the reference half of it, in a corner of the frame."""
    size = (72, 96)
    frame = shot(height=720.0, flip=flips[0])
    reference = shot(center=(520.0, 400.0), height=360.0, flip=flips[1])
    positions = still_positions(frame, reference, size)
    x, y = centers(*size, 1)
    across = 640 + ((96 - x if flips[0] else x) - 48) * 10  # a pixel of the frame is 10 canvas pixels
    expected_x = (across - 520) / 5 + 48
    expected_y = (360 + (y - 36) * 10 - 400) / 5 + 36
    inside = (expected_x > 0) & (expected_x < 96) & (expected_y > 0) & (expected_y < 72)
    expected = torch.stack([96 - expected_x if flips[1] else expected_x, expected_y])
    assert torch.equal(~positions.isnan().any(dim=0), inside), "outside there is none"
    assert 0 < inside.float().mean() < 1
    torch.testing.assert_close(positions[:, inside], expected[:, inside], rtol=0, atol=1e-3)


def test_an_actors_positions_move_with_the_actor():
    size = (72, 96)
    frame, reference = shot(actor=600.0), shot(actor=650.0)
    positions, layer = still_positions(frame, reference, size), layers(frame, size)
    for number, moved in ((0, 0.0), (1, 5.0)):  # 50 canvas pixels
        there = (layer == number) & ~positions.isnan().any(dim=0)
        assert there.sum() > 200
        expected = centers(*size, 1) + torch.tensor([moved, 0.0])[:, None, None]
        torch.testing.assert_close(positions[:, there], expected[:, there], rtol=0, atol=1e-3)


def test_what_the_reference_hides_has_no_position():
    size = (72, 96)
    absent, present = shot(), shot(actor=640.0)
    hidden = layers(present, size) == 1
    assert 0.1 < hidden.float().mean() < 0.9
    background = still_positions(absent, present, size)  # the actor is in the reference only
    assert torch.equal(background.isnan().all(dim=0), hidden)
    assert torch.equal(still_positions(present, absent, size).isnan().all(dim=0), hidden), "in the frame only"


def test_items_hold_no_position_where_none_is_known():
    pairs = AnimePairs("train", 64, 8)
    shares = [known(pairs[i])[1].float().mean() for i in range(8)]
    assert all(0 < share < 1 for share in shares)


# warps


def test_an_image_that_is_not_warped_stays_as_it_is():
    image = torch.rand(3, 20, 30)
    torch.testing.assert_close(_taken(image, centers(20, 30, 1)), image, rtol=0, atol=1e-5)


def test_a_warp_takes_pixels_from_where_it_says():
    image = torch.rand(3, 20, 30)
    moved = _taken(image, centers(20, 30, 1) + torch.tensor([4.0, 2.0])[:, None, None])
    torch.testing.assert_close(moved[:, :-2, :-4], image[:, 2:, 4:], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[:, -2:, :-4], image[:, -2:, 4:].flip(1), rtol=0, atol=1e-5)  # mirrored at the border


def test_warps_follow_the_generator_and_their_strength():
    size = (48, 64)
    one, again, other = (_warp(size, np.random.default_rng(seed), 0.2, 0.1, 1 / 15) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    none = _warp(size, np.random.default_rng(0), 0, 0, 0)
    torch.testing.assert_close(none, centers(*size, 1), rtol=0, atol=1e-4)
    far = [_warp(size, np.random.default_rng(2), 0, 0, bend) - centers(*size, 1) for bend in (1 / 30, 1 / 15)]
    torch.testing.assert_close(far[1], 2 * far[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_warp_is_inverted(seed):
    size = (48, 64)
    warp = _warp(size, np.random.default_rng(seed), turn=0.25, stretch=0.2, bend=1 / 15)
    wanted = centers(*size, 1)
    found = _inverted(warp, wanted)
    there = ~found.isnan().any(dim=0)
    assert there.float().mean() > 0.3
    back = sample(warp[None], torch.nan_to_num(found)[None])[0]
    distance = (back - wanted).norm(dim=0)[there]
    assert distance.max() < 0.5
    assert distance.mean() < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_what_a_warp_shows_at_a_pixel_is_found_at_this_pixel(seed):
    size = (48, 64)
    warp = _warp(size, np.random.default_rng(seed), turn=0.25, stretch=0.2, bend=1 / 30)
    found = _inverted(warp, warp)
    assert ((found - centers(*size, 1)).norm(dim=0) < 0.05)[4:-4, 4:-4].float().mean() > 0.99


def test_a_turn_is_inverted_exactly_and_nothing_is_found_outside():
    size = (48, 64)
    middle = torch.tensor([32.0, 24.0])[:, None, None]
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    warp = torch.einsum("ij,jhw->ihw", turn, centers(*size, 1) - middle) + middle
    wanted = centers(*size, 1)
    found = _inverted(warp, wanted)
    expected = torch.einsum("ji,jhw->ihw", turn, wanted - middle) + middle
    end = torch.tensor([64.0, 48.0])[:, None, None]
    inner = ((expected > 1) & (expected < end - 1)).all(dim=0)
    torch.testing.assert_close(found[:, inner], expected[:, inner], rtol=0, atol=0.02)
    outside = ((expected < 0) | (expected > end)).any(dim=0)
    assert 0.05 < outside.float().mean() < 0.5
    assert found[:, outside].isnan().all()


def test_where_nothing_is_wanted_nothing_is_found():
    size = (48, 64)
    wanted = centers(*size, 1)
    wanted[:, :20] = torch.nan
    found = _inverted(centers(*size, 1), wanted)
    assert found[:, :20].isnan().all()
    torch.testing.assert_close(found[:, 20:], wanted[:, 20:], rtol=0, atol=1e-3)


def test_positions_of_a_warped_frame_are_those_of_the_pixels_it_takes():
    size = (48, 64)
    frame, reference = shot(), dataclasses.replace(shot(), center=(600.0, 360.0))
    warp = centers(*size, 1) + torch.tensor([5.0, 0.0])[:, None, None]
    plain, warped = still_positions(frame, reference, size), _positions(frame, reference, warp)
    torch.testing.assert_close(warped[:, :, :-5], plain[:, :, 5:], rtol=0, atol=1e-3, equal_nan=True)
    assert warped[:, :, -5:].isnan().all(), "taken from outside the frame"
