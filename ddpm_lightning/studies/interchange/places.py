"""Where the layers of our U-Net are, in words that every project shares: on the way down, in the middle, up."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ddpm_lightning.networks.blocks import Downsample, Upsample
from ddpm_lightning.networks.unet import Stage, UNet


class Way(Enum):
    """The three parts of the U."""

    DOWN = "down"
    MIDDLE = "middle"
    UP = "up"


@dataclass(frozen=True)
class Place:
    """ours: the name of the layer in our network. level: 0 has the most pixels. index: of the block in its level."""

    ours: str
    way: Way
    level: int
    index: int = 0


def stages(network: UNet) -> Iterator[tuple[Place, Stage]]:
    """Every ResBlock with its attention."""
    for place, layer in _layers(network):
        if isinstance(layer, Stage):
            yield place, layer


def resamplings(network: UNet) -> Iterator[Place]:
    """Every halving, at the level that it leaves, and every doubling likewise."""
    for place, layer in _layers(network):
        if not isinstance(layer, Stage):
            yield place


def _layers(network: UNet) -> Iterator[tuple[Place, Stage | Downsample | Upsample]]:
    level, index = 0, 0
    for number, layer in enumerate(network.down):
        yield Place(f"down.{number}", Way.DOWN, level, index), _known(layer)
        level, index = (level, index + 1) if isinstance(layer, Stage) else (level + 1, 0)
    for number, layer in enumerate(network.middle):
        yield Place(f"middle.{number}", Way.MIDDLE, level, number), _known(layer)
    index = 0
    for number, layer in enumerate(network.up):
        yield Place(f"up.{number}", Way.UP, level, index), _known(layer)
        level, index = (level, index + 1) if isinstance(layer, Stage) else (level - 1, 0)


def _known(layer: object) -> Stage | Downsample | Upsample:
    assert isinstance(layer, Stage | Downsample | Upsample)
    return layer
