"""A colorizer that is shown colors: what its step computes, what its references and hints change."""

import dataclasses

import pytest
import torch

import nstlib.reference
from nstlib import AnimePairs, CachedFrames, ImageError
from nstlib.color import gray_to_scaled_lab, rgb_to_lab, scale_lab
from nstlib.correspondence import matching_loss, position_loss
from nstlib.edges import Condition
from nstlib.hints import Dab, hints_map, known_everywhere
from nstlib.metrics import color_accuracy
from nstlib.model import ColorizationModel
from nstlib.positions import decode_positions, encode_positions
from nstlib.reference import ReferenceColorizer, ReferenceRecipe, bounded_l1, recolor, thicken
from nstlib.training import Trainer

TINY = ReferenceRecipe(width=8, fold=2, epochs=2, batch_size=4)


def tiny(condition="canny", size=32, seed=0, **changes):
    return ReferenceColorizer(condition, size, recipe=dataclasses.replace(TINY, **changes), seed=seed)


@pytest.fixture
def pairs():
    return AnimePairs("train", 32, 16)


@pytest.fixture
def known(pairs):
    """Pairs with positions, (4, 10, 32, 32)."""
    return torch.stack([pairs[i] for i in range(4)])


@pytest.fixture
def batch(known):
    """Pairs alone, (4, 6, 32, 32)."""
    return known[:, :6]


def step(model, batch, pairs, fabric):
    torch.manual_seed(0)
    return model.training_step(batch, Trainer(model, pairs, fabric=fabric))


# one step


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("condition", ["canny", "grayscale"])
def test_losses_are_those_documented(known, pairs, fabric, condition, positions):
    model, again = (tiny(condition, referenced=1.0, kept=1.0, hinted=0.0, thickened=0.0) for _ in range(2))
    losses = step(model, known if positions else known[:, :6], pairs, fabric)
    assert set(losses) == {"color", "matching", *(["position"] if positions else [])}
    (reference_condition, reference), (lines, real) = (again.inputs(part) for part in known[:, :6].split(3, dim=1))
    colors = known_everywhere(reference)
    fake, carried = again.generator.train()(lines, [(reference_condition, colors)], torch.zeros(4, 4, 32, 32))
    error = (fake - real).abs().mean(dim=1)
    assert losses["color"].item() == pytest.approx((0.1 * error / (error + 0.1)).mean().item(), rel=1e-3)
    expected = matching_loss(carried, real, torch.ones(4))
    assert losses["matching"].item() == pytest.approx(expected.item(), rel=1e-3)
    if positions:
        expected = position_loss(carried, decode_positions(known[:, 6:], 32, 32))
        assert losses["position"].item() == pytest.approx(expected.item(), rel=1e-3)
        assert expected > 1


@pytest.mark.parametrize("positions", [False, True])
def test_with_its_condition_a_pair_gives_the_losses_that_it_gives_without(known, pairs, fabric, positions):
    given = known if positions else known[:, :6]
    cached = CachedFrames(list(given), tiny().condition)
    beside = torch.stack([cached[i] for i in range(4)])
    assert beside.shape[1] == (12 if positions else 8)
    plain, kept = (step(tiny(), frames, pairs, fabric) for frames in (given, beside))
    assert {name: loss.item() for name, loss in kept.items()} == pytest.approx(
        {name: loss.item() for name, loss in plain.items()}, rel=1e-3
    )


def test_positions_that_are_nowhere_known_cost_nothing(known, pairs, fabric):
    known[:, 6:] = encode_positions(torch.full((4, 2, 32, 32), torch.nan), 32, 32)
    assert step(tiny(), known, pairs, fabric)["position"].item() == 0


def test_the_weight_of_the_positions_counts(known, pairs, fabric):
    trained = []
    for weight in (0.0, 1000.0):
        model = tiny(position_weight=weight, hinted=0.0)
        step(model, known, pairs, fabric)
        trained.append(model.generator.correspondence.coarse.weight)
    assert not torch.equal(*trained)


def test_without_references_nothing_is_matched(batch, pairs, fabric):
    losses = step(tiny(referenced=0.0), batch, pairs, fabric)
    assert losses["matching"].item() == 0


def test_frames_without_a_reference_keep_their_colors(batch, pairs, fabric, monkeypatch):
    seen = []
    monkeypatch.setattr(nstlib.reference, "random_hints", lambda real, hinted: seen.append(real) or torch.zeros(4, 4, 32, 32))
    model = tiny(referenced=0.0, kept=0.0)
    step(model, batch, pairs, fabric)
    torch.testing.assert_close(seen[0], scale_lab(rgb_to_lab(batch[:, 3:])))
    step(tiny(referenced=1.0, kept=0.0), batch, pairs, fabric)
    assert not torch.allclose(seen[1], seen[0], atol=0.1)


def test_the_bounded_l1_is_l1_where_colors_are_nearly_right_and_never_more_than_its_bound():
    real = torch.rand(2, 3, 8, 8) - 0.5
    for error, expected in ((0.0, 0.0), (0.001, 0.001), (0.1, 0.05), (1e3, 0.1)):
        assert bounded_l1(real + error, real).item() == pytest.approx(expected, rel=0.02, abs=1e-7)
    assert bounded_l1(real + 1e3, real, most=0.5).item() == pytest.approx(0.5, rel=0.01)
    half = torch.where(torch.arange(8) < 4, real, real + 1e3)
    assert bounded_l1(half, real).item() == pytest.approx(0.05, rel=0.01), "a mean over pixels"
    mixed = real + torch.tensor([0.0, 0.0, 0.3])[:, None, None]
    assert bounded_l1(mixed, real).item() == pytest.approx(0.05, rel=0.01), "of a pixel's mean over its channels"


# the network


@pytest.mark.parametrize("condition", ["canny", "grayscale"])
def test_at_first_it_gives_the_colors_that_it_is_shown(condition, batch):
    model = tiny(condition)
    hints = hints_map([Dab(0.5, 0.25, (0.9, 0.1, 0.4))], 32, 32).expand(4, -1, -1, -1)
    with torch.no_grad():
        model.generator.painter.output.weight.zero_()
        (reference_condition, reference), (lines, _) = (model.inputs(part) for part in batch.split(3, dim=1))
        fake, carried = model.generator(lines, [(reference_condition, known_everywhere(reference))], hints)
    assert carried.colors.shape == (4, 4, 32, 32)
    expected = torch.where(hints[:, 3:] == 1, hints[:, :3], carried.colors[:, :3])
    if condition == "grayscale":
        expected[:, :1] = gray_to_scaled_lab(lines)[:, :1]
    torch.testing.assert_close(fake, expected)


def test_a_gate_says_how_much_of_the_residual_counts(batch, monkeypatch):
    model = tiny()
    (reference_condition, reference), (lines, _) = (model.inputs(part) for part in batch.split(3, dim=1))
    references = [(reference_condition, known_everywhere(reference))]
    hints = torch.zeros(4, 4, 32, 32)
    residual = torch.rand(4, 3, 32, 32) - 0.5
    assert model.generator.painter(torch.zeros(1, 15, 32, 32)).shape == (1, 4, 32, 32)
    for gate, counts in ((-1.0, 0.0), (0.0, 0.5), (1.0, 1.0)):
        painted = torch.cat([residual, torch.full((4, 1, 32, 32), gate)], dim=1)
        monkeypatch.setattr(model.generator.painter, "forward", lambda seen, painted=painted: painted)
        with torch.no_grad():
            fake, carried = model.generator(lines, references, hints)
            alone, none = model.generator(lines, [], hints)
        torch.testing.assert_close(fake, carried.colors[:, :3] + counts * residual)
        torch.testing.assert_close(alone, counts * residual)
        assert none is None


def test_the_painter_sees_what_was_carried_over(batch, monkeypatch):
    model = tiny()
    (reference_condition, reference), (lines, _) = (model.inputs(part) for part in batch.split(3, dim=1))
    seen, hints = [], hints_map([Dab(0.5, 0.25, (0.9, 0.1, 0.4))], 32, 32).expand(4, -1, -1, -1)
    monkeypatch.setattr(model.generator.painter, "forward", lambda given: seen.append(given) or torch.zeros(4, 4, 32, 32))
    _, carried = model.generator(lines, [(reference_condition, known_everywhere(reference))], hints)
    parts = seen[0].split([1, 4, 1, 4, 1, 4], dim=1)
    coarse = [torch.nn.functional.interpolate(one, scale_factor=8) for one in (carried.means, carried.confidence)]
    for found, expected in zip(parts, [lines, carried.colors, carried.condition, *coarse, hints], strict=True):
        torch.testing.assert_close(found, expected)


# recoloring


def test_one_color_becomes_one_color_in_both_images():
    torch.manual_seed(0)
    palette = torch.rand(6, 3) - 0.5
    where = torch.randint(0, 6, (5, 2, 16, 16))
    colors = palette[where].permute(0, 1, 4, 2, 3)
    mapped = recolor(colors, kept=0.0, lightness=True)
    for group in range(5):
        for number in range(6):
            same = mapped[group].permute(0, 2, 3, 1)[where[group] == number]
            assert torch.allclose(same, same[:1].expand_as(same), atol=1e-5)
    assert not torch.allclose(mapped[0, 0, :, 0, 0], mapped[1, 0, :, 0, 0])
    assert mapped.abs().max() <= 1


def test_lightness_is_changed_if_wanted_only():
    torch.manual_seed(0)
    colors = torch.rand(5, 2, 3, 8, 8) - 0.5
    assert torch.equal(recolor(colors, 0.0, lightness=False)[:, :, 0], colors[:, :, 0])
    assert (recolor(colors, 0.0, lightness=True)[:, :, 0] - colors[:, :, 0]).abs().mean() > 0.05


def test_a_share_keeps_its_colors():
    torch.manual_seed(0)
    colors = torch.rand(400, 2, 3, 2, 2) - 0.5
    same = (recolor(colors, kept=0.25, lightness=True) == colors).flatten(1).all(dim=1)
    assert 80 < same.sum() < 120
    assert torch.equal(recolor(colors, kept=1.0, lightness=True), colors)


# lines


def test_lines_become_two_or_three_pixels_wide():
    torch.manual_seed(0)
    lines = torch.ones(300, 1, 9, 9)
    lines[:, :, 4] = -1
    ink = (thicken(lines, 0.5) < 0).sum(dim=2)[:, 0]  # black pixels of each column
    assert (ink == ink[:, :1]).all()
    counts = torch.bincount(ink[:, 0])
    assert counts[0] == 0
    assert 120 < counts[1] < 180
    assert 50 < counts[2] < 100
    assert 50 < counts[3] < 100
    assert torch.equal(thicken(lines, 0.0), lines)


# colorize


@pytest.mark.parametrize("shape", [(32, 32), (48, 32), (45, 61)])
def test_any_size_any_number_of_references(shape):
    model = tiny()
    condition = torch.rand(2, 1, *shape).round()
    references = [torch.rand(1, 3, 40, 56), torch.rand(2, 3, 32, 32), torch.rand(1, 3, 64, 31)]
    for count in range(4):
        colors = model.colorize(condition, reference=references[:count], hints=[Dab(0.5, 0.5, (1, 0, 0))])
        assert colors.shape == (2, 3, *shape)
        assert 0 <= colors.min() <= colors.max() <= 1


def test_references_and_hints_change_the_colors_and_nothing_random_does(batch):
    model = tiny()
    condition = model.condition(batch[:1, 3:])
    plain, again = model.colorize(condition), model.colorize(condition)
    assert torch.equal(plain, again)
    shown = model.colorize(condition, reference=[batch[:1, :3]])
    assert not torch.equal(shown, plain)
    assert not torch.equal(model.colorize(condition, hints=[Dab(0.5, 0.5, (1, 0, 0))]), plain)


def test_pictures_and_drawings_take_references_of_any_kind(tmp_path):
    photo = AnimePairs("shots", (45, 61), 1)[0][None, :3]
    model, path = tiny(), tmp_path / "key.png"
    nstlib.save_image(photo, path)
    expected = model.colorize_image(photo, reference=photo)
    assert expected.shape == photo.shape
    assert (model.colorize_image(photo, reference=[path]) - expected).abs().max() < 0.1  # 8 bits
    drawing = torch.ones(1, 3, 60, 80)
    drawing[:, :, 20:24, 10:70] = 0
    hints = [Dab(0.5, 0.9, (0.2, 0.4, 0.9))]
    assert model.colorize_drawing(drawing, reference=[path], hints=hints).shape == drawing.shape
    assert tiny("grayscale").colorize_image(photo, reference=photo, hints=hints).shape == photo.shape


def test_an_invalid_reference_is_named(tmp_path):
    model, condition = tiny(), torch.ones(1, 1, 32, 32)
    with pytest.raises(ImageError, match="reference"):
        model.colorize(condition, reference=[torch.rand(1, 1, 32, 32)])
    with pytest.raises(ImageError, match=r"missing\.png"):
        model.colorize(condition, reference=[tmp_path / "missing.png"])
    with pytest.raises(ImageError, match="condition"):
        model.colorize(torch.ones(1, 3, 32, 32))


def test_line_art_that_is_given_is_refused():
    with pytest.raises(ValueError, match="given"):
        tiny("given")


# training


@pytest.mark.parametrize("cached", [False, True])
def test_training_measures_with_the_references(fabric, cached):
    model = tiny(epochs=1)
    pairs, validation = AnimePairs("train", 32, 16), AnimePairs("validation", 32, 4)
    if cached:
        pairs, validation = CachedFrames(pairs, model.condition), CachedFrames(validation, model.condition)
    history = model.fit(pairs, validation=validation, fabric=fabric, progress=False)
    assert set(history[0]) == {"color", "matching", "position", "accuracy", "accuracy_ab", "seconds"}
    compared = model.compare(validation, [0, 2])
    plain = torch.stack([AnimePairs("validation", 32, 4)[i] for i in (0, 2)])
    assert torch.equal(compared["truth"], torch.stack([validation[i][-3:] for i in (0, 2)]))
    expected = model.colorize(model.condition(plain[:, 3:]), reference=[plain[:, :3]])
    assert color_accuracy(compared["colorized"], expected, 1.0).mean() > 0.9


def test_pairs_without_positions_and_of_any_shape_are_trained_on(fabric):
    for split, shape, losses in (("train", (32, 44), {"color", "matching", "position"}), ("scenes", 32, {"color", "matching"})):
        history = tiny(epochs=1).fit(AnimePairs(split, shape, 4), fabric=fabric, progress=False)
        assert set(history[0]) == {*losses, "seconds"}
        assert all(value == value and value < 100 for value in history[0].values())


def test_with_lines_found_at_a_larger_size_the_positions_still_fit(fabric):
    model = ReferenceColorizer(Condition("xdog", supersample=2), 32, recipe=dataclasses.replace(TINY, epochs=1))
    (entry,) = model.fit(AnimePairs("train", 64, 8), fabric=fabric, progress=False)
    assert 0 < entry["position"] < 30


def test_it_learns_to_look_at_the_reference(fabric):
    model = tiny("grayscale", epochs=4, kept=0.0, hinted=0.0, generator_lr=5e-3)
    model.fit(AnimePairs("train", 32, 64), fabric=fabric, progress=False)
    scenes = torch.stack([AnimePairs("scenes", 32, 16)[i] for i in range(16)])
    condition, truth = model.condition(scenes[:, 3:]), scenes[:, 3:]
    right, wrong = (scenes[:, :3], 1 - scenes[:, :3])
    accuracy = [color_accuracy(model.colorize(condition, reference=one), truth, 5.0).mean() for one in (right, wrong)]
    assert accuracy[0] > 1.3 * accuracy[1]


def test_saved_and_loaded_it_colors_alike(tmp_path, batch):
    model = tiny()
    model.save(tmp_path / "m.safetensors")
    loaded = ColorizationModel.load(tmp_path / "m.safetensors")
    assert type(loaded) is ReferenceColorizer
    condition = model.condition(batch[:, 3:])
    one, other, wrong = (
        network.colorize(condition, reference=reference)
        for network, reference in ((model, batch[:, :3]), (loaded, batch[:, :3]), (model, 1 - batch[:, :3]))
    )
    assert (one - other).abs().median() < 0.01  # in 8 bits, here and there another place of the reference matches best
    assert (one - other).abs().mean() < 0.1 * (one - wrong).abs().mean()


def test_frames_that_are_no_pairs_are_refused(frames, fabric):
    with pytest.raises(ImageError, match="6 or 8 or 10 or 12"):
        tiny(size=16).fit(frames, fabric=fabric, progress=False)
