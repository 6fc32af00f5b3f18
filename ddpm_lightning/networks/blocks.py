"""The layers of the paper's U-Net (Ho et al., 2020, Appendix B), initialised and padded as in the official code."""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.dropout import Dropout
from ddpm_lightning.typing import Classes, Features, Indices

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

NEARLY_ZERO = 1e-5
"""The gain of a layer whose output starts near 0: the square root of the official code's scale of 1e-10."""


def initialised(layer: Layer, gain: float = 1.0) -> Layer:
    """Initialises a layer: Xavier-uniform weights with Var = gain²·2/(fan_in + fan_out), biases 0. Returns it."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv3x3(c_in: int, c_out: int, gain: float = 1.0) -> nn.Conv2d:
    """Returns an initialised 3×3 convolution that keeps height and width."""
    return initialised(nn.Conv2d(c_in, c_out, 3, padding=1), gain)


def group_norm(groups: int, channels: int) -> nn.GroupNorm:
    """Returns a GroupNorm with ε = 1e-6, as in TensorFlow; PyTorch's default is 1e-5."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


def sinusoids(t: Indices, channels: int) -> Tensor:
    """Returns the sinusoidal embedding of t: [b, channels], float32.

        [sin(t f_0), …, sin(t f_{h−1}), cos(t f_0), …, cos(t f_{h−1})],  f_i = 10000^(−i/(h − 1)),  h = channels/2

    Args:
        t: [b] in 0..T−1.
        channels: even, at least 4.
    """
    half = channels // 2
    f = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device) / (half - 1))
    angles = t.float()[:, None] * f
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """The embedding of t that every block reads: Dense(swish(Dense(sinusoids(t)))), [b] -> [b, width].

    Args:
        channels: the size of the sinusoidal embedding, even, at least 4.
        width: the size of the embedding; 4·channels if None.
    """

    def __init__(self, channels: int, width: int | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.width = width or 4 * channels
        self.dense_0 = initialised(nn.Linear(channels, self.width))
        self.dense_1 = initialised(nn.Linear(self.width, self.width))

    def forward(self, t: Indices, y: Classes | None = None) -> Tensor:
        if y is not None:
            raise UserError("labels were given to a network that takes none; train it with conditioning=class")
        return self.of_time(t)

    def of_time(self, t: Indices) -> Tensor:
        """Returns the embedding of t alone: [b, width]."""
        embedding = sinusoids(t, self.channels).to(self.dense_0.weight.dtype)
        return self.dense_1(F.silu(self.dense_0(embedding)))


class TimeAndClassEmbedding(TimeEmbedding):
    """The embedding of t plus a learned row for the class y: [b] and [b] -> [b, width].

    Args:
        channels: the size of the sinusoidal embedding, even, at least 4.
        num_classes: K, at least 1. Row K of the table is that of no class, which stands for y = −1 and y = None.
        width: the size of the embedding; 4·channels if None.
    """

    def __init__(self, channels: int, num_classes: int, width: int | None = None) -> None:
        super().__init__(channels, width)
        self.classes = nn.Embedding(num_classes + 1, self.width)

    def forward(self, t: Indices, y: Classes | None = None) -> Tensor:
        no_class = torch.full_like(t, self.classes.num_embeddings - 1)
        return self.of_time(t) + self.classes(no_class if y is None else torch.where(y < 0, no_class, y))


def embedding_of(channels: int, num_classes: int, width: int | None = None) -> TimeEmbedding:
    """Returns the module that embeds t, and also the class if `num_classes` is not 0."""
    return TimeAndClassEmbedding(channels, num_classes, width) if num_classes else TimeEmbedding(channels, width)


class ResBlock(nn.Module):
    """A residual block: GN–swish–conv, + Dense(swish(temb)), GN–swish–dropout–conv, + shortcut.

    The last convolution starts near 0. The shortcut is a 1×1 convolution if the channels differ, else the identity.

    Args:
        c_in, c_out: channels in and out, multiples of groups.
        c_time: the size of the time embedding.
        dropout: the probability of dropout, in [0, 1).
        groups: the groups of each GroupNorm.
    """

    def __init__(self, c_in: int, c_out: int, c_time: int, dropout: float, groups: int) -> None:
        super().__init__()
        self.norm_0 = group_norm(groups, c_in)
        self.conv_0 = conv3x3(c_in, c_out)
        self.time = initialised(nn.Linear(c_time, c_out))
        self.norm_1 = group_norm(groups, c_out)
        self.dropout = Dropout(dropout)
        self.conv_1 = conv3x3(c_out, c_out, gain=NEARLY_ZERO)
        self.shortcut = nn.Identity() if c_in == c_out else initialised(nn.Conv2d(c_in, c_out, 1))

    def forward(self, x: Features, swish_temb: Tensor) -> Features:
        """Maps x, [b, c_in, h, w], and swish(temb), [b, c_time], to [b, c_out, h, w]."""
        h = self.conv_0(F.silu(self.norm_0(x)))
        h = h + self.time(swish_temb)[:, :, None, None]
        h = self.conv_1(self.dropout(F.silu(self.norm_1(h))))
        return self.shortcut(x) + h


class Attention(nn.Module):
    """Residual self-attention over all pixels, scale (C/heads)^-½. q, k and v come from one 1×1 convolution.

    Args:
        channels: C, a multiple of groups and of heads.
        groups: the groups of the GroupNorm.
        heads: the heads; the paper has one.
    """

    def __init__(self, channels: int, groups: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = initialised(nn.Conv2d(channels, channels, 1), gain=NEARLY_ZERO)
        # The variance of three layers q, k, v, whose fan_out is C, not 3C.
        initialised(self.qkv, gain=math.sqrt((1 + 3) / (1 + 1)))

    def forward(self, x: Features) -> Features:
        # Channels last in memory, because the fused kernels are faster with it.
        pixels = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).contiguous()
        q, k, v = pixels.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2)
        return x + self.project(h.unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    """Halves height and width: a 3×3 convolution of stride 2, padded below and on the right as TensorFlow's 'SAME'."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = initialised(nn.Conv2d(channels, channels, 3, stride=2))

    def forward(self, x: Features, *_: Tensor) -> Features:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles height and width: nearest-neighbour upsampling, then a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)

    def forward(self, x: Features, *_: Tensor) -> Features:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
