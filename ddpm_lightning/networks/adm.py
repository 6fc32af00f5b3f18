"""The U-Net of ADM (Dhariwal & Nichol, 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.networks.blocks import NEARLY_ZERO, Attention, conv3x3, group_norm, initialised
from ddpm_lightning.networks.dropout import Dropout
from ddpm_lightning.networks.u_shape import Stage, UShape, check_u_shape, computed
from ddpm_lightning.typing import Features


class ScaledResBlock(nn.Module):
    """A residual block whose second norm is scaled and shifted by the embedding of t.

        h = conv(resample(swish(GN(x)))),  (s, b) = Dense(swish(temb))
        h = conv(dropout(swish((1 + s) · GN(h) + b))),  x ← shortcut(resample(x)) + h

    Args:
        c_in, c_out: channels in and out, multiples of groups.
        c_time: the size of the time embedding.
        dropout: the probability of dropout, in [0, 1).
        groups: the groups of each GroupNorm.
        resample: halves or doubles height and width; the identity if None.
    """

    def __init__(
        self, c_in: int, c_out: int, c_time: int, dropout: float, groups: int, resample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.norm_0 = group_norm(groups, c_in)
        self.resample = resample or nn.Identity()
        self.conv_0 = conv3x3(c_in, c_out)
        self.time = initialised(nn.Linear(c_time, 2 * c_out))
        self.norm_1 = group_norm(groups, c_out)
        self.dropout = Dropout(dropout)
        self.conv_1 = conv3x3(c_out, c_out, gain=NEARLY_ZERO)
        self.shortcut = nn.Identity() if c_in == c_out else initialised(nn.Conv2d(c_in, c_out, 1))

    def forward(self, x: Features, swish_temb: Tensor) -> Features:
        """Maps x, [b, c_in, h, w], and swish(temb), [b, c_time], to [b, c_out, h', w']."""
        h = self.conv_0(self.resample(F.silu(self.norm_0(x))))
        scale, shift = self.time(swish_temb)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_1(self.dropout(F.silu((1 + scale) * self.norm_1(h) + shift)))
        return self.shortcut(self.resample(x)) + h


class ResamplingBlock(ScaledResBlock):
    """A residual block that halves or doubles height and width. See `ScaledResBlock` for the equation.

    Args:
        channels: channels in and out, a multiple of groups.
        c_time, dropout, groups: see `ScaledResBlock`.
        resample: halves or doubles height and width.
        checkpointed: whether the backward pass recomputes the activations inside instead of storing them.
    """

    def __init__(
        self, channels: int, c_time: int, dropout: float, groups: int, resample: nn.Module, checkpointed: bool
    ) -> None:
        super().__init__(channels, channels, c_time, dropout, groups, resample)
        self.checkpointed = checkpointed

    def forward(self, x: Features, swish_temb: Tensor) -> Features:
        return computed(super().forward, x, swish_temb, self.checkpointed)


@dataclass(frozen=True)
class ADMLayers:
    """The layers of ADM's U-Net. See `ADM` for the arguments.

    Args:
        c_time: the size of the time embedding.
    """

    c_time: int
    dropout: float
    groups: int
    head_channels: int
    checkpointed: bool

    def stage(self, c_in: int, c_out: int, attend: bool) -> Stage:
        attention = Attention(c_out, self.groups, heads=c_out // self.head_channels) if attend else None
        block = ScaledResBlock(c_in, c_out, self.c_time, self.dropout, self.groups)
        return Stage(block, attention, self.checkpointed)

    def downsample(self, channels: int) -> nn.Module:
        return self._resampling(channels, nn.AvgPool2d(2))

    def upsample(self, channels: int) -> nn.Module:
        return self._resampling(channels, nn.Upsample(scale_factor=2.0, mode="nearest"))

    def _resampling(self, channels: int, resample: nn.Module) -> ResamplingBlock:
        return ResamplingBlock(channels, self.c_time, self.dropout, self.groups, resample, self.checkpointed)


class ADM(UShape):
    """The U-Net of ADM, which differs from the paper's in its blocks, its heads and its resampling.

    ADM's model for 64×64 images has channels 192, multipliers (1, 2, 3, 4), 3 blocks a level, and 296 million
    parameters. The sinusoids of t, the initialisation and GroupNorm's ε of 1e-6 are those of `UNet`.

    Args:
        in_channels, out_channels, size, channels, multipliers, num_res_blocks, dropout, groups,
        activation_checkpointing, num_classes: see `UNet`.
        attention: the sides at which attention follows each block; for images that are not square, the longer side.
        head_channels: the channels of each head, a divisor of the channels of each level with attention.

    Raises:
        UserError: the size is not divisible, or an argument is out of its range.

    References:
        Dhariwal & Nichol (2021), "Diffusion Models Beat GANs on Image Synthesis", Section 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        *,
        channels: int = 192,
        multipliers: Sequence[int] = (1, 2, 3, 4),
        num_res_blocks: int = 3,
        attention: Sequence[int] = (32, 16, 8),
        head_channels: int = 64,
        dropout: float = 0.0,
        groups: int = 32,
        activation_checkpointing: bool = False,
        num_classes: int = 0,
    ) -> None:
        check_u_shape(size, channels, multipliers, num_res_blocks, groups, dropout, activation_checkpointing)
        attending = {channels * m for level, m in enumerate(multipliers) if max(size) // 2**level in attention}
        _check_heads(head_channels, attending | {channels * multipliers[-1]})
        layers = ADMLayers(4 * channels, dropout, groups, head_channels, activation_checkpointing)
        super().__init__(
            *(in_channels, out_channels, size, layers),
            channels=channels,
            multipliers=multipliers,
            num_res_blocks=num_res_blocks,
            attention=attention,
            num_classes=num_classes,
        )


def _check_heads(head_channels: int, widths: set[int]) -> None:
    check_whole("network.head_channels", head_channels, 1, "they are the channels of each head; use 64")
    for width in sorted(widths):
        if width % head_channels:
            raise UserError(
                f"network.head_channels={head_channels} does not divide {width}, the channels of a level with "
                "attention; choose a divisor"
            )
