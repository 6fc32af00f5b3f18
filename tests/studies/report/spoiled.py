"""A sampler that goes wrong for some images alone."""

from collections.abc import Iterator
from typing import Any

import torch

from ddpm_lightning.diffusion.samplers import AncestralSampler, Step


class SpoiltSecondHalf(AncestralSampler):
    """Algorithm 2, but NaN on any process but the first."""

    def trajectory(self, *args: Any, **kwargs: Any) -> Iterator[Step]:
        second = torch.distributed.is_initialized() and torch.distributed.get_rank() > 0
        for step in super().trajectory(*args, **kwargs):
            yield step._replace(x=step.x * torch.nan) if second else step
