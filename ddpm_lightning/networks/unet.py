"""The paper's noise-predicting U-Net (Appendix B)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ddpm_lightning.errors import UserError, check_at_most, check_boolean, check_whole
from ddpm_lightning.networks.blocks import (
    ZERO,
    Attention,
    Downsample,
    ResBlock,
    TimeEmbedding,
    Upsample,
    conv3x3,
    group_norm,
)
from ddpm_lightning.typing import Features, Indices


class Stage(nn.Module):
    """A ResBlock, then attention where `attention` is set.

    checkpointed: whether what happens inside is forgotten, and computed anew for the gradients.
    """

    def __init__(self, block: ResBlock, attention: Attention | None, checkpointed: bool) -> None:
        super().__init__()
        self.block = block
        self.attention = attention
        self.checkpointed = checkpointed

    def forward(self, x: Features, swish_temb: Tensor) -> Features:
        if self.checkpointed and torch.is_grad_enabled():
            h: Features = checkpoint(self.compute, x, swish_temb, use_reentrant=False)
            return h
        return self.compute(x, swish_temb)

    def compute(self, x: Features, swish_temb: Tensor) -> Features:
        h = self.block(x, swish_temb)
        return h if self.attention is None else self.attention(h)


class UNet(nn.Module):
    """(x, t) -> tensor; x: [b, in_channels, h, w], t: [b] in 0..T−1; returns [b, out_channels, h, w].

    size: (h, w) of the images. channels: of the highest level. multipliers: channels of each level, as multiples;
    each level but the last halves height and width. attention: the sides (the longer one, if they differ) at which
    attention follows each ResBlock; in the middle it always does. groups: of every GroupNorm. activation_checkpointing:
    keeps of each ResBlock and its attention what went in, no more, and computes the rest anew for the gradients, which
    are the same: less memory, more time.
    Raises UserError where the size does not divide by 2^(levels − 1) or the numbers describe no network.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        *,
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 2,
        attention: Sequence[int] = (16,),
        dropout: float = 0.0,
        groups: int = 32,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check(size, channels, multipliers, num_res_blocks, groups, dropout)
        check_boolean("network.activation_checkpointing", activation_checkpointing, "true takes less memory, more time")
        c_time = 4 * channels
        widths = [channels * m for m in multipliers]
        sides = [max(size) // 2**level for level in range(len(widths))]

        def stage(c_in: int, c_out: int, attend: bool) -> Stage:
            block = ResBlock(c_in, c_out, c_time, dropout, groups)
            return Stage(block, Attention(c_out, groups) if attend else None, activation_checkpointing)

        self.time = TimeEmbedding(channels)
        self.conv_in = conv3x3(in_channels, channels)
        self.down = nn.ModuleList()
        skips, c = [channels], channels
        for width, side in zip(widths, sides, strict=True):
            if len(self.down) > 0:
                self.down.append(Downsample(c))
                skips.append(c)
            for _ in range(num_res_blocks):
                self.down.append(stage(c, width, side in attention))
                skips.append(c := width)
        self.middle = nn.ModuleList([stage(c, c, True), stage(c, c, False)])
        self.up = nn.ModuleList()
        for width, side in zip(reversed(widths), reversed(sides), strict=True):
            if len(self.up) > 0:
                self.up.append(Upsample(c))
            for _ in range(num_res_blocks + 1):
                self.up.append(stage(c + skips.pop(), width, side in attention))
                c = width
        self.norm_out = group_norm(groups, c)
        self.conv_out = conv3x3(c, out_channels, gain=ZERO)

    def forward(self, x: Features, t: Indices) -> Features:
        swish_temb = F.silu(self.time(t))
        h = self.conv_in(x)
        skips = [h]
        for layer in self.down:
            h = layer(h) if isinstance(layer, Downsample) else layer(h, swish_temb)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, swish_temb)
        for layer in self.up:
            h = layer(h) if isinstance(layer, Upsample) else layer(torch.cat([h, skips.pop()], dim=1), swish_temb)
        return self.conv_out(F.silu(self.norm_out(h)))


def _check(
    size: Sequence[int], channels: int, multipliers: Sequence[int], num_res_blocks: int, groups: int, dropout: float
) -> None:
    check_whole("network.num_res_blocks", num_res_blocks, 1, "a level needs a block; the paper's have 2")
    check_at_most("network.num_res_blocks", num_res_blocks, 100, "nothing so deep can be trained; the paper's have 2")
    check_whole("network.channels", channels, 4, "the time embedding needs two sines and two cosines; use 128")
    check_whole("network.groups", groups, 1, "they are the groups of every GroupNorm; use 32")
    check_whole("the number of network.multipliers", len(multipliers), 1, "there must be a level; use [1,2,2,2]")
    for multiple in multipliers:
        check_whole("network.multipliers: a multiple", multiple, 1, "it multiplies network.channels; use [1,2,2,2]")
    factor = 2 ** (len(multipliers) - 1)
    if size[0] % factor or size[1] % factor:
        raise UserError(
            f"images of {size[0]}×{size[1]} pixels do not divide by {factor}, as {len(multipliers)} levels need "
            "(each but the last halves them); give network.multipliers fewer levels or the data another size"
        )
    if channels % 2 or channels % groups:
        raise UserError(
            f"network.channels={channels} does not divide by 2 and by network.groups={groups}, the groups of every "
            "GroupNorm; choose a common multiple"
        )
    if not 0 <= dropout < 1:
        raise UserError(f"network.dropout={dropout} lies outside [0, 1): it is the share of features left out")
