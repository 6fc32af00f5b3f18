"""A network for points and other small things that are no pictures."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.networks.blocks import ZERO, TimeEmbedding, initialised
from ddpm_lightning.typing import Features, Indices


class MLP(nn.Module):
    """(x, t) -> tensor; x: [b, in_channels, h, w], t: [b] in 0..T−1; returns [b, out_channels, h, w].

    h ← h + Dense(swish(h + Dense(swish(temb)))), `depth` times, between a layer in and a layer out. size: (h, w) of the
    images, all of whose numbers are one vector here. width: of h. frequencies: the layer in sees sin 2^k x
    and cos 2^k x for k = 0 … frequencies − 1 besides x, without which thin shapes come out thick (Tancik et al., 2020).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        *,
        width: int = 128,
        depth: int = 4,
        frequencies: int = 4,
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
        check_whole("network.frequencies", frequencies, 0, "0 takes x alone; use 4")
        check_at_most("network.frequencies", frequencies, 20, "2^20 waves in one are noise; use 4")
        self.shape = (out_channels, *size)
        self.frequencies = frequencies
        self.time = TimeEmbedding(width)
        self.dense_in = initialised(nn.Linear((1 + 2 * frequencies) * in_channels * math.prod(size), width))
        self.dense_time = nn.ModuleList(initialised(nn.Linear(4 * width, width)) for _ in range(depth))
        self.dense = nn.ModuleList(initialised(nn.Linear(width, width)) for _ in range(depth))
        self.dense_out = initialised(nn.Linear(width, math.prod(self.shape)), gain=ZERO)

    def forward(self, x: Features, t: Indices) -> Features:
        swish_temb = F.silu(self.time(t))
        flat = x.flatten(1)
        waves = [wave for k in range(self.frequencies) for wave in ((2**k * flat).sin(), (2**k * flat).cos())]
        h = self.dense_in(torch.cat([flat, *waves], dim=1))
        for dense, dense_time in zip(self.dense, self.dense_time, strict=True):
            h = h + dense(F.silu(h + dense_time(swish_temb)))
        return self.dense_out(F.silu(h)).reshape(len(x), *self.shape)
