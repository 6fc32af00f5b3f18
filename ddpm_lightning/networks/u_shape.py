"""The shape that U-Nets share: levels on the way down and up, and skips between them."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ddpm_lightning.errors import UserError, check_boolean, check_interval, check_whole, counted
from ddpm_lightning.networks.blocks import NEARLY_ZERO, conv3x3, embedding_of, group_norm
from ddpm_lightning.typing import Classes, Features, Indices


class Stage(nn.Module):
    """A residual block, followed by attention if there is any.

    Args:
        block: the block; it maps features and swish(temb) to features.
        attention: the attention, or None.
        checkpointed: whether the backward pass recomputes the activations inside instead of storing them.
    """

    def __init__(self, block: nn.Module, attention: nn.Module | None, checkpointed: bool) -> None:
        super().__init__()
        self.block = block
        self.attention = attention
        self.checkpointed = checkpointed

    def forward(self, x: Features, swish_temb: Tensor) -> Features:
        return computed(self.compute, x, swish_temb, self.checkpointed)

    def compute(self, x: Features, swish_temb: Tensor) -> Features:
        h = self.block(x, swish_temb)
        return h if self.attention is None else self.attention(h)


def computed(
    compute: Callable[[Features, Tensor], Features], x: Features, swish_temb: Tensor, checkpointed: bool
) -> Features:
    """Returns compute(x, swish_temb). If checkpointed, the backward pass recomputes the activations inside."""
    if checkpointed and torch.is_grad_enabled():
        h: Features = checkpoint(compute, x, swish_temb, use_reentrant=False)
        return h
    return compute(x, swish_temb)


@runtime_checkable
class Layers(Protocol):
    """Makes the layers of a U-Net. Each of them maps features and swish(temb) to features."""

    @property
    def groups(self) -> int:
        """The groups of every GroupNorm."""

    def stage(self, c_in: int, c_out: int, attend: bool) -> Stage:
        """Returns a residual block, followed by attention if `attend`."""

    def downsample(self, channels: int) -> nn.Module:
        """Returns a layer that halves height and width."""

    def upsample(self, channels: int) -> nn.Module:
        """Returns a layer that doubles height and width."""


class UShape(nn.Module):
    """A U-Net of given layers.

    Args:
        in_channels, out_channels, size, channels, multipliers, num_res_blocks, attention, num_classes: see `UNet`.
        layers: makes the layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        layers: Layers,
        *,
        channels: int,
        multipliers: Sequence[int],
        num_res_blocks: int,
        attention: Sequence[int],
        num_classes: int,
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        sides = [max(size) // 2**level for level in range(len(widths))]
        self.time = embedding_of(channels, num_classes)
        self.conv_in = conv3x3(in_channels, channels)
        self.down = nn.ModuleList()
        skips, c = [channels], channels
        for width, side in zip(widths, sides, strict=True):
            if len(self.down) > 0:
                self.down.append(layers.downsample(c))
                skips.append(c)
            for _ in range(num_res_blocks):
                self.down.append(layers.stage(c, width, side in attention))
                skips.append(c := width)
        self.middle = nn.ModuleList([layers.stage(c, c, True), layers.stage(c, c, False)])
        self.up = nn.ModuleList()
        for width, side in zip(reversed(widths), reversed(sides), strict=True):
            if len(self.up) > 0:
                self.up.append(layers.upsample(c))
            for _ in range(num_res_blocks + 1):
                self.up.append(layers.stage(c + skips.pop(), width, side in attention))
                c = width
        self.norm_out = group_norm(layers.groups, c)
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
            h = layer(h, swish_temb)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, swish_temb)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], dim=1) if isinstance(layer, Stage) else h, swish_temb)
        return self.conv_out(F.silu(self.norm_out(h)))


def check_u_shape(
    size: Sequence[int],
    channels: int,
    multipliers: Sequence[int],
    num_res_blocks: int,
    groups: int,
    dropout: float,
    activation_checkpointing: bool,
) -> None:
    """Raises UserError if an option of a U-Net is out of its range, or its levels do not divide the images."""
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
    check_boolean("network.activation_checkpointing", activation_checkpointing, "true takes less memory, more time")
