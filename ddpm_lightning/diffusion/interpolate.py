"""Linear interpolation in float64."""

import torch
from torch import Tensor

from ddpm_lightning.typing import ByStep


def interpolate(x: ByStep, known: Tensor, values: Tensor) -> ByStep:
    """Returns the values at x of the piecewise linear function through (known, values).

    Args:
        x: where to evaluate, [n], between the ends of known.
        known: at least two points, ascending, [k].
        values: the function's values at known, [k].
    """
    right = torch.searchsorted(known, x.contiguous()).clamp(1, len(known) - 1)
    low, high = known[right - 1], known[right]
    share = (x - low) / (high - low)
    return values[right - 1] * (1 - share) + values[right] * share
