"""A small network for images of 8×8 pixels, and one of which every weight counts."""

import torch
from torch import nn

SMALL = {"channels": 16, "multipliers": (1, 2), "num_res_blocks": 1, "attention": (4,), "groups": 8}
"""Options of UNet."""


@torch.no_grad()
def randomise(network: nn.Module) -> None:
    """Every weight random, so that nothing hides behind an initial zero."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02 if parameter.ndim > 1 else 0.5)
