"""The only place where integers become [−1, 1] and [−1, 1] becomes integers."""

from dataclasses import dataclass

import torch

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.typing import Images, Pixels


@dataclass(frozen=True)
class PixelRange:
    """Pixels of `levels` values 0..levels−1, on the model's scale at 2k/(levels−1) − 1 (256: x/127.5 − 1)."""

    levels: int = 256

    def __post_init__(self) -> None:
        check_whole("data.levels", self.levels, 2, "one level tells nothing; photographs have 256")
        if self.levels > 256:
            raise UserError(f"data.levels={self.levels} exceeds 256, the most that a byte can tell apart; use 256")

    def encode(self, pixels: Pixels) -> Images:
        """Integers 0..levels−1, [b, c, h, w], to the model's scale, float32."""
        return pixels.to(torch.float32, copy=True).mul_(2 / (self.levels - 1)).sub_(1)

    def decode(self, x: Images) -> Pixels:
        """The model's scale, [b, c, h, w], to the nearest integer; outside [−1, 1], to the nearest end."""
        return ((x.float() + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1).to(torch.uint8)

    def to_bytes(self, x: Images) -> Pixels:
        """The model's scale to 0..255 for picture files, by way of the data's own levels."""
        return (self.decode(x).float() * (255 / (self.levels - 1))).round().to(torch.uint8)
