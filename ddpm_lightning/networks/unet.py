"""The paper's U-Net (Ho et al., 2020, Appendix B)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ddpm_lightning.errors import UserError, check_boolean, check_interval, check_whole, counted
from ddpm_lightning.networks.blocks import (
    NEARLY_ZERO,
    Attention,
    Downsample,
    ResBlock,
    Upsample,
    conv3x3,
    embedding_of,
    group_norm,
)
from ddpm_lightning.typing import Classes, Features, Indices


class Stage(nn.Module):
    """A ResBlock, followed by attention if there is any.

    Args:
        block: the ResBlock.
        attention: the attention, or None.
        checkpointed: whether the backward pass recomputes the activations inside instead of storing them.
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
    """The U-Net of the paper, with ResBlocks on several levels and attention on some of them.

    The paper's model for CIFAR-10 has 35.7 million parameters, and the one for 256×256 images 114 million.

    Args:
        in_channels, out_channels: of the images in and out.
        size: height and width of the images, multiples of 2^(levels − 1).
        channels: the channels of the first level, a multiple of 2 and of groups, at least 4.
        multipliers: the channels of each level, as multiples of `channels`. Each level but the last halves height
            and width.
        num_res_blocks: ResBlocks per level on the way down, in 1..100; the way up has one more.
        attention: the sides at which attention follows each ResBlock; for images that are not square, the longer
            side. In the middle, there is always attention.
        dropout: the probability of dropout, in [0, 1).
        groups: the groups of every GroupNorm.
        activation_checkpointing: stores only the input of each stage, and recomputes the rest in the backward pass.
            The gradients are the same; it takes less memory and more time.
        num_classes: the number of classes that the network is conditioned on; 0 for none.

    Raises:
        UserError: the size is not divisible, or an argument is out of its range.
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
        num_classes: int = 0,
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

        self.time = embedding_of(channels, num_classes)
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
        self.conv_out = conv3x3(c, out_channels, gain=NEARLY_ZERO)

    def forward(self, x: Features, t: Indices, y: Classes | None = None) -> Features:
        """Returns the network's output: [b, out_channels, h, w].

        Args:
            x: [b, in_channels, h, w].
            t: [b] in 0..T−1.
            y: the class of each example, [b] in −1..num_classes−1; None and −1 are no class.
        """
        swish_temb = F.silu(self.time(t, y))
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
    check_whole("network.num_res_blocks", num_res_blocks, 1, "it counts the blocks of a level; the paper has 2", 100)
    check_whole("network.channels", channels, 4, "the time embedding needs two sines and two cosines; use 128")
    check_whole("network.groups", groups, 1, "they are the groups of every GroupNorm; use 32")
    check_whole("the number of network.multipliers", len(multipliers), 1, "there must be a level; use [1,2,2,2]")
    for multiple in multipliers:
        check_whole("network.multipliers: a multiple", multiple, 1, "it multiplies network.channels; use [1,2,2,2]")
    factor = 2 ** (len(multipliers) - 1)
    if size[0] % factor or size[1] % factor:
        raise UserError(
            f"images of {size[0]}×{size[1]} pixels do not divide by {factor}, as "
            f"{counted(len(multipliers), 'level needs', 'levels need')} "
            "(each but the last halves them); give network.multipliers fewer levels or the data another size"
        )
    if channels % 2 or channels % groups:
        raise UserError(
            f"network.channels={channels} does not divide by 2 and by network.groups={groups}, the groups of every "
            "GroupNorm; choose a common multiple"
        )
    check_interval("network.dropout", dropout, 0, 1, "it is the share of features left out; use 0.1", ends="[)")
