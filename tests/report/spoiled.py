"""A sampler that goes wrong for some images alone."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ddpm_lightning.diffusion.samplers import AncestralSampler, Step


class SpoiltSecondHalf(AncestralSampler):
    """Algorithm 2, but NaN on any process but the first."""

    def trajectory(self, model: Any, x_T: Tensor, *, randn_like: Callable[[Tensor], Tensor]) -> Iterator[Step]:
        second = torch.distributed.is_initialized() and torch.distributed.get_rank() > 0
        for step in super().trajectory(model, x_T, randn_like=randn_like):
            yield step._replace(x=step.x * torch.nan) if second else step
