"""The paper's U-Net as a list of layers, written from Appendix B and not from our code."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.sides.shape import Shape

COLOURS = 3


@dataclass(frozen=True)
class Layer:
    """The cost of a layer for one image.

    Args:
        flops: Operations of forward. A multiply-add counts as two; GroupNorm, swish and sums do not count, as is usual.
        saved: Numbers that are kept for the gradients.
        is_first: Whether no layer before it has weights, so its input needs no gradient.

    """

    flops: int = 0
    parameters: int = 0
    saved: int = 0
    is_first: bool = False


@dataclass(frozen=True)
class Block:
    """Layers that activation checkpointing computes again from their input. It keeps all activations of others."""

    layers: tuple[Layer, ...]
    kept: int | None = None

    @property
    def saved(self) -> int:
        return sum(layer.saved for layer in self.layers)


def convolution(c_in: int, c_out: int, side: int, kernel: int = 3, saved: int = 0, is_first: bool = False) -> Layer:
    """Returns a convolution: 2·k²·C_in·C_out·H·W operations, for an output of H×W."""
    weights = kernel**2 * c_in * c_out
    return Layer(2 * weights * side**2, weights + c_out, saved, is_first)


def dense(c_in: int, c_out: int, is_first: bool = False) -> Layer:
    """Returns a dense layer: 2·C_in·C_out operations."""
    return Layer(2 * c_in * c_out, c_in * c_out + c_out, 0, is_first)


def norm(channels: int, side: int) -> Layer:
    """Returns a GroupNorm before swish or a convolution. Its input and its output are kept."""
    return Layer(0, 2 * channels, 2 * channels * side**2)


def attention(channels: int, side: int) -> tuple[Layer, ...]:
    """Returns attention: two products of n×C by C×n, n = H·W. The n×n weights are not kept."""
    n = side**2
    return (
        norm(channels, side),
        convolution(channels, 3 * channels, side, kernel=1, saved=3 * channels * n),
        Layer(flops=2 * 2 * n**2 * channels, saved=channels * n + n),
        convolution(channels, channels, side, kernel=1),
    )


def stage(shape: Shape, c_in: int, c_out: int, side: int, has_attention: bool) -> Block:
    """Returns a ResBlock with its attention, if any. On a CPU, the dropout mask has the type of the features."""
    pixels, dropout = side**2, shape.dropout > 0
    shortcut = () if c_in == c_out else (convolution(c_in, c_out, side, kernel=1),)
    block = (
        norm(c_in, side),
        convolution(c_in, c_out, side, saved=c_in * pixels),
        dense(4 * shape.channels, c_out),
        norm(c_out, side),
        convolution(c_out, c_out, side, saved=(1 + dropout) * c_out * pixels),
        *shortcut,
    )
    return Block((*block, *(attention(c_out, side) if has_attention else ())), kept=c_in * pixels)


def blocks(shape: Shape) -> Iterator[Block]:
    """Yields all blocks of the network, from the image to ε."""
    widths = [shape.channels * multiple for multiple in shape.multipliers]
    sides = [shape.side // 2**level for level in range(len(widths))]
    ch = c = shape.channels
    yield Block((dense(ch, 4 * ch, is_first=True), dense(4 * ch, 4 * ch)))
    yield Block((convolution(COLOURS, ch, shape.side, saved=COLOURS * shape.side**2, is_first=True),))
    skips = [c]
    for level, (width, side) in enumerate(zip(widths, sides, strict=True)):
        if level > 0:
            yield Block((convolution(c, c, side, saved=c * (sides[level - 1] + 1) ** 2),))
            skips.append(c)
        for _ in range(shape.num_res_blocks):
            yield stage(shape, c, width, side, side in shape.attention)
            skips.append(c := width)
    yield stage(shape, c, c, sides[-1], True)
    yield stage(shape, c, c, sides[-1], False)
    for level, (width, side) in reversed(list(enumerate(zip(widths, sides, strict=True)))):
        if level < len(widths) - 1:
            yield Block((convolution(c, c, side, saved=c * side**2),))
        for _ in range(shape.num_res_blocks + 1):
            yield stage(shape, c + skips.pop(), width, side, side in shape.attention)
            c = width
    yield Block((norm(c, shape.side), convolution(c, COLOURS, shape.side, saved=c * shape.side**2)))
