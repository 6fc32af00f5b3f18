"""A dropout layer that is fast on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lightning.typing import Features

RANDOM_16_BITS = 2**16
"""How many values 16 random bits can take."""


class Dropout(nn.Module):
    """Sets each feature to 0 with probability p in training, and divides the others by 1 − p.

    Why not nn.Dropout: on a CPU it draws a number per feature, which takes most of its time, and its other masks would
    change the results of old seeds. Here 16 random bits of the global generator decide per feature, so p is rounded to
    a multiple of 2^-16. On other devices, and in compiled code, this is torch's dropout.

    Args:
        p: the probability, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Features) -> Features:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        return x * scaled_mask(x, self.p)


def scaled_mask(x: Tensor, p: float) -> Tensor:
    """Draws a mask in the shape and dtype of x: 0 with probability p, else 1/(1 − p)."""
    dropped = min(round(p * RANDOM_16_BITS), RANDOM_16_BITS - 1)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)  # all 64 bits
    numbers = words.view(torch.int16)[: x.numel()].view(x.shape)
    return (numbers >= dropped - RANDOM_16_BITS // 2).to(x.dtype).mul_(RANDOM_16_BITS / (RANDOM_16_BITS - dropped))
