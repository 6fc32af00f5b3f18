"""A network of its own for each step."""

from functools import partial

import pytest
import torch

from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.mlp import MLP
from ddpm_lightning.networks.untied import Untied


def untied() -> Untied:
    network = Untied(2, 2, (1, 1), T=5, network=partial(MLP, width=8, depth=1, frequencies=0))
    for p in network.parameters():  # so that no layer is zero
        torch.nn.init.normal_(p, std=0.3)
    return network


def test_each_example_is_answered_by_the_network_of_its_step() -> None:
    network, x, t = untied(), torch.randn(12, 2, 1, 1), torch.tensor([4, 0, 0, 3, 2, 4, 4, 1, 0, 2, 3, 4])
    alone = torch.cat([network.networks[int(step)](x[i : i + 1], t[i : i + 1]) for i, step in enumerate(t)])
    assert torch.allclose(network(x, t), alone, atol=1e-6)


def test_a_step_without_a_network_is_named() -> None:
    with pytest.raises(UserError, match=r"network\.T=5 .* step 6"):
        untied()(torch.randn(2, 2, 1, 1), torch.tensor([0, 5]))


def test_a_step_learns_from_its_own_examples_alone() -> None:
    network, x = untied(), torch.randn(4, 2, 1, 1)
    network(x, torch.tensor([1, 3, 3, 1])).square().sum().backward()
    learned = [any(p.grad is not None for p in one.parameters()) for one in network.networks]
    assert learned == [False, True, False, True, False]
