"""Dropout that costs little on a CPU, too."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lightning.typing import Features

CHANCES = 2**16
"""What 16 random bits can tell apart."""


class Dropout(nn.Module):
    """Leaves out each feature with probability p, in training, and divides the others by 1 − p.

    On a CPU, torch's own takes most of its time to draw a number for each feature. There 16 bits decide here, so p is a
    multiple of 2^-16. They come from the global generator, as torch's do. Where a
    compiler fuses the drawing with what follows, torch's is as good.
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
    """1/(1 − p) where a feature of x is kept, else 0; of x's shape and kind."""
    left_out = min(round(p * CHANCES), CHANCES - 1)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)  # all 64 bits
    chances = words.view(torch.int16)[: x.numel()].view(x.shape)
    return (chances >= left_out - CHANCES // 2).to(x.dtype).mul_(CHANCES / (CHANCES - left_out))
