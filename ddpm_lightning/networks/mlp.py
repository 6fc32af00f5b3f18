"""A network for points and other small things that are no pictures."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import nn

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.networks.blocks import ZERO, TimeEmbedding, initialised
from ddpm_lightning.typing import Features, Indices


class MLP(nn.Module):
    """(x, t) -> tensor; x: [b, in_channels, h, w], t: [b] in 0..T−1; returns [b, out_channels, h, w].

    h ← h + Dense(swish(h + Dense(temb))), `depth` times, between a layer in and a layer out. size: (h, w) of the
    images, all of whose numbers are one vector here. width: of h.
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: Sequence[int], *, width: int = 128, depth: int = 4
    ) -> None:
        super().__init__()
        check_whole("network.width", width, 4, "the time embedding needs two sines and two cosines; use 128")
        check_at_most("network.width", width, 2**14, "nothing so wide is needed for points; use 128")
        if width % 2:
            raise UserError(
                f"network.width={width} is odd, and half of the time embedding are sines; choose an even one"
            )
        check_whole("network.depth", depth, 1, "there must be a layer; use 4")
        check_at_most("network.depth", depth, 100, "nothing so deep can be trained; use 4")
        self.shape = (out_channels, *size)
        self.time = TimeEmbedding(width)
        self.dense_in = initialised(nn.Linear(in_channels * math.prod(size), width))
        self.dense_time = nn.ModuleList(initialised(nn.Linear(4 * width, width)) for _ in range(depth))
        self.dense = nn.ModuleList(initialised(nn.Linear(width, width)) for _ in range(depth))
        self.dense_out = initialised(nn.Linear(width, math.prod(self.shape)), gain=ZERO)

    def forward(self, x: Features, t: Indices) -> Features:
        swish_temb = F.silu(self.time(t))
        h = self.dense_in(x.flatten(1))
        for dense, dense_time in zip(self.dense, self.dense_time, strict=True):
            h = h + dense(F.silu(h + dense_time(swish_temb)))
        return self.dense_out(F.silu(h)).reshape(len(x), *self.shape)
