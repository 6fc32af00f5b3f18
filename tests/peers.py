"""Code that is not ours, to compare with: diffusers, made comparable."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from diffusers import UNet2DModel
from torch import nn

from ddpm_lightning.networks.blocks import Attention, ResBlock
from ddpm_lightning.networks.unet import Stage, UNet

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


@torch.no_grad()
def copy_weights(theirs: UNet2DModel, ours: UNet) -> None:
    """Carries every weight of diffusers' network over to ours. Fails if one of either side is left out."""
    used: set[str] = set()
    for our_layer, their_name in _pairs(theirs, ours):
        their_layer = theirs.get_submodule(their_name)
        for name, parameter in our_layer.named_parameters():
            source = getattr(their_layer, name)
            parameter.copy_(source.reshape(parameter.shape))
        used.add(their_name)
    for attention, their_name in _attentions(theirs, ours):
        their_attention = theirs.get_submodule(their_name)
        parts = [getattr(their_attention, f"to_{letter}") for letter in "qkv"]
        attention.qkv.weight.copy_(torch.cat([part.weight for part in parts])[:, :, None, None])
        assert attention.qkv.bias is not None
        attention.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
        used.update(f"{their_name}.to_{letter}" for letter in "qkv")
    left = {name.rpartition(".")[0] for name, _ in theirs.named_parameters()} - used
    assert not left, left


def _stages(theirs: UNet2DModel, ours: UNet) -> Iterator[tuple[Stage, str, str]]:
    """Each of our stages with the names of their ResBlock and attention."""
    for side, blocks in (("down", theirs.down_blocks), ("up", theirs.up_blocks)):
        stages = iter([layer for layer in getattr(ours, side) if isinstance(layer, Stage)])
        for i, block in enumerate(blocks):
            for j in range(len(block.resnets)):
                yield next(stages), f"{side}_blocks.{i}.resnets.{j}", f"{side}_blocks.{i}.attentions.{j}"
        assert next(stages, None) is None
    for j, stage in enumerate(ours.middle):
        assert isinstance(stage, Stage)
        yield stage, f"mid_block.resnets.{j}", "mid_block.attentions.0"


def _attentions(theirs: UNet2DModel, ours: UNet) -> Iterator[tuple[Attention, str]]:
    for stage, _, name in _stages(theirs, ours):
        if stage.attention is not None:
            yield stage.attention, name


def _pairs(theirs: UNet2DModel, ours: UNet) -> Iterator[tuple[nn.Module, str]]:
    yield ours.time.dense_0, "time_embedding.linear_1"
    yield ours.time.dense_1, "time_embedding.linear_2"
    yield ours.conv_in, "conv_in"
    yield ours.norm_out, "conv_norm_out"
    yield ours.conv_out, "conv_out"
    for stage, resnet, _ in _stages(theirs, ours):
        yield from _block_pairs(stage.block, resnet)
    for attention, name in _attentions(theirs, ours):
        yield attention.norm, f"{name}.group_norm"
        yield attention.project, f"{name}.to_out.0"
    for side, suffix in (("down", "downsamplers"), ("up", "upsamplers")):
        resamplers: list[Any] = [layer for layer in getattr(ours, side) if not isinstance(layer, Stage)]
        for i, layer in enumerate(resamplers):
            yield layer.conv, f"{side}_blocks.{i}.{suffix}.0.conv"


def _block_pairs(block: ResBlock, name: str) -> Iterator[tuple[nn.Module, str]]:
    yield block.norm_0, f"{name}.norm1"
    yield block.conv_0, f"{name}.conv1"
    yield block.time, f"{name}.time_emb_proj"
    yield block.norm_1, f"{name}.norm2"
    yield block.conv_1, f"{name}.conv2"
    if isinstance(block.shortcut, nn.Conv2d):
        yield block.shortcut, f"{name}.conv_shortcut"
