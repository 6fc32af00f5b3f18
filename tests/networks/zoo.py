"""Networks of a user's own, each unlike ours in something that a checkpoint, an average or a digest could trip over."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class Plain(nn.Module):
    """Two convolutions; t shifts what is between them. The others are variations of it."""

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int]) -> None:
        super().__init__()
        self.first, self.last = convolution(in_channels, 8), convolution(8, out_channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.last(self.between(self.first(x) + t[:, None, None, None] / 8))
        return out

    def between(self, h: Tensor) -> Tensor:
        return torch.tanh(h)


class BatchNormed(Plain):
    """Buffers that change while it trains, one of them an integer without dimensions."""

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int]) -> None:
        super().__init__(in_channels, out_channels, size)
        self.norm = nn.BatchNorm2d(8)

    def between(self, h: Tensor) -> Tensor:
        return super().between(self.norm(h))


class Buffered(Plain):
    """Buffers of every kind; a parameter without gradient, and one that is not used."""

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int]) -> None:
        super().__init__(in_channels, out_channels, size)
        self.register_buffer("turns", torch.tensor([1j, 1 + 2j]))
        self.register_buffer("complex_scalar", torch.tensor(1j))
        self.register_buffer("scale", torch.tensor(0.5))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("coarse", torch.ones(3, dtype=torch.bfloat16))
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("unsaved", torch.arange(3), persistent=False)
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2))

    def between(self, h: Tensor) -> Tensor:
        return super().between(h * self.scale * self.frozen)


class Tied(Plain):
    """One weight under two names."""

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int]) -> None:
        super().__init__(in_channels, out_channels, size)
        self.once, self.again = convolution(8, 8), convolution(8, 8)
        self.again.weight = self.once.weight

    def between(self, h: Tensor) -> Tensor:
        return super().between(self.again(torch.tanh(self.once(h))))


class Lazy(Plain):
    """Weights that have no shape before the first call."""

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int]) -> None:
        super().__init__(in_channels, out_channels, size)
        self.first = nn.LazyConv2d(8, 3, padding=1)


class ChannelsLast(Plain):
    """Weights whose memory is in another order."""

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int]) -> None:
        super().__init__(in_channels, out_channels, size)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Compiled(Plain):
    """A part that is compiled already, which stands in the weights' names."""

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int]) -> None:
        super().__init__(in_channels, out_channels, size)
        self.last = torch.compile(self.last, backend="eager")  # type: ignore[assignment]


class Everything(Lazy, Compiled, ChannelsLast, Tied, Buffered, BatchNormed):
    """All of these in one."""


class CountsFromZero(Plain):
    """Takes `y` in 0..num_classes−1, as improved-diffusion's U-Net does; class 0 of it stands for no class."""

    def __init__(self, in_channels: int, out_channels: int, size: Sequence[int], num_classes: int = 0) -> None:
        super().__init__(in_channels, out_channels, size)
        self.label = nn.Embedding(num_classes + 1, in_channels)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        shift = self.label(torch.zeros_like(t) if y is None else y + 1)
        return super().forward(x + shift[:, :, None, None], t)
