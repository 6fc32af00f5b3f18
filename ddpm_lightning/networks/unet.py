"""The paper's U-Net (Ho et al., 2020, Appendix B)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ddpm_lightning.networks.blocks import Attention, Downsample, ResBlock, Upsample
from ddpm_lightning.networks.u_shape import Stage, UShape, check_u_shape


@dataclass(frozen=True)
class PaperLayers:
    """The layers of the paper's U-Net. See `UNet` for the arguments.

    Args:
        c_time: the size of the time embedding.
    """

    c_time: int
    dropout: float
    groups: int
    checkpointed: bool

    def stage(self, c_in: int, c_out: int, attend: bool) -> Stage:
        block = ResBlock(c_in, c_out, self.c_time, self.dropout, self.groups)
        return Stage(block, Attention(c_out, self.groups) if attend else None, self.checkpointed)

    def downsample(self, channels: int) -> nn.Module:
        return Downsample(channels)

    def upsample(self, channels: int) -> nn.Module:
        return Upsample(channels)


class UNet(UShape):
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
        activation_checkpointing: stores only the input of each residual block with its attention, and recomputes the
            rest in the backward pass. The gradients are the same; it takes less memory and more time.
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
        check_u_shape(size, channels, multipliers, num_res_blocks, groups, dropout, activation_checkpointing)
        layers = PaperLayers(4 * channels, dropout, groups, activation_checkpointing)
        super().__init__(
            *(in_channels, out_channels, size, layers),
            channels=channels,
            multipliers=multipliers,
            num_res_blocks=num_res_blocks,
            attention=attention,
            num_classes=num_classes,
        )
