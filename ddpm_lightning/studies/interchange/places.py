"""Places of layers in our U-Net, in terms that every project shares: way, level, and index in the level."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ddpm_lightning.networks.blocks import Downsample, Upsample
from ddpm_lightning.networks.u_shape import Stage
from ddpm_lightning.networks.unet import UNet


class Way(Enum):
    """The three parts of the U."""

    DOWN = "down"
    MIDDLE = "middle"
    UP = "up"


@dataclass(frozen=True)
class Place:
    """The place of a layer in the U-Net.

    Args:
        ours: The name of the layer in our network.
        way: On the way down, in the middle, or on the way up.
        level: The level; 0 has the most pixels.
        index: The index of the block in its level.
    """

    ours: str
    way: Way
    level: int
    index: int = 0


def stages(network: UNet) -> Iterator[tuple[Place, Stage]]:
    """Yields every ResBlock with its attention, and its place."""
    for place, layer in _layers(network):
        if isinstance(layer, Stage):
            yield place, layer


def resamplings(network: UNet) -> Iterator[Place]:
    """Yields the places of all downsampling and upsampling layers, each at the level of its input."""
    for place, layer in _layers(network):
        if not isinstance(layer, Stage):
            yield place


def _layers(network: UNet) -> Iterator[tuple[Place, Stage | Downsample | Upsample]]:
    level = 0
    for way, layers, change in ((Way.DOWN, network.down, 1), (Way.MIDDLE, network.middle, 0), (Way.UP, network.up, -1)):
        index = 0
        for number, layer in enumerate(layers):
            assert isinstance(layer, Stage | Downsample | Upsample)
            yield Place(f"{way.value}.{number}", way, level, index), layer
            level, index = (level, index + 1) if isinstance(layer, Stage) else (level + change, 0)
