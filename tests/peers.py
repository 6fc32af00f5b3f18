"""Code that is not ours, to compare with: diffusers, made comparable."""

from typing import TypeVar

import numpy as np
import torch

Scheduler = TypeVar("Scheduler")


def in_float64(scheduler: Scheduler) -> Scheduler:
    """A diffusers scheduler of linear betas, its tables in float64; its own, in float32, are 4e-4 off at small t."""
    config = scheduler.config  # type: ignore[attr-defined]
    assert config.beta_schedule == "linear"
    betas = np.linspace(config.beta_start, config.beta_end, config.num_train_timesteps, dtype=np.float64)
    scheduler.betas = torch.from_numpy(betas)  # type: ignore[attr-defined]
    scheduler.alphas = torch.from_numpy(1 - betas)  # type: ignore[attr-defined]
    scheduler.alphas_cumprod = torch.from_numpy(np.cumprod(1 - betas))  # type: ignore[attr-defined]
    return scheduler
