"""The networks have the papers' layers, any image size goes through them, and their weights begin as He et al. have it."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nstlib.networks import LineNetwork, PatchGAN, UNet


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small(size=32, width=4, **arguments):
    torch.manual_seed(0)
    return UNet(size, width, **arguments)


def convolutions(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]


# --- U-Net -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "channels"),
    [
        (256, [64, 64, 128, 256, 512, 512, 512, 512]),
        (32, [64, 128, 256, 512, 512]),
        (64, [64, 128, 256, 512, 512, 512]),
    ],
)
def test_channels_are_the_papers(size, channels):
    with torch.device("meta"):  # shapes alone
        network = UNet(size, 64)
    encoder, decoder = convolutions(network.encoder), convolutions(network.decoder)
    assert [layer.out_channels for layer in encoder] == channels
    assert [layer.in_channels for layer in encoder] == [1, *channels[:-1]]
    assert [layer.stride for layer in encoder] == [(1, 1)] + [(2, 2)] * (len(channels) - 1)
    assert [layer.out_channels for layer in decoder] == channels[-2::-1]
    # every stage after the first takes the stage below and the skip connection
    assert [layer.in_channels for layer in decoder] == [channels[-1], *(2 * skipped for skipped in channels[-2:0:-1])]
    assert all(isinstance(layer, nn.ConvTranspose2d) and layer.stride == (2, 2) for layer in decoder)
    assert all(layer.kernel_size == (4, 4) and layer.bias is None for layer in encoder + decoder)
    assert (network.output.in_channels, network.output.out_channels) == (2 * channels[0], 3)
    assert network.output.kernel_size == (1, 1)
    for stage, activation in [*((s, nn.LeakyReLU) for s in network.encoder), *((s, nn.ReLU) for s in network.decoder)]:
        assert isinstance(stage[-1], activation)
        assert sum(isinstance(layer, nn.BatchNorm2d) for layer in stage) == 1
        assert activation is nn.ReLU or stage[-1].negative_slope == 0.2


def test_deep_layers_are_no_wider_than_asked_for():
    with torch.device("meta"):
        network = UNet(256, 64, fold=4, widest=3)
    assert [layer.out_channels for layer in convolutions(network.encoder)] == [64, 128, 192, 192, 192, 192]


@pytest.mark.parametrize("size", [8, 16, 32, 64, 256])
def test_the_deepest_features_are_two_by_two(size):
    with torch.device("meta"):
        network, x = UNet(size, 1).eval(), torch.zeros(1, 1, size, size)
    sides = []
    for layer in network.encoder:
        x = layer(x)
        sides.append(x.shape[2:])
    assert sides == [(size, size), *((side, side) for side in (size >> i for i in range(1, len(sides))))]
    assert sides[-1] == (2, 2)


@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (64, 32), (33, 47), (31, 29), (17, 16), (100, 64), (8, 9), (2, 3), (1, 40)]
)
def test_the_result_has_the_conditions_size_and_the_range(height, width):
    with torch.no_grad():
        result = small().eval()(noise(2, 1, height, width))
    assert result.shape == (2, 3, height, width)
    assert result.abs().max() <= 1
    assert result.std() > 0


def test_the_range_holds_for_any_weights():
    network = small()
    with torch.no_grad():
        network.output.weight *= 1000
        result = network(noise(2, 1, 32, 32))
    assert result.min() == -1
    assert result.max() == 1


def test_other_sizes_are_as_if_the_border_went_on():
    network, condition = small().eval(), noise(1, 1, 37, 50)
    with torch.no_grad():
        extended = network(F.pad(condition, (0, 14, 0, 11), mode="replicate"))  # to multiples of 16
        torch.testing.assert_close(network(condition), extended[:, :, :37, :50])


def test_channels_in_and_out():
    assert small(in_channels=3, out_channels=1).eval()(noise(2, 3, 32, 32)).shape == (2, 1, 32, 32)


def half_removed(first):
    """A hook that silences the first half of the channels that go into a layer, or the second."""

    def hook(_, inputs):
        up, skipped = inputs[0].chunk(2, dim=1)
        return (torch.cat([torch.zeros_like(up), skipped] if first else [up, torch.zeros_like(skipped)], dim=1),)

    return hook


def test_every_scale_is_passed_across_and_matters():
    network, condition = small().eval(), noise(1, 1, 32, 32)
    encoded, seen = [], []
    stages = [*network.decoder[1:], network.output]
    handles = [
        layer.register_forward_hook(lambda _, inputs, output: encoded.append(output.clone())) for layer in network.encoder
    ]
    handles += [stage.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone())) for stage in stages]
    with torch.no_grad():
        whole = network(condition)
        for handle in handles:
            handle.remove()
        for skipped, x in zip(reversed(encoded[:-1]), seen, strict=True):
            assert torch.equal(x.chunk(2, dim=1)[1], skipped)
        for stage, first in itertools.product(stages, (True, False)):
            handle = stage.register_forward_pre_hook(half_removed(first))
            assert (network(condition) - whole).abs().max() > 1e-4
            handle.remove()


def test_gradients_reach_every_weight():
    network = small()
    network(noise(4, 1, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_dropout_is_noise_while_training_only():
    network, without, condition = small(dropout=0.5), small(), noise(2, 1, 32, 32)
    without.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(without(condition), without(condition))
        assert not torch.equal(network(condition), network(condition))
        without.load_state_dict(network.state_dict())  # the running statistics
        network.eval(), without.eval()
        assert torch.equal(network(condition), network(condition))
        assert torch.equal(network(condition), without(condition))


@pytest.mark.parametrize(("size", "expected"), [(64, [0.3, 0.3, 0.3, None, None]), (8, [0.3, 0.3])])
def test_dropout_is_in_the_three_deepest_layers(size, expected):
    found = []
    for stage in small(size, dropout=0.3).decoder:
        dropouts = [layer.p for layer in stage if isinstance(layer, nn.Dropout)]
        found.append(dropouts[0] if dropouts else None)
    assert found == expected
    assert not any(isinstance(layer, nn.Dropout) for layer in small(size).modules())


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 7},
        {"size": 0},
        {"size": -64},
        {"size": 64.0},
        {"width": 0},
        {"width": -1},
        {"dropout": -0.1},
        {"dropout": 1.0},
        {"dropout": 2},
        {"dropout": math.nan},
        {"output_gain": 0},
        {"output_gain": -1.0},
        {"output_gain": math.inf},
        {"fold": 0},
        {"fold": -4},
        {"fold": 3},
        {"fold": 17},
        {"fold": 4.0},
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"^{name} .*{arguments[name]!r}$"):
        UNet(**arguments)


# --- the folded U-Net ------------------------------------------------------------------------------------------------


def shapes(network, *images):
    """Of what every stage of a U-Net gives."""
    found = []
    for stage in [*network.encoder, *network.decoder]:
        stage.register_forward_hook(lambda _, inputs, output: found.append(tuple(output.shape)))
    network(*images)
    return found


def test_folded_a_large_picture_is_worked_on_as_a_small_one():
    with torch.device("meta"):  # shapes alone
        folded, plain = UNet(256, 64, fold=4), UNet(64, 64)
        found = shapes(folded, torch.zeros(2, 1, 256, 256))
        assert found == shapes(plain, torch.zeros(2, 1, 64, 64))
    assert found[0] == (2, 64, 64, 64)
    assert min(shape[2] for shape in found) == 2
    first, last = convolutions(folded.encoder)[0], folded.output
    assert (first.in_channels, last.out_channels) == (16, 12)


def test_folded_the_detail_is_drawn_at_half_the_fold():
    """From the features, twice as large, and from the condition itself."""
    network, condition = small(64, fold=4).eval(), noise(1, 1, 64, 64)
    up, refine = network.outer
    seen = []
    refine.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(condition)
    assert [type(layer) for layer in up] == [nn.Upsample, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert seen[0].shape == (1, 2 + 4, 32, 32)
    assert torch.equal(seen[0][:, 2:], F.pixel_unshuffle(condition, 2))
    assert small().outer is None


def test_folded_the_last_doubling_repeats_pixels():
    """A grid would show otherwise."""
    network = small(64, fold=4)
    *deeper, last = network.decoder
    assert [type(layer) for layer in last] == [nn.Upsample, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert (last[0].scale_factor, last[0].mode) == (2, "nearest")
    assert len(deeper) == 2
    assert all(isinstance(layer, nn.ConvTranspose2d) for layer in convolutions(nn.ModuleList(deeper)))
    assert last[1].kernel_size == network.output.kernel_size == (3, 3)


@pytest.mark.parametrize("fold", [2, 4])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 32), (33, 47), (31, 29), (100, 64), (8, 9), (2, 3), (1, 40)])
def test_folded_the_result_has_the_conditions_size_and_the_range(fold, height, width):
    network = small(fold=fold).eval()
    with torch.no_grad():
        result = network(noise(2, 1, height, width))
        assert result.shape == (2, 3, height, width)
        assert result.std() > 0
        network.output.weight *= 1000
        assert network(noise(2, 1, height, width)).abs().max() <= 1


def test_folded_other_sizes_are_as_if_the_border_went_on():
    network, condition = small(fold=4).eval(), noise(1, 1, 37, 50)
    with torch.no_grad():
        extended = network(F.pad(condition, (0, 14, 0, 11), mode="replicate"))  # to multiples of 4 x 4
        torch.testing.assert_close(network(condition), extended[:, :, :37, :50])


@pytest.mark.parametrize("shape", [(64, 64), (45, 38)])
def test_folded_no_pixel_of_the_condition_is_lost(shape):
    network, condition = small(64, fold=4).eval(), noise(1, 1, *shape).requires_grad_()
    network(condition).square().sum().backward()
    assert condition.grad.abs().min() > 0


def test_folded_gradients_reach_every_weight():
    network = small(fold=4, dropout=0.3)
    network(noise(4, 1, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert sum(isinstance(layer, nn.Dropout) for layer in network.modules()) == len(network.decoder) == 2


@pytest.mark.parametrize("fold", [1, 4])
def test_the_output_is_added_to_the_base(fold):
    def base(condition):
        return torch.cat([condition, 2 * condition, 3 + condition], dim=1)

    network, condition = small(fold=fold).eval(), noise(2, 1, 33, 47)
    with torch.no_grad():
        alone = network(condition)
        network.base = base
        torch.testing.assert_close(network(condition), base(condition) + alone)
        network.output.weight.zero_()
        assert torch.equal(network(condition), base(condition))
        assert torch.equal(small(fold=fold, base=base).eval()(condition), base(condition) + small(fold=fold).eval()(condition))


@pytest.mark.parametrize(("fold", "least"), [(2, 16), (4, 32), (16, 128)])
def test_a_folded_picture_must_leave_a_small_one(fold, least):
    assert UNet(least, 1, fold=fold)(noise(2, 1, least, least)).shape == (2, 3, least, least)
    with pytest.raises(ValueError, match=rf"^size .*\b{least}\b.*\b{least - 1}$"):
        UNet(least - 1, 1, fold=fold)


# --- initialization --------------------------------------------------------------------------------------------------


def test_weights_begin_as_he_has_it():
    torch.manual_seed(0)
    checked = 0
    networks = UNet(32, 16), PatchGAN(16), UNet(64, 16, fold=4)
    for layer in itertools.chain.from_iterable(map(convolutions, networks)):
        if layer.bias is not None:
            assert torch.equal(layer.bias, torch.zeros_like(layer.bias))
        # variance 2 / n with n inputs to an output; LeakyReLU lets a share of 0.2 through, which adds 0.2^2
        inputs = layer.in_channels * math.prod(layer.kernel_size)
        if isinstance(layer, nn.ConvTranspose2d):
            inputs /= 4  # at stride 2, every output meets a quarter of the kernel
        expected = math.sqrt(2 / inputs / (1 if isinstance(layer, nn.ConvTranspose2d) else 1.04))
        if layer.weight.numel() > 8000:
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)
            assert abs(layer.weight.mean().item()) < 0.03 * expected
            checked += 1
    assert checked == 4 + 4 + 3 + 6


def test_a_small_output_gain_begins_near_gray():
    networks = []
    for gain in (1.0, 0.1):
        torch.manual_seed(0)
        networks.append(UNet(16, 4, output_gain=gain))
    assert torch.allclose(networks[1].output.weight, networks[0].output.weight / 10)
    large, small = (torch.atanh(network(noise(2, 1, 16, 16).double() / 4)) for network in (n.double() for n in networks))
    assert torch.allclose(small, large / 10)


def test_weights_keep_the_scale_of_what_relu_halves():
    # unit variance becomes 2, of which ReLU leaves 1; the border, where the input ends, is left out
    torch.manual_seed(0)
    for layer in (convolutions(UNet(32, 32).decoder)[-1], convolutions(PatchGAN(32))[1]):
        with torch.no_grad():
            result = layer(noise(1, layer.in_channels, 32, 32))[..., 2:-2, 2:-2]
        assert result.square().mean().item() == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("network", [lambda: UNet(16, 4, dropout=0.5), lambda: PatchGAN(4)], ids=["U-Net", "PatchGAN"])
def test_the_seed_decides_the_weights(network):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in network().parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


# --- PatchGAN --------------------------------------------------------------------------------------------------------


def discriminator(width=4):
    torch.manual_seed(0)
    return PatchGAN(width)


def test_patchgans_channels_are_the_papers():
    with torch.device("meta"):
        layers = convolutions(PatchGAN())
        norms = [layer for layer in PatchGAN().modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [layer.in_channels for layer in layers] == [4, 64, 128, 256, 512]
    assert [layer.out_channels for layer in layers] == [64, 128, 256, 512, 1]
    assert [layer.stride for layer in layers] == [(2, 2), (2, 2), (2, 2), (1, 1), (1, 1)]
    assert all(layer.kernel_size == (4, 4) for layer in layers)
    assert [norm.num_features for norm in norms] == [128, 256, 512]  # none in the first layer


@pytest.mark.parametrize(
    ("halvings", "fold", "side"), [(1, 1, 16), (2, 1, 34), (3, 1, 70), (4, 1, 142), (2, 2, 68), (1, 4, 64), (2, 3, 102)]
)
def test_a_patch_is_as_large_as_it_says(halvings, fold, side):
    """What a logit depends on, as gradients show it; 70 pixels are the paper's."""
    torch.manual_seed(0)
    network = PatchGAN(2, halvings=halvings, fold=fold).eval()
    condition, image = noise(1, 1, 320, 320).requires_grad_(), noise(1, 3, 320, 320, seed=1).requires_grad_()
    logits = network(condition, image)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    for grad in (condition.grad, image.grad):
        for sums in (grad.abs().sum(dim=(0, 1, 2)), grad.abs().sum(dim=(0, 1, 3))):
            (reached,) = sums.nonzero(as_tuple=True)
            assert len(reached) == side
            assert reached[-1] - reached[0] == side - 1
    assert network.patch == side
    assert PatchGAN().patch == 70


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 70), (65, 47)])
def test_folded_logits_are_as_many_as_those_of_a_smaller_picture(height, width):
    torch.manual_seed(0)
    network, condition, image = PatchGAN(4, fold=2).eval(), noise(2, 1, height, width), noise(2, 3, height, width, seed=1)
    odd, halved = (0, width % 2, 0, height % 2), ((height + 1) // 2, (width + 1) // 2)
    with torch.no_grad():
        logits = network(condition, image)
        half = discriminator()(noise(2, 1, *halved), noise(2, 3, *halved))
        extended = network(*(F.pad(x, odd, mode="replicate") for x in (condition, image)))
    assert logits.shape == half.shape
    torch.testing.assert_close(logits, extended)


@pytest.mark.parametrize(
    ("name", "value"), [("halvings", 0), ("halvings", 6), ("halvings", 1.5), ("fold", 0), ("fold", 17), ("fold", 2.0)]
)
def test_bad_arguments_of_patchgan_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{name} .*{value!r}$"):
        PatchGAN(4, **{name: value})


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 48), (65, 71), (256, 256)])
def test_logits_are_about_an_eighth_of_the_size(height, width):
    with torch.no_grad():
        logits = discriminator(1).eval()(noise(2, 1, height, width), noise(2, 3, height, width))
    assert logits.shape[:2] == (2, 1)
    assert abs(logits.shape[2] - height / 8) <= 1
    assert abs(logits.shape[3] - width / 8) <= 1


def test_logits_are_not_bounded():
    network, inputs = discriminator(), (noise(2, 1, 64, 64), noise(2, 3, 64, 64))
    with torch.no_grad():
        before = network(*inputs)
        convolutions(network)[-1].weight *= 1000
        torch.testing.assert_close(network(*inputs), 1000 * before, rtol=1e-3, atol=1e-2)
    assert before.min() < 0 < before.max()


def test_the_discriminator_sees_condition_and_image():
    network = discriminator().eval()
    condition, image = noise(1, 1, 64, 64), noise(1, 3, 64, 64)
    with torch.no_grad():
        logits = network(condition, image)
        assert not torch.allclose(network(-condition, image), logits)
        for channel in range(3):
            other = image.clone()
            other[:, channel] *= -1
            assert not torch.allclose(network(condition, other), logits)


def test_folded_the_discriminator_sees_every_pixel():
    torch.manual_seed(0)
    network = PatchGAN(4, halvings=2, fold=2).eval()
    condition, image = noise(1, 1, 45, 38).requires_grad_(), noise(1, 3, 45, 38, seed=1).requires_grad_()
    network(condition, image).square().sum().backward()
    assert condition.grad.abs().min() > 0
    assert image.grad.abs().min() > 0


def test_spectral_norm_takes_the_place_of_batch_norm():
    torch.manual_seed(0)
    network = PatchGAN(8, fold=2, halvings=2, norm="spectral")
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert network.patch == 68
    for _ in range(30):  # power iterations, one a call
        network(noise(2, 1, 32, 32), noise(2, 3, 32, 32))
    for layer in convolutions(network):
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="norm must be one of batch, spectral"):
        PatchGAN(8, norm="layer")


# --- CycleGAN's way back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(16, 16), (17, 30), (1, 5)])
def test_line_network_keeps_the_size(shape):
    assert LineNetwork(4)(noise(2, 3, *shape)).shape == (2, 1, *shape)


def test_line_network_sees_11_pixels():
    torch.manual_seed(0)
    image = noise(1, 3, 31, 31).requires_grad_()
    LineNetwork(8)(image)[0, 0, 15, 15].backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten().tolist()
    assert rows == list(range(10, 21))
