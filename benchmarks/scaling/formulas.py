"""What a network costs, by formula: operations, parameters, memory, bytes between processes."""

from dataclasses import dataclass

from benchmarks.scaling.layers import Block, Layer, blocks
from benchmarks.sides.shape import Shape

FLOAT = 4
"""Bytes of a number in float32, in which weights, gradients, Adam's moments and the average always are."""


@dataclass(frozen=True)
class NetworkCost:
    """Of a network of this shape, in float32."""

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
        """As many again for the gradients of what goes in, and for those of the weights; nothing learns in front of the
        first layers."""
        return 2 * self.forward - sum(layer.flops for layer in self.layers if layer.is_first)

    @property
    def step(self) -> int:
        return self.forward + self.backward

    @property
    def activations(self) -> int:
        """Bytes that are kept of one image."""
        return FLOAT * sum(block.saved for block in self.blocks)

    @property
    def activations_checkpointed(self) -> int:
        """The same where each block keeps what went in, and is computed anew one at a time."""
        kept = sum(block.saved if block.kept is None else block.kept for block in self.blocks)
        return FLOAT * (kept + max(block.saved - block.kept for block in self.blocks if block.kept is not None))


def peak_of_step(parameters: int, activations: int) -> int:
    """Bytes, where backward begins: weights, Adam's two moments, all activations, and no gradient yet."""
    return 3 * FLOAT * parameters + activations


def peak_of_run(parameters: int, activations: int) -> int:
    """Bytes in training on several processes: also the average; and the gradients, which DDP and accumulation keep."""
    return 5 * FLOAT * parameters + activations


def all_reduced(parameters: int, processes: int) -> float:
    """Bytes that each process sends at a step: the ring's 2(n−1)/n times the gradients, which are float32."""
    return 2 * (processes - 1) / processes * FLOAT * parameters
