"""The shape of the network that all sides have, in the terms of each library."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The shape of a U-Net in the paper's terms. The defaults are the paper's for CIFAR-10, 35.7 million parameters.

    Args:
        lucidrains_dim: The width at which denoising-diffusion-pytorch's U-Net has about as many parameters.

    """

    side: int = 32
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    attention: tuple[int, ...] = (16,)
    num_res_blocks: int = 2
    groups: int = 32
    dropout: float = 0.1
    lucidrains_dim: int = 144

    @property
    def overrides(self) -> list[str]:
        """The options of train.py for this shape."""
        return [
            f"network.channels={self.channels}",
            f"network.multipliers={list(self.multipliers)}",
            f"network.attention={list(self.attention)}",
            f"network.num_res_blocks={self.num_res_blocks}",
            f"network.groups={self.groups}",
            f"network.dropout={self.dropout}",
            f"data.size=[{self.side},{self.side}]",
        ]

    @property
    def attention_levels(self) -> set[int]:
        """The levels with attention."""
        return {level for level in range(len(self.multipliers)) if self.side // 2**level in self.attention}


PAPER = Shape()
SMALL = Shape(
    side=8, channels=16, multipliers=(1, 2), attention=(4,), num_res_blocks=1, groups=8, dropout=0.0, lucidrains_dim=16
)
