"""Formulas of a network's cost: operations, parameters, memory, bytes between processes."""

from dataclasses import dataclass

from benchmarks.scaling.layers import Block, Layer, blocks
from benchmarks.sides.shape import Shape

FLOAT = 4
"""Bytes of a float32 number, the type of weights, gradients, Adam's moments and the average."""


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network of a shape, in float32."""

    shape: Shape

    @property
    def blocks(self) -> list[Block]:
        return list(blocks(self.shape))

    @property
    def layers(self) -> list[Layer]:
        return [layer for block in self.blocks for layer in block.layers]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def forward(self) -> int:
        """Operations of a network call for one image."""
        return sum(layer.flops for layer in self.layers)

    @property
    def backward(self) -> int:
        """Operations of backward for one image: forward's once for inputs, but not the image, and once for weights."""
        return 2 * self.forward - sum(layer.flops for layer in self.layers if layer.is_first)

    @property
    def step(self) -> int:
        return self.forward + self.backward

    @property
    def activations(self) -> int:
        """Bytes of activations that are kept for one image."""
        return FLOAT * sum(block.saved for block in self.blocks)

    @property
    def activations_checkpointed(self) -> int:
        """Bytes of activations with activation checkpointing: the inputs of all blocks, and one block at a time."""
        kept = sum(block.saved if block.kept is None else block.kept for block in self.blocks)
        return FLOAT * (kept + max(block.saved - block.kept for block in self.blocks if block.kept is not None))


def peak_of_step(parameters: int, activations: int) -> int:
    """Returns the bytes at the start of backward: weights, Adam's two moments, all activations, no gradients."""
    return 3 * FLOAT * parameters + activations


def peak_of_run(parameters: int, activations: int) -> int:
    """Returns the bytes of training on several processes: also the average, and the gradients that DDP keeps."""
    return 5 * FLOAT * parameters + activations


def all_reduced(parameters: int, processes: int) -> float:
    """Returns the bytes that each process sends in a step: 2(n−1)/n times the float32 gradients, in a ring."""
    return 2 * (processes - 1) / processes * FLOAT * parameters
