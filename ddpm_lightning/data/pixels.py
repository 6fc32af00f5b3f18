"""The conversion of integer pixels to [−1, 1] and back; no other code converts them."""

from dataclasses import dataclass

import torch

from ddpm_lightning.errors import check_whole
from ddpm_lightning.typing import Images, Pixels


@dataclass(frozen=True)
class PixelRange:
    """Pixels of integer values k in 0..levels−1, which the model sees as 2k/(levels−1) − 1 in [−1, 1].

    For 256 levels this is k/127.5 − 1 (Ho et al., 2020, Section 3.3).

    Args:
        levels: how many values a pixel can take, in 2..256.
    """

    levels: int = 256

    def __post_init__(self) -> None:
        check_whole("data.levels", self.levels, 2, "it counts the values of a byte; photographs have 256", 256)

    def encode(self, pixels: Pixels) -> Images:
        """Converts integers in 0..levels−1, [b, c, h, w], to [−1, 1], float32."""
        return pixels.to(torch.float32, copy=True).mul_(2 / (self.levels - 1)).sub_(1)

    def from_bytes(self, pixels: Pixels) -> Images:
        """Rounds 0..255, as in picture files, to the data's levels, and encodes these; the inverse of `to_bytes`."""
        return self.encode((pixels.float() * ((self.levels - 1) / 255)).round().to(torch.uint8))

    def decode(self, x: Images) -> Pixels:
        """Converts [−1, 1], [b, c, h, w], to the nearest integers in 0..levels−1; values outside are clipped."""
        return ((x.float() + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1).to(torch.uint8)

    def to_bytes(self, x: Images) -> Pixels:
        """Decodes x, [b, c, h, w], to the data's levels, and scales these to 0..255 for picture files."""
        return (self.decode(x).float() * (255 / (self.levels - 1))).round().to(torch.uint8)
