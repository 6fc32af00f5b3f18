"""A fully connected network for points and other small data that are not pictures."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.networks.blocks import NEARLY_ZERO, embedding_of, initialised
from ddpm_lightning.typing import Classes, Features, Indices


class MLP(nn.Module):
    """A residual network of fully connected layers, which reads an image as one vector.

        h ← h + Dense(swish(h + Dense(swish(temb)))),  `depth` times between an input and an output layer

    Args:
        in_channels, out_channels: of the images in and out.
        size: height and width of the images.
        width: the size of h, even, in 4..16,384.
        depth: the number of residual layers, in 1..100.
        frequencies: the input layer sees sin 2^k x and cos 2^k x for k = 0..frequencies−1 besides x, in 0..20.
            Without them, generated shapes are thicker than the data's.
        num_classes: the number of classes that the network is conditioned on; 0 for none.

    Raises:
        UserError: an argument is out of its range.

    References:
        Tancik et al. (2020), "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains".
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
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        check_whole("network.width", width, 4, "the time embedding needs two sines and two cosines; use 128", 2**14)
        if width % 2:
            raise UserError(
                f"network.width={width} is odd, and half of the time embedding are sines; choose an even one"
            )
        check_whole("network.depth", depth, 1, "it counts layers, and very deep networks do not train; use 4", 100)
        check_whole("network.frequencies", frequencies, 0, "0 takes x alone, and waves above 2^20 are noise; use 4", 20)
        self.shape = (out_channels, *size)
        self.frequencies = frequencies
        self.time = embedding_of(width, num_classes)
        self.dense_in = initialised(nn.Linear((1 + 2 * frequencies) * in_channels * math.prod(size), width))
        self.dense_time = nn.ModuleList(initialised(nn.Linear(4 * width, width)) for _ in range(depth))
        self.dense = nn.ModuleList(initialised(nn.Linear(width, width)) for _ in range(depth))
        self.dense_out = initialised(nn.Linear(width, math.prod(self.shape)), gain=NEARLY_ZERO)

    def forward(self, x: Features, t: Indices, y: Classes | None = None) -> Features:
        """Returns the network's output: [b, out_channels, h, w].

        Args:
            x: [b, in_channels, h, w].
            t: [b] in 0..T−1.
            y: the class of each example, [b] in −1..num_classes−1; None and −1 are no class.
        """
        swish_temb = F.silu(self.time(t, y))
        flat = x.flatten(1)
        waves = [wave for k in range(self.frequencies) for wave in ((2**k * flat).sin(), (2**k * flat).cos())]
        h = self.dense_in(torch.cat([flat, *waves], dim=1))
        for dense, dense_time in zip(self.dense, self.dense_time, strict=True):
            h = h + dense(F.silu(h + dense_time(swish_temb)))
        return self.dense_out(F.silu(h)).reshape(len(x), *self.shape)
