"""Code that is not ours, to compare with: diffusers, made comparable."""

from typing import TypeVar

import numpy as np
import torch
from diffusers import UNet2DModel

from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.carry import to_ours
from ddpm_lightning.studies.interchange.layouts import DiffusersLayout

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


def unet_of_diffusers(
    size: int, channels: list[int], attention_at: set[int], blocks: int, groups: int, dropout: float = 0.0
) -> UNet2DModel:
    """diffusers' U-Net with the settings of google/ddpm-cifar10-32; attention_at: levels that have it."""
    attend = [i in attention_at for i in range(len(channels))]
    return UNet2DModel(
        sample_size=size,
        block_out_channels=channels,
        layers_per_block=blocks,
        down_block_types=["AttnDownBlock2D" if yes else "DownBlock2D" for yes in attend],
        up_block_types=["AttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attend)],
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        norm_num_groups=groups,
        dropout=dropout,
    )


def copy_weights(theirs: UNet2DModel, ours: UNet) -> None:
    """Carries every weight of diffusers' network over to ours. Fails if one of either side is left out."""
    ours.load_state_dict(to_ours(ours, DiffusersLayout(), theirs.state_dict(), "diffusers' network"))
