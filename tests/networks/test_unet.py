"""The paper's U-Net: its size, its initialisation, and equality with diffusers' implementation."""

import math
import re
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.blocks import Attention, Downsample, sinusoids
from ddpm_lightning.networks.unet import UNet
from tests.conftest import ROOT
from tests.networks.small import SMALL, randomise
from tests.peers import copy_weights, unet_of_diffusers

LARGE = {"multipliers": (1, 1, 2, 2, 4, 4)}


@pytest.mark.parametrize(
    ("parameters", "out_channels", "side", "options"),
    [
        (35_746_307, 3, 32, {}),  # CIFAR-10
        (35_749_766, 6, 32, {}),  # CIFAR-10, learned Σ
        (113_673_219, 3, 256, LARGE),  # CelebA-HQ, LSUN
        (255_677_955, 3, 256, {"channels": 192, **LARGE}),  # the large LSUN Bedroom model
    ],
)
def test_parameter_counts_are_the_papers(parameters: int, out_channels: int, side: int, options: dict) -> None:  # type: ignore[type-arg]
    with torch.device("meta"):
        network = UNet(3, out_channels, (side, side), **options)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_is_diffusers_with_the_same_weights(dtype: torch.dtype) -> None:
    """google/ddpm-cifar10-32's settings, whole, at several t."""
    theirs = unet_of_diffusers(32, [128, 256, 256, 256], {1}, blocks=2, groups=32)
    randomise(theirs)
    ours = UNet(3, 3, (32, 32))
    copy_weights(theirs, ours)
    x, t = torch.randn(4, 3, 32, 32, dtype=dtype), torch.tensor([0, 1, 500, 999])
    with torch.no_grad():
        expected = theirs.eval().to(dtype)(x, t).sample
        difference = (ours.eval().to(dtype)(x, t) - expected).abs().max() / expected.abs().max()
    # sin and cos of t are float32 on both sides, whatever the network is
    assert difference < (1e-5 if dtype == torch.float32 else 1e-10)


def test_output_is_diffusers_for_256_pixels() -> None:
    """The six levels of the 256² models, at an eighth of the width and 64 pixels (attention at a quarter of them)."""
    theirs = unet_of_diffusers(64, [16, 16, 32, 32, 64, 64], {4}, blocks=2, groups=8)
    randomise(theirs)
    ours = UNet(3, 3, (64, 64), channels=16, attention=(4,), groups=8, **LARGE)
    copy_weights(theirs, ours)
    x, t = torch.randn(2, 3, 64, 64), torch.tensor([3, 700])
    with torch.no_grad():
        expected = theirs.eval()(x, t).sample
        assert (ours.eval()(x, t) - expected).abs().max() / expected.abs().max() < 1e-5


def tiny(**options) -> UNet:  # type: ignore[no-untyped-def]
    return UNet(1, 1, options.pop("size", (8, 8)), **{**SMALL, **options})


def test_fresh_network_says_almost_nothing() -> None:
    """The last convolution starts at a gain of 1e-5."""
    assert tiny()(torch.randn(2, 1, 8, 8), torch.tensor([0, 999])).abs().max() < 1e-3


def test_initialisation_is_xavier_with_zero_biases() -> None:
    network = UNet(3, 3, (32, 32))
    attention = next(module for module in network.modules() if isinstance(module, Attention))
    for layer, fan_in, fan_out in (
        (network.conv_in, 3 * 9, 128 * 9),
        (network.time.dense_1, 512, 512),
        (attention.qkv, 256, 256),  # as q, k and v alone
    ):
        bound = math.sqrt(6 / (fan_in + fan_out))
        weight = layer.weight
        assert isinstance(weight, Tensor)
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert all(p.abs().max() == 0 for name, p in network.named_parameters() if name.endswith("bias"))


def test_embedding_is_sines_then_cosines_of_geometric_frequencies() -> None:
    embedding = sinusoids(torch.tensor([0, 7]), 8)
    assert embedding[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    frequencies = [1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3), 1e-4]
    expected = [math.sin(7 * f) for f in frequencies] + [math.cos(7 * f) for f in frequencies]
    assert embedding[1].tolist() == pytest.approx(expected, abs=1e-6)


def test_downsampling_pads_below_and_right_alone() -> None:
    """TensorFlow's 'SAME' with stride 2: the output at (0, 0) sees pixels 0..2, not −1..1."""
    layer = Downsample(1)
    nn.init.zeros_(layer.conv.weight)
    with torch.no_grad():
        layer.conv.weight[0, 0, 0, 0] = 1.0
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert layer(x).flatten().tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (2, 6)])
def test_sizes_that_divide_work_square_or_not(size: tuple[int, int]) -> None:
    network = tiny(size=size)
    assert network(torch.randn(2, 1, *size), torch.tensor([1, 2])).shape == (2, 1, *size)


def test_odd_sizes_work_with_one_level() -> None:
    network = tiny(size=(7, 5), multipliers=(1,))
    assert network(torch.randn(2, 1, 7, 5), torch.tensor([1, 2])).shape == (2, 1, 7, 5)


def test_attention_stands_where_the_longer_side_says() -> None:
    def count(network: UNet) -> int:
        return sum(isinstance(module, Attention) for module in network.modules())

    assert count(tiny(attention=())) == 1  # in the middle, always
    assert count(tiny(attention=(4,))) == 1 + 1 + 2
    assert count(tiny(size=(4, 8), attention=(8,))) == 1 + 1 + 2
    assert count(tiny(size=(4, 8), attention=(2,))) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (7, 8)}, "images of 7×8 pixels do not divide by 2"),
        ({"size": (28, 28), "multipliers": (1, 2, 2, 2)}, "28×28 pixels do not divide by 8"),
        ({"channels": 20}, "network.channels=20"),
        ({"channels": 9, "groups": 3}, "network.channels=9"),
        ({"multipliers": ()}, "network.multipliers=0 is not a whole number"),
        ({"num_res_blocks": 0}, "network.num_res_blocks=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_impossible_networks_are_refused(options: dict, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=re.escape(words)):
        tiny(**options)


@pytest.mark.parametrize("bf16", [False, True])
def test_activation_checkpointing_changes_no_gradient(bf16: bool) -> None:
    """Dropout included: the same features are left out when they are computed again. A block does run twice."""
    grads, runs = [], []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        network = UNet(3, 3, (8, 8), **SMALL, dropout=0.5, activation_checkpointing=checkpointed)  # type: ignore[arg-type]
        randomise(network)
        calls: list[int] = []
        network.down[0].block.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = network(torch.randn(4, 3, 8, 8), torch.arange(4))
        out.float().square().sum().backward()
        runs.append(len(calls))
        grads.append([parameter.grad for parameter in network.parameters()])
    assert runs == [1, 2]
    for plain, checkpointed_grad in zip(*grads, strict=True):
        torch.testing.assert_close(checkpointed_grad, plain, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_compiled_network_is_one_graph_with_the_same_gradients_and_names(checkpointed: bool) -> None:
    """In a process of its own, for the checks of the annotations here would break the graph."""
    command = [sys.executable, "-m", "tests.networks.compiled", str(checkpointed)]
    subprocess.run(command, cwd=ROOT, check=True)
