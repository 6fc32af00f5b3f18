"""Values between those that are known."""

import torch
from torch import Tensor

from ddpm_lightning.typing import ByStep


def interpolate(x: ByStep, known: Tensor, values: Tensor) -> ByStep:
    """What the straight lines through (known, values) are at each x; known: ascending, at least two of them, and x lies
    between their ends. float64, one dimension."""
    right = torch.searchsorted(known, x.contiguous()).clamp(1, len(known) - 1)
    low, high = known[right - 1], known[right]
    share = (x - low) / (high - low)
    return values[right - 1] * (1 - share) + values[right] * share
