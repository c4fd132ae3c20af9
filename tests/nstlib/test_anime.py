"""Frames show what their shot says, and training sees nothing that is kept for another split."""

import collections
import dataclasses
import itertools
import pickle

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from nstlib import anime
from nstlib.anime import (
    BAND,
    CANVAS,
    SPLITS,
    WIDTHS,
    ZOOM,
    AnimeClip,
    AnimeFrames,
    Shot,
    band,
    render,
    sample_clip,
)
from nstlib.assets import ASSETS, asset_path
from nstlib.frames import VideoFrames

PAIRS = list(itertools.combinations(SPLITS, 2))


def to_array(picture):
    return np.asarray(picture).astype(float)


def canvas(background):
    """Width and height."""
    return WIDTHS.get(background, CANVAS[0]), CANVAS[1]


def assert_is_frame(frame, size):
    assert frame.dtype == torch.float32
    assert frame.shape == (3, *size)
    assert frame.min() >= 0
    assert frame.max() <= 1


# --- AnimeFrames: what is asked for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_a_frame_is_a_picture(split):
    frames = AnimeFrames(split, 64, 20)
    for frame in frames:
        assert_is_frame(frame, (64, 64))
        assert frame.std() > 0.05
        assert (frame[0] != frame[2]).any()  # it has color
        assert frame.max() > 0.5  # 255 is 1


@pytest.mark.parametrize("size", [8, 33, (64, 96), (96, 64), (9, 16), (20, 8)])
def test_frames_have_the_size_asked_for(size):
    frames = AnimeFrames(size=size, length=3)
    for frame in frames:
        assert_is_frame(frame, (size, size) if isinstance(size, int) else size)


def test_a_frame_depends_on_split_seed_and_index_only():
    frames, again = AnimeFrames("train", 32, 6), AnimeFrames("train", 32, 1000)
    backwards = [again[i] for i in reversed(range(6))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(frames, backwards, strict=True))
    assert all(torch.equal(frames[i], frames[i]) for i in range(6))


def test_another_index_seed_or_split_is_another_frame():
    shots = [
        AnimeFrames(split, seed=seed).shot(index).center
        for split, seed, index in itertools.product(SPLITS, range(3), range(50))
    ]
    assert len(set(shots)) == len(shots)


def test_length_and_ends():
    frames = AnimeFrames(length=5, size=16)
    assert len(frames) == 5
    assert len(list(frames)) == 5
    assert torch.equal(frames[-1], frames[4])
    assert torch.equal(frames[-5], frames[0])
    for index in (5, -6, 10**9):
        with pytest.raises(IndexError, match=rf"\b5\b.* {index}$"):
            frames[index]
        with pytest.raises(IndexError, match=rf"\b5\b.* {index}$"):
            frames.shot(index)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"split": "test"}, "split"),
        ({"split": ""}, "split"),
        ({"size": 7}, "size"),
        ({"size": -64}, "size"),
        ({"size": (64, 7)}, "size"),
        ({"size": (64, 64, 3)}, "size"),
        ({"size": (64,)}, "size"),
        ({"size": (64, 115)}, "size"),  # wider than the backgrounds
        ({"size": 64.0}, "size"),
        ({"size": None}, "size"),
        ({"size": (64, 64.5)}, "size"),
        ({"length": 0}, "length"),
        ({"length": -1}, "length"),
        ({"length": 2.5}, "length"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
    ],
    ids=str,
)
def test_anime_frames_refuse_wrong_arguments(arguments, what):
    with pytest.raises(ValueError, match=f"^{what} "):
        AnimeFrames(**arguments)


def test_another_size_shows_the_same_shot():
    small, large = AnimeFrames(size=64, length=25, seed=3), AnimeFrames(size=128, length=25, seed=3)
    for i in range(25):
        assert small.shot(i) == large.shot(i)

        def difference(shift=(0, 0), frame=small[i], double=large[i]):
            return (frame - F.avg_pool2d(double.roll(shift, (1, 2)), 2)).abs().mean()

        assert difference() < 0.03
        # nothing fits as well if it is moved by half a pixel of the smaller
        assert all(difference(shift) > 1.2 * difference() for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)))


def test_frames_survive_pickling():
    frames = AnimeFrames("shots", 32, 9, seed=5)
    copy = pickle.loads(pickle.dumps(frames))
    assert len(copy) == 9
    assert all(torch.equal(a, b) for a, b in zip(frames, copy, strict=True))


def test_another_process_composes_the_same_frames():
    frames = AnimeFrames("train", 32, 8)
    # spawn: a process that begins anew, with its own hash seed
    batches = list(DataLoader(frames, batch_size=4, num_workers=1, multiprocessing_context="spawn"))
    assert torch.equal(torch.cat(batches), torch.stack(list(frames)))


# --- AnimeFrames: no leaks -------------------------------------------------------------------------------------------


def sprites(split):
    return {f"{name}-{face}" for name, faces in SPLITS[split]["characters"].items() for face in faces}


def test_the_rules_keep_the_splits_apart():
    for a, b in PAIRS:
        assert not sprites(a) & sprites(b)
    for a, b in itertools.combinations(("train", "validation", "shots"), 2):
        assert not set(SPLITS[a]["bands"]) & set(SPLITS[b]["bands"])
        assert SPLITS[a]["characters"].keys() == SPLITS[b]["characters"].keys()  # the same show
        assert SPLITS[a]["backgrounds"] == SPLITS[b]["backgrounds"]
    for other in ("train", "validation", "shots"):
        assert not set(SPLITS["scenes"]["backgrounds"]) & set(SPLITS[other]["backgrounds"])
        people = [{name.split("-")[0] for name in SPLITS[split]["characters"]} for split in ("scenes", other)]
        assert not people[0] & people[1]


def test_no_two_names_are_the_same_picture():
    names = {name for split in SPLITS for name in (*sprites(split), *SPLITS[split]["backgrounds"])}
    assert len({ASSETS[name].sha256 for name in names}) == len(names) == 18


def test_no_split_shows_what_is_kept_for_another():
    backgrounds, expressions, strips = {}, {}, {}
    for split in SPLITS:
        shots = [AnimeFrames(split, length=3000).shot(i) for i in range(3000)]
        backgrounds[split] = {shot.background for shot in shots}
        expressions[split] = {name for shot in shots for name, _ in shot.actors}
        # strips of the canvas in which camera centers lie, counted without regard to kinds of bands
        strips[split] = {int(shot.center[0] // BAND) for shot in shots}
        # else there would be nothing in finding no leak
        assert backgrounds[split] == set(SPLITS[split]["backgrounds"])
        assert expressions[split] == sprites(split)
    for a, b in PAIRS:
        assert not expressions[a] & expressions[b]
        if b == "scenes":
            assert not backgrounds[a] & backgrounds[b]
        else:
            assert not strips[a] & strips[b]
    assert len(strips["train"]) >= 5
    assert len(strips["scenes"]) >= 8
    assert all(len(strips[split]) >= 2 for split in ("validation", "shots"))


# --- AnimeFrames: a frame shows what its shot says -------------------------------------------------------------------


def test_backgrounds_are_as_large_as_recorded():
    names = {name for split in SPLITS.values() for name in split["backgrounds"]}
    assert names >= WIDTHS.keys()
    for name in names:
        with PIL.Image.open(asset_path(name)) as image:
            assert image.size == canvas(name)


def test_every_place_is_as_likely_and_the_camera_goes_all_over_it():
    for split in ("train", "validation", "shots"):
        shots = [AnimeFrames(split, length=2000).shot(i) for i in range(2000)]
        counts = collections.Counter(shot.background for shot in shots)
        assert all(400 < counts[name] < 600 for name in SPLITS[split]["backgrounds"])
        for name in SPLITS[split]["backgrounds"]:
            reach = [shot.center[0] for shot in shots if shot.background == name]
            # the outermost camera is half a frame from the edge, and perhaps as far as the gap between two bands of a kind
            slack = CANVAS[1] / ZOOM[1] / 2 + 5 * BAND
            assert min(reach) < slack
            assert max(reach) > canvas(name)[0] - slack


def test_shots_are_as_documented():
    for split, size in itertools.product(SPLITS, (64, (96, 64), (64, 80))):
        frames = AnimeFrames(split, size, 200)
        height, width = frames.size
        for shot in map(frames.shot, range(200)):
            assert CANVAS[1] / ZOOM[1] <= shot.height <= CANVAS[1] / ZOOM[0]
            sides = (shot.height * width / height, shot.height)
            for center, side, end in zip(shot.center, sides, canvas(shot.background), strict=True):
                assert side / 2 - 1e-6 <= center <= end - side / 2 + 1e-6  # the camera sees nothing beyond the canvas
            names = [name.split("-")[0] for name, _ in shot.actors]
            assert 1 <= len(names) <= 2
            assert all(abs(x - shot.center[0]) <= 0.4 * sides[0] + 1e-6 for _, x in shot.actors)
    shots = [AnimeFrames(length=300).shot(i) for i in range(300)]
    assert {len(shot.actors) for shot in shots} == {1, 2}
    assert 100 < sum(shot.flip for shot in shots) < 200
    for shot in shots:
        if len(shot.actors) == 2:  # different people on different sides
            (one, left), (other, right) = shot.actors
            assert one.rsplit("-", 1)[0] != other.rsplit("-", 1)[0]
            assert (left - shot.center[0]) * (right - shot.center[0]) <= 0


def test_frames_are_their_shots_rendered():
    frames = AnimeFrames("scenes", (40, 56), 5)
    for i in range(5):
        assert np.array_equal((frames[i].permute(1, 2, 0) * 255).round().numpy(), to_array(render(frames.shot(i), (40, 56))))


def test_flip_mirrors_the_frame():
    for i in range(10):
        shot = AnimeFrames().shot(i)
        plain, flipped = (to_array(render(dataclasses.replace(shot, flip=flip), (48, 64))) for flip in (False, True))
        assert np.array_equal(plain, flipped[:, ::-1])
        assert not np.array_equal(plain, flipped)


TWO = Shot("club", (("eileen-concerned", 560.0), ("sylvie-blue-normal", 700.0)), (640.0, 400.0), 600.0, flip=False)


def test_layers_are_numbered_from_the_background_to_the_front():
    """Against renderings in two places: what is opaque looks alike in both, what is transparent shows the place alone."""
    size = (96, 128)
    numbers = anime.layers(TWO, size)
    assert numbers.shape == size
    assert numbers.dtype == torch.uint8
    assert numbers.unique().tolist() == [0, 1, 2]

    def drawn(*actors):
        return [anime.rendered(dataclasses.replace(TWO, background=place, actors=actors), size) for place in ("club", "meadow")]

    empty = drawn()
    told_apart = (empty[0] - empty[1]).abs().amax(dim=0) > 0.2
    opaque, absent = [], []
    for actor in TWO.actors:
        both = drawn(actor)
        opaque.append(((both[0] - both[1]).abs().amax(dim=0) < 0.01) & told_apart)
        absent.append(((torch.stack(both) - torch.stack(empty)).abs().amax(dim=(0, 1)) < 0.01) & told_apart)
    assert (numbers[opaque[1]] == 2).all(), "the last is in front"
    assert (numbers[opaque[0] & absent[1]] == 1).all()
    assert (numbers[absent[0] & absent[1]] == 0).all()
    assert (opaque[0] & opaque[1]).sum() > 100, "one hides a part of the other"
    assert min((opaque[0] & absent[1]).sum(), (absent[0] & absent[1]).sum()) > 100


def test_layers_are_mirrored_with_the_frame():
    mirrored = anime.layers(dataclasses.replace(TWO, flip=True), (48, 64))
    plain = anime.layers(TWO, (48, 64))
    assert torch.equal(mirrored, plain.flip(1))
    assert not torch.equal(mirrored, plain)


def test_layers_keep_the_numbers_of_actors_that_are_out_of_sight():
    away = dataclasses.replace(TWO, actors=(("eileen-concerned", -2000.0), TWO.actors[1]))
    assert anime.layers(away, (48, 64)).unique().tolist() == [0, 2]


def test_at_full_scale_a_frame_is_the_canvas_cut_out():
    """Against the art itself, put together here without the renderer."""
    shot = Shot("club", (("eileen-happy", 500.0), ("sylvie-blue-smile", 801.0)), (600.0, 360.0), 720.0, False)
    with PIL.Image.open(asset_path("club")) as background:
        canvas = background.convert("RGB")
    for name, left, top in (("eileen-happy", 500 - 320 // 2, 0), ("sylvie-blue-smile", 801 - 334 // 2, 20)):
        with PIL.Image.open(asset_path(name)) as sprite:
            sprite = sprite.convert("RGBA")
        canvas.paste(sprite, (left, top), sprite)
    expected = canvas.crop((240, 0, 960, 720))
    assert np.abs(to_array(render(shot, (720, 720))) - to_array(expected)).max() <= 1
    # a part of it, at half the scale
    part = dataclasses.replace(shot, center=(700.0, 300.0), height=400.0)
    expected = canvas.crop((400, 100, 1000, 500)).resize((300, 200), PIL.Image.Resampling.HAMMING)
    assert np.abs(to_array(render(part, (200, 300))) - to_array(expected)).mean() < 1


@pytest.mark.parametrize("x", [400.0, 5400.0])
@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_wide_place_is_not_shifted_in_small_frames(size, x):
    with PIL.Image.open(asset_path("campus")) as image:
        background = image.convert("RGB")
    found = to_array(render(Shot("campus", (), (x, 360.0), 720.0, False), (size, size)))

    def difference(shift):
        left = x - 360 + shift * 720 / size
        expected = background.resize((size, size), PIL.Image.Resampling.HAMMING, box=(left, 0, left + 720, 720))
        return np.abs(found - to_array(expected)).mean()

    assert all(difference(shift) > 1.5 * difference(0) for shift in (-0.25, 0.25))


@pytest.mark.parametrize("size", [(64, 64), (33, 57), (50, 20)])
def test_the_background_fills_the_frame(size, tmp_path, monkeypatch):
    """No black borders: a white background alone leaves nothing but white, wherever the camera is."""
    for background in ("club", "campus"):
        PIL.Image.new("RGB", canvas(background), "white").save(tmp_path / f"white-{background}.png")
    monkeypatch.setattr(anime, "asset_path", lambda name: tmp_path / f"{name}.png")
    frames = AnimeFrames("train", size, 300)
    for i in range(300):
        shot = frames.shot(i)
        white = "white-campus" if shot.background == "campus" else "white-club"
        assert to_array(render(dataclasses.replace(shot, background=white, actors=()), size)).min() == 255


def test_every_actor_is_in_the_picture():
    for split in SPLITS:
        frames = AnimeFrames(split, 64, 40)
        for i in range(40):
            shot = frames.shot(i)
            whole = to_array(render(shot, (64, 64)))
            for actor in shot.actors:
                without = to_array(render(dataclasses.replace(shot, actors=tuple({*shot.actors} - {actor})), (64, 64)))
                assert (np.abs(whole - without).max(2) > 16).mean() > 0.02


@pytest.mark.parametrize("split", SPLITS)
def test_the_widest_frames_can_be_composed_for_every_split(split):
    frames = AnimeFrames(split, (36, 64), 200)
    for index in range(200):
        shot = frames.shot(index)
        width = shot.height * 64 / 36
        assert width / 2 <= shot.center[0] <= canvas(shot.background)[0] - width / 2
        assert band(shot.center[0]) in SPLITS[split]["bands"]


# --- the sample clip ---------------------------------------------------------------------------------------------------


# clips


@pytest.mark.parametrize("speed", [1.0, 3.0])
def test_in_a_clip_all_moves_alike_but_the_face(speed):
    clip = AnimeClip("scenes", 64, 120, speed)
    expressions = [clip.shot(i).actors[0][0] for i in range(120)]
    assert len(set(expressions)) == 2
    compared = 0
    for i in range(119):
        moved = clip.shift(i + 1) - clip.shift(i)
        assert abs(moved) <= speed
        if moved == int(moved) and expressions[i] == expressions[i + 1]:
            before, after = clip[i], clip[i + 1]
            width = 64 - abs(int(moved))
            was, now = before[..., max(int(moved), 0) :][..., :width], after[..., max(-int(moved), 0) :][..., :width]
            assert (was - now).abs().mean() < 0.002
            compared += 1
    assert compared > 80


def test_a_clip_stays_with_its_character():
    clip = AnimeClip("shots", 64, 200, 2.0, seed=3)
    for i in range(200):
        shot = clip.shot(i)
        assert abs(shot.center[0] - shot.actors[0][1]) <= shot.height * 3 / 16 + 1e-6
    assert max(abs(clip.shift(i)) for i in range(200)) == 12
    assert torch.equal(clip[5], clip[-195])
    for seed in range(8):  # and with the canvas
        top = AnimeClip("scenes", 32, 1, seed=seed).shot(0)
        assert top.height / 2 <= top.center[1] <= CANVAS[1] - top.height / 2
    with pytest.raises(IndexError, match="200"):
        clip[200]


def test_a_still_clip_does_not_move():
    assert {AnimeClip("scenes", 32, 5, 0.0).shift(i) for i in range(5)} == {0.0}


@pytest.mark.parametrize(
    ("arguments", "what"), [({"speed": -1.0}, "speed"), ({"length": 0}, "length"), ({"split": "x"}, "split")]
)
def test_clips_refuse_wrong_arguments(arguments, what):
    with pytest.raises(ValueError, match=what):
        AnimeClip(**arguments)


def test_the_sample_clip_comes_back_to_its_places(tmp_path):
    """The scene held out is of a place and a speaker that training sees too, from another camera and with another face."""
    sample_clip(tmp_path / "clip.mp4")
    train, test = (VideoFrames(tmp_path / "clip.mp4", split, size=32) for split in ("train", "test"))
    assert len(train) + len(test) > 100, "the camera moves: hardly a frame repeats"
    assert (len(train.scenes), len(test.scenes)) == (4, 1)
    seen = {train.numbers[scene[0]] // 24 for scene in train.scenes}  # scenes 0, 2, 4 are in one place, 1 and 3 in the other
    held_out = test.numbers[0] // 24
    assert held_out not in seen
    assert held_out % 2 in {scene % 2 for scene in seen}


def test_a_sample_clip_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        sample_clip(tmp_path / "nowhere" / "clip.mp4")
