"""Places of layers in our U-Net, in terms that every project shares: way, level, and index in the level."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ddpm_lightning.networks.blocks import Downsample, Upsample
from ddpm_lightning.networks.u_shape import Stage
from ddpm_lightning.networks.unet import UNet


class Way(Enum):
    """The part of the U-Net that a layer belongs to: the way down, the middle, or the way up."""

    DOWN = "down"
    MIDDLE = "middle"
    UP = "up"


@dataclass(frozen=True)
class Place:
    """The place of a layer in the U-Net.

    Args:
        ours: The name of the layer in our network.
        way: The part of the U-Net.
        level: The level of resolution; 0 has the most pixels.
        index: The index of the block among those of the same way and level.
    """

    ours: str
    way: Way
    level: int
    index: int = 0


def stages(network: UNet) -> Iterator[tuple[Place, Stage]]:
    """Yields (place, stage) for every stage of the U-Net, which is a ResBlock with its attention, if any."""
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
