"""Datasets are checked item by item, kept in memory, and told apart."""

import collections
import math
import warnings

import pytest
import torch

from nstlib import AnimeFrames, AnimePairs, CachedFrames, Colorizer, ColorizerRecipe, Condition, CycleGAN, CycleRecipe
from nstlib.datasets import SAMPLE, CheckedFrames, digest, warn_if_gray
from nstlib.images import ImageError
from nstlib.positions import decode_positions


def frames(count=12, height=16, width=20, seed=0):
    return list(torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)))


def test_frames_come_in_single_precision_and_without_autograd():
    checked = CheckedFrames([frame.double().requires_grad_() for frame in frames()])
    assert len(checked) == 12
    assert checked[0].dtype == torch.float32
    assert not checked[0].requires_grad
    assert checked.batch([1, 3]).shape == (2, 3, 16, 20)
    assert torch.equal(checked.batch([1, 3])[1], frames()[3])


def test_an_empty_dataset_is_refused():
    with pytest.raises(ImageError):
        CheckedFrames([])


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ((torch.rand(3, 16, 20), 1), "tuple"),
        (torch.rand(3, 16, 16), r"\(3, 16, 16\).*\(3, 16, 20\)"),
        (torch.rand(1, 3, 16, 20), r"\(1, 3, 16, 20\)"),
        (torch.rand(1, 16, 20), r"\(1, 16, 20\)"),
        ((torch.rand(3, 16, 20) * 255).byte(), "uint8"),
        (torch.rand(3, 16, 20).numpy(), "ndarray"),
        (None, "NoneType"),
    ],
    ids=["label", "size", "batch", "gray", "bytes", "numpy", "None"],
)
def test_an_item_that_is_no_frame_is_named(item, named):
    dataset = frames()
    dataset[5] = item
    with pytest.raises(ImageError, match=f"frame 5 .*{named}") as caught:
        CheckedFrames(dataset)[5]
    assert len(str(caught.value)) < 500
    if not isinstance(item, torch.Tensor) or item.shape != (3, 16, 16):
        with pytest.raises(ImageError, match="frame 0 "):
            CheckedFrames([item])


def test_the_shorter_side_may_be_asked_for():
    assert len(CheckedFrames(frames(), 16)) == 12
    with pytest.raises(ImageError, match=r"\b16\b.*\b20\b"):
        CheckedFrames(frames(), 20)


def test_line_art_beside_the_colors():
    four = [torch.rand(4, 16, 16)] * 2
    for channels in ((4,), (3, 4)):
        assert CheckedFrames(four, channels=channels).batch([0, 1]).shape == (2, 4, 16, 16)
    with pytest.raises(ImageError, match=r"\(3, H, W\)"):
        CheckedFrames(four, channels=(3,))
    with pytest.raises(ImageError, match=r"\(4, H, W\)"):
        CheckedFrames(frames(), channels=(4,))
    assert len(CheckedFrames(frames())) == len(CheckedFrames(four)) + 10
    for five in (torch.rand(5, 16, 16), torch.rand(2, 16, 16)):
        with pytest.raises(ImageError, match=r"\(3 or 4, H, W\)"):
            CheckedFrames([five])


def test_frames_with_line_art_and_without_do_not_mix():
    mixed = CheckedFrames([torch.rand(3, 16, 16), torch.rand(4, 16, 16)])
    with pytest.raises(ImageError, match="frame 1 "):
        mixed[1]


def test_the_sample_is_spread_over_the_dataset():
    dataset = frames(3 * SAMPLE)
    assert torch.equal(CheckedFrames(dataset).sample(), torch.stack(dataset[::3]))
    assert len(CheckedFrames(dataset[:3]).sample()) == 3


def test_digests_tell_datasets_apart():
    one = digest(CheckedFrames(frames()))
    assert digest(CheckedFrames(frames())) == one
    assert digest(CheckedFrames([frame.double() for frame in frames()])) == one
    assert digest(CheckedFrames(frames(seed=1))) != one
    assert digest(CheckedFrames(frames()[::-1])) != one


def test_frames_that_are_new_each_time_are_not_told_apart():
    class Random:
        def __len__(self):
            return 12

        def __getitem__(self, index):
            return torch.rand(3, 16, 16)

    assert digest(CheckedFrames(Random())) == digest(CheckedFrames(Random()))


@pytest.mark.parametrize("line_art", [False, True])
def test_gray_frames_warn(line_art):
    """Line-art beside them does not count."""

    def checked(dataset):
        if not line_art:
            return CheckedFrames(dataset)
        return CheckedFrames([torch.cat([1 - frame[:1], frame]) for frame in dataset], channels=(4,))

    gray = [frame[:1].expand(3, -1, -1) for frame in frames()]
    with pytest.warns(RuntimeWarning):
        warn_if_gray(checked(gray))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_gray(checked(frames()))
        warn_if_gray(checked([*frames(2), *gray]))


@pytest.mark.parametrize("channels", [6, 8, 10, 12])
def test_of_pairs_the_frames_colors_count_alone(channels):
    """Neither the reference's colors nor the condition nor the positions."""

    def pairs(colored):
        items = torch.rand(4, channels, 16, 16, generator=torch.Generator().manual_seed(0))
        end = channels - 4 if channels >= 10 else channels
        if not colored:
            items[:, end - 3 : end] = items[:, end - 3 : end - 2]
        return CheckedFrames(list(items), channels=(channels,))

    with pytest.warns(RuntimeWarning, match="gray"):
        warn_if_gray(pairs(colored=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_gray(pairs(colored=True))


# --- frames kept in memory -------------------------------------------------------------------------------------------

RECIPE = ColorizerRecipe(width=4, epochs=4, batch_size=4, dropout=0.5)
CONDITIONS = [None, Condition("canny"), Condition("grayscale"), Condition("xdog", supersample=2)]
NAMES = ["none", "canny", "grayscale", "xdog"]


class Counted(AnimeFrames):
    """Frames that count how often they are composed."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.taken = collections.Counter()

    def __getitem__(self, index):
        self.taken[index] += 1
        return super().__getitem__(index)


def trained(dataset, condition="canny", **settings):
    """A tiny colorizer, and its weights."""
    model = Colorizer(condition, 16, recipe=RECIPE, seed=2)
    model.fit(dataset, progress=False, **settings)
    state = {**model.generator.state_dict(prefix="g."), **model.discriminator.state_dict(prefix="d.")}
    return model, state


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("condition", CONDITIONS, ids=NAMES)
def test_what_is_kept_is_the_frame_behind_its_condition(condition):
    shots = AnimeFrames("train", 32, 6)
    cached = CachedFrames(shots, condition)
    assert len(cached) == 6
    for _ in range(2):  # found, and kept
        for index in (0, 3, 5, -1):
            kept = cached[index]
            assert kept.dtype == torch.float32
            assert torch.equal(kept[-3:], shots[index]), "in 8 bits, as they were"
            if condition is None:
                assert kept.shape == (3, 32, 32)
            else:
                assert kept.shape == (4, 32, 32)
                torch.testing.assert_close(kept[None, :1], condition.find(shots[index][None]), rtol=0, atol=0.501 / 255)
                together, alone = (condition(frame[None]) for frame in (kept, shots[index]))
                torch.testing.assert_close(together, alone, rtol=0, atol=0.501 / 255)


def test_lines_that_are_black_or_white_stay_so():
    shots, condition = AnimeFrames("train", 32, 4), Condition("canny")
    cached = CachedFrames(shots, condition)
    for index in range(4):
        assert torch.equal(cached[index][None, :1], condition.find(shots[index][None]))


def test_other_values_are_rounded_to_8_bits():
    given = frames(3)
    cached = CachedFrames(given)
    torch.testing.assert_close(cached[1], given[1], rtol=0, atol=0.501 / 255)
    assert torch.equal((cached[1] * 255).round() / 255, cached[1])


def test_line_art_that_was_given_is_kept():
    pairs = list(torch.rand(3, 4, 16, 16, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(CachedFrames(pairs)[2], pairs[2], rtol=0, atol=0.501 / 255)
    with pytest.raises(ImageError, match=r"\(3 or 6 or 10, H, W\)"):
        CachedFrames(pairs, Condition("canny"))


def test_of_a_pair_each_frame_has_its_condition():
    pairs, condition = AnimePairs("shots", 32, 2), Condition("canny")
    kept = CachedFrames(pairs, condition)[1]
    assert kept.shape == (8, 32, 32)
    for part, frame in zip(kept.split(4), pairs[1].split(3), strict=True):
        assert torch.equal(part[:1], condition.find(frame[None])[0])
        torch.testing.assert_close(part[1:], frame, rtol=0, atol=0.501 / 255)


@pytest.mark.parametrize("condition", CONDITIONS, ids=NAMES)
def test_positions_are_kept_to_the_last_bit(condition):
    size = 64 if condition is not None and condition.supersample == 2 else 32
    pairs = AnimePairs("train", size, 2)
    cached = CachedFrames(pairs, condition)
    for _ in range(2):  # found, and kept
        kept, given = cached[1], pairs[1]
        assert torch.equal(kept[-4:], given[-4:])
        decoded, expected = (decode_positions(item[None, -4:], size, size) for item in (kept, given))
        assert torch.equal(decoded.isnan(), expected.isnan())
        assert torch.equal(decoded.nan_to_num(), expected.nan_to_num())
        if condition is None:
            torch.testing.assert_close(kept, given, rtol=0, atol=0.501 / 255)
        else:
            assert kept.shape == (12, size, size)
            for part, frame in zip(kept[:8].split(4), given[:6].split(3), strict=True):
                torch.testing.assert_close(part[:1], condition.find(frame[None])[0], rtol=0, atol=0.501 / 255)
                torch.testing.assert_close(part[1:], frame, rtol=0, atol=0.501 / 255)


def test_what_is_done_to_a_frame_does_not_reach_the_one_that_is_kept():
    cached, shots = CachedFrames(AnimeFrames("train", 16, 2)), AnimeFrames("train", 16, 2)
    for _ in range(2):
        frame = cached[1]
        assert torch.equal(frame, shots[1])
        frame.zero_()


@pytest.mark.parametrize("condition", CONDITIONS, ids=NAMES)
def test_training_takes_each_frame_and_finds_its_lines_once(condition, monkeypatch, fabric):
    size = 16 * condition.supersample if condition else 16
    shots, found, find = Counted("train", size, 16), [], Condition.find
    monkeypatch.setattr(Condition, "find", lambda self, image: found.append(len(image)) or find(self, image))
    cached = CachedFrames(shots, condition)
    shots.taken.clear()  # the first was looked at already, to know the shape
    trained(cached, condition or Condition("canny"), fabric=fabric)  # 4 times through
    assert shots.taken == dict.fromkeys(range(16), 1)
    assert found == [1] * 16 if condition else sum(found) > 4 * 16


@pytest.mark.parametrize("condition", [None, Condition("canny")], ids=["none", "canny"])
def test_training_ends_with_the_weights_that_it_has_without(condition, fabric):
    shots = AnimeFrames("train", 16, 12)
    cached, plain = (trained(dataset, fabric=fabric)[1] for dataset in (CachedFrames(shots, condition), shots))
    assert same(cached, plain)


class Stopped(Exception):
    pass


def stop_after_two(model):
    if len(model.history) == 2:
        raise Stopped


@pytest.mark.parametrize("condition", CONDITIONS[1:], ids=NAMES[1:])
def test_training_goes_on_after_an_interruption_to_the_same_bits(condition, tmp_path, fabric):
    def cached():
        return CachedFrames(AnimeFrames("train", size, 10), condition)

    size = 16 * condition.supersample
    settings = {"frames_per_epoch": 12, "validation": AnimeFrames("validation", size, 4), "fabric": fabric}
    alone, expected = trained(cached(), condition, **settings)
    with pytest.raises(Stopped):
        trained(cached(), condition, folder=tmp_path, callback=stop_after_two, **settings)
    resumed, found = trained(cached(), condition, folder=tmp_path, **settings)
    assert same(expected, found)
    assert [entry["accuracy"] for entry in resumed.history] == [entry["accuracy"] for entry in alone.history]
    assert all(math.isfinite(entry["l1"]) for entry in resumed.history)


@pytest.mark.parametrize(
    ("kept", "models"),
    [
        (Condition("canny"), Condition("sobel")),
        (Condition("canny"), Condition("grayscale")),
        (Condition("canny", sigma=2), Condition("canny")),
        (Condition("canny"), Condition("canny", supersample=2)),
    ],
    ids=["operator", "grayscale", "setting", "supersample"],
)
@pytest.mark.parametrize("kind", [Colorizer, CycleGAN])
def test_frames_that_are_kept_with_another_condition_are_refused(kind, kept, models, fabric):
    recipe = RECIPE if kind is Colorizer else CycleRecipe(width=4, fold=1, epochs=1, batch_size=4, pool=8)
    shots = AnimeFrames("train", 16, 4)
    with pytest.raises(ImageError, match="condition"):
        kind(models, 16 // models.supersample, recipe=recipe).fit(CachedFrames(shots, kept), fabric=fabric, progress=False)
    again = Condition(**models.config())  # the same one, made anew
    model = kind(models, 16 // models.supersample, recipe=recipe)
    assert model.fit(CachedFrames(shots, again), fabric=fabric, progress=False)


def test_kept_frames_are_measured_as_others_are():
    shots, condition = AnimeFrames("shots", 16, 5), Condition("canny")
    model = Colorizer(condition, 16, recipe=RECIPE)
    cached, plain = model.evaluate(CachedFrames(shots, condition)), model.evaluate(shots)
    assert all(torch.equal(cached[name], plain[name]) for name in plain)


def test_what_is_no_frame_is_not_kept():
    for none in ([], [(torch.rand(3, 16, 16), 1)], [torch.rand(16, 16)]):
        with pytest.raises(ImageError):
            CachedFrames(none)
    cached = CachedFrames([*frames(3), torch.rand(3, 16, 16)])
    with pytest.raises(ImageError, match="frame 3 "):
        cached[3]
    with pytest.raises(IndexError):
        cached[4]
