"""A compiled network is one graph, dropout included, has the gradients of the plain one, and keeps its names.

python -m tests.networks.compiled CHECKPOINTED, which is True or False.
"""

import sys

import torch

from ddpm_lightning.networks.unet import UNet
from tests.networks.small import SMALL, randomise


def main(checkpointed: bool) -> None:
    torch.manual_seed(0)
    network = UNet(3, 3, (8, 8), **SMALL, dropout=0.1, activation_checkpointing=checkpointed)  # type: ignore[arg-type]
    randomise(network)
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0, 999])
    assert torch._dynamo.explain(network)(x, t).graph_break_count == 0  # in training, so with dropout
    torch._dynamo.reset()
    network.eval()
    names = list(network.state_dict())
    network(x, t).square().sum().backward()
    plain = [parameter.grad for parameter in network.parameters()]
    network.zero_grad(set_to_none=True)
    network.compile(fullgraph=True)
    network(x, t).square().sum().backward()
    for parameter, expected in zip(network.parameters(), plain, strict=True):
        assert expected is not None
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert list(network.state_dict()) == names


if __name__ == "__main__":
    main(sys.argv[1] == "True")
