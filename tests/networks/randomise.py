"""A network of which every weight counts."""

import torch
from torch import nn


@torch.no_grad()
def randomise(network: nn.Module) -> None:
    """Every weight random, so that nothing hides behind an initial zero."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.5)
