"""The diffusion transformer DiT (Peebles & Xie, 2023): an image as a sequence of patches, t by adaLN-Zero."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.networks.blocks import embedding_of, initialised
from ddpm_lightning.typing import Classes, Features, Indices, Tokens

TIME_CHANNELS = 256
"""The size of the sinusoidal embedding of t, as in the authors' code."""


class DiTBlock(nn.Module):
    """Attention and an MLP, each between a LayerNorm that the embedding c shifts and scales, and a gate.

        x ← x + g_1 · Attention((1 + s_1) · LN(x) + b_1)
        x ← x + g_2 · MLP((1 + s_2) · LN(x) + b_2),  (b_1, s_1, g_1, b_2, s_2, g_2) = Dense(swish(c))

    The Dense layer starts at 0, so each block starts as the identity (adaLN-Zero).

    Args:
        width: the size of a token, a multiple of heads.
        heads: the heads of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.qkv = initialised(nn.Linear(width, 3 * width))
        self.project = initialised(nn.Linear(width, width))
        self.dense_0 = initialised(nn.Linear(width, 4 * width))
        self.dense_1 = initialised(nn.Linear(4 * width, width))
        self.modulation = initialised(nn.Linear(width, 6 * width), gain=0.0)

    def forward(self, x: Tokens, swish_c: Tensor) -> Tokens:
        """Maps tokens, [b, n, width], and swish(c), [b, width], to tokens."""
        b_1, s_1, g_1, b_2, s_2, g_2 = self.modulation(swish_c)[:, None].chunk(6, dim=2)
        x = x + g_1 * self.attend((1 + s_1) * self.norm(x) + b_1)
        h = F.gelu(self.dense_0((1 + s_2) * self.norm(x) + b_2), approximate="tanh")
        return x + g_2 * self.dense_1(h)

    def attend(self, x: Tokens) -> Tokens:
        """Returns the attention of all tokens to all tokens: [b, n, width]."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class DiT(nn.Module):
    """The diffusion transformer, whose tokens are the patches of an image.

    DiT-S/2 of the paper has width 384, depth 12, heads 6 and patch_size 2: 33 million parameters.

    Args:
        in_channels, out_channels: of the images in and out.
        size: height and width of the images, multiples of patch_size.
        width: the size of a token, a multiple of 4 and of heads.
        depth: the number of blocks, in 1..200.
        heads: the heads of each attention.
        patch_size: the side of a patch. Half of it means four times as many tokens.
        num_classes: the number of classes that the network is conditioned on; 0 for none.

    Raises:
        UserError: the size is not divisible, or an argument is out of its range.

    References:
        Peebles & Xie (2023), "Scalable Diffusion Models with Transformers".
    """

    positions: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        *,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        patch_size: int = 2,
        num_classes: int = 0,
    ) -> None:
        super().__init__()
        _check(size, width, depth, heads, patch_size)
        self.size, self.patch_size = (size[0], size[1]), patch_size
        height, length = size[0] // patch_size, size[1] // patch_size
        self.time = embedding_of(TIME_CHANNELS, num_classes, width)
        for name, weight in self.time.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(weight, std=0.02)
        self.patches = initialised(nn.Linear(in_channels * patch_size**2, width))
        self.register_buffer("positions", positions_of(height, length, width), persistent=False)
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = initialised(nn.Linear(width, 2 * width), gain=0.0)
        self.dense_out = initialised(nn.Linear(width, patch_size**2 * out_channels), gain=0.0)

    def forward(self, x: Features, t: Indices, y: Classes | None = None) -> Features:
        """Returns the network's output: [b, out_channels, h, w].

        Args:
            x: [b, in_channels, h, w].
            t: [b] in 0..T−1.
            y: the class of each example, [b] in −1..num_classes−1; None and −1 are no class.
        """
        swish_c = F.silu(self.time(t, y))
        patch_size = self.patch_size
        h = self.patches(F.unfold(x, patch_size, stride=patch_size).transpose(1, 2))
        h = h + self.positions.to(h.dtype)
        for block in self.blocks:
            h = block(h, swish_c)
        shift, scale = self.modulation(swish_c)[:, None].chunk(2, dim=2)
        h = self.dense_out((1 + scale) * self.norm_out(h) + shift)
        return F.fold(h.transpose(1, 2), self.size, patch_size, stride=patch_size)


def positions_of(height: int, length: int, width: int) -> Tensor:
    """Returns the sinusoidal embedding of each patch's column and row: [height·length, width], float32.

    Half of the vector is of the column, and half of the row: [sin(k f_0), …, cos(k f_0), …], f_i = 10000^(−4i/width).
    """
    f = torch.exp(-math.log(10_000) * torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, columns = (torch.arange(side)[:, None] * f for side in (height, length))
    waves = [torch.cat([angles.sin(), angles.cos()], dim=1) for angles in (columns, rows)]
    of_column, of_row = waves[0].repeat(height, 1), waves[1].repeat_interleave(length, dim=0)
    return torch.cat([of_column, of_row], dim=1).float()


def _check(size: Sequence[int], width: int, depth: int, heads: int, patch_size: int) -> None:
    check_whole("network.patch_size", patch_size, 1, "it is the side of a patch in pixels; use 2", 2**10)
    check_whole("network.heads", heads, 1, "they are the heads of each attention; use 6", 2**10)
    check_whole("network.width", width, 4, "positions are two sines and two cosines at least; use 384", 2**14)
    check_whole("network.depth", depth, 1, "it is the number of blocks; use 12", 200)
    if size[0] % patch_size or size[1] % patch_size:
        raise UserError(
            f"images of {size[0]}×{size[1]} pixels do not divide into patches of network.patch_size={patch_size}; "
            "choose a divisor of both sides"
        )
    if width % 4 or width % heads:
        raise UserError(
            f"network.width={width} does not divide by 4 and by network.heads={heads}, the heads of each attention; "
            "choose a common multiple"
        )
