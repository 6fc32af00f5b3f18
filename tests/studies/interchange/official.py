"""The official U-Net, by its published names: [b, h, w, c] images, 'SAME' padding, 1×1 layers as matrices.

Written against the description of the official code, and from none of ours, to compare with.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Variables = Mapping[str, Tensor]


def names_and_shapes(
    channels: int, multipliers: list[int], blocks: int, attended: set[int], in_channels: int
) -> dict[str, tuple[int, ...]]:
    """Every variable of the official network."""
    found: dict[str, tuple[int, ...]] = {}

    def conv(name: str, c_in: int, c_out: int) -> None:
        found.update({f"{name}/W": (3, 3, c_in, c_out), f"{name}/b": (c_out,)})

    def dense(name: str, c_in: int, c_out: int) -> None:
        found.update({f"{name}/W": (c_in, c_out), f"{name}/b": (c_out,)})

    def norm(name: str, c: int) -> None:
        found.update({f"{name}/gamma": (c,), f"{name}/beta": (c,)})

    def block(name: str, c_in: int, c_out: int) -> None:
        norm(f"{name}/norm1", c_in)
        conv(f"{name}/conv1", c_in, c_out)
        dense(f"{name}/temb_proj", 4 * channels, c_out)
        norm(f"{name}/norm2", c_out)
        conv(f"{name}/conv2", c_out, c_out)
        if c_in != c_out:
            dense(f"{name}/nin_shortcut", c_in, c_out)

    def attention(name: str, c: int) -> None:
        norm(f"{name}/norm", c)
        for layer in ("q", "k", "v", "proj_out"):
            dense(f"{name}/{layer}", c, c)

    dense("model/temb/dense0", channels, 4 * channels)
    dense("model/temb/dense1", 4 * channels, 4 * channels)
    conv("model/conv_in", in_channels, channels)
    c, skips = channels, [channels]
    for level, multiple in enumerate(multipliers):
        for i in range(blocks):
            block(f"model/down_{level}/block_{i}", c, channels * multiple)
            c = channels * multiple
            if level in attended:
                attention(f"model/down_{level}/attn_{i}", c)
            skips.append(c)
        if level < len(multipliers) - 1:
            conv(f"model/down_{level}/downsample/conv", c, c)
            skips.append(c)
    block("model/mid/block_1", c, c)
    attention("model/mid/attn_1", c)
    block("model/mid/block_2", c, c)
    for level, multiple in reversed(list(enumerate(multipliers))):
        for i in range(blocks + 1):
            block(f"model/up_{level}/block_{i}", c + skips.pop(), channels * multiple)
            c = channels * multiple
            if level in attended:
                attention(f"model/up_{level}/attn_{i}", c)
        if level:
            conv(f"model/up_{level}/upsample/conv", c, c)
    norm("model/norm_out", c)
    conv("model/conv_out", c, in_channels)
    return found


class OfficialUNet:
    """(x, t) -> ε̂ from the variables; x: [b, h, w, c], t: [b] in 0..T−1."""

    def __init__(self, variables: Variables, groups: int) -> None:
        self.variables = {name: value.double() for name, value in variables.items()}
        self.groups = groups

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        # 'SAME': as many zeros as are needed, the odd one below and on the right.
        _, h, w, _ = x.shape
        short = [max((math.ceil(n / stride) - 1) * stride + 3 - n, 0) for n in (w, h)]
        x = F.pad(x.permute(0, 3, 1, 2), [n for total in short for n in (total // 2, total - total // 2)])
        kernel = self.variables[f"{name}/W"].permute(3, 2, 0, 1)
        return F.conv2d(x, kernel, self.variables[f"{name}/b"], stride).permute(0, 2, 3, 1)

    def _dense(self, x: Tensor, name: str) -> Tensor:
        return x @ self.variables[f"{name}/W"] + self.variables[f"{name}/b"]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        b, h, w, c = x.shape
        grouped = x.reshape(b, h * w, self.groups, c // self.groups)
        mean = grouped.mean((1, 3), keepdim=True)
        variance = (grouped - mean).square().mean((1, 3), keepdim=True)
        normal = ((grouped - mean) / (variance + 1e-6).sqrt()).reshape(b, h, w, c)
        return normal * self.variables[f"{name}/gamma"] + self.variables[f"{name}/beta"]

    @staticmethod
    def _swish(x: Tensor) -> Tensor:
        return x * x.sigmoid()

    def _block(self, x: Tensor, temb: Tensor, name: str) -> Tensor:
        h = self._conv(self._swish(self._norm(x, f"{name}/norm1")), f"{name}/conv1")
        h = h + self._dense(self._swish(temb), f"{name}/temb_proj")[:, None, None, :]
        h = self._conv(self._swish(self._norm(h, f"{name}/norm2")), f"{name}/conv2")
        return h + (self._dense(x, f"{name}/nin_shortcut") if f"{name}/nin_shortcut/W" in self.variables else x)

    def _attention(self, x: Tensor, name: str) -> Tensor:
        if f"{name}/q/W" not in self.variables:
            return x
        b, h, w, c = x.shape
        normal = self._norm(x, f"{name}/norm").reshape(b, h * w, c)
        q, k, v = (self._dense(normal, f"{name}/{letter}") for letter in "qkv")
        seen = torch.softmax(torch.einsum("bic,bjc->bij", q, k) / math.sqrt(c), dim=-1)
        return x + self._dense(seen @ v, f"{name}/proj_out").reshape(b, h, w, c)

    def _has(self, name: str) -> bool:
        return any(each.startswith(f"{name}/") for each in self.variables)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.variables["model/temb/dense0/W"].shape[0] // 2
        # In float32, as there.
        f = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000) / (half - 1)))
        angles = t.float()[:, None] * f[None]
        temb = self._dense(torch.cat([angles.sin(), angles.cos()], 1).double(), "model/temb/dense0")
        temb = self._dense(self._swish(temb), "model/temb/dense1")
        skips, level = [self._conv(x, "model/conv_in")], 0
        while self._has(f"model/down_{level}"):
            i = 0
            while self._has(f"model/down_{level}/block_{i}"):
                h = self._block(skips[-1], temb, f"model/down_{level}/block_{i}")
                skips.append(self._attention(h, f"model/down_{level}/attn_{i}"))
                i += 1
            if self._has(f"model/down_{level}/downsample"):
                skips.append(self._conv(skips[-1], f"model/down_{level}/downsample/conv", stride=2))
            level += 1
        h = self._block(skips[-1], temb, "model/mid/block_1")
        h = self._block(self._attention(h, "model/mid/attn_1"), temb, "model/mid/block_2")
        while level > 0:
            level, i = level - 1, 0
            while self._has(f"model/up_{level}/block_{i}"):
                h = self._block(torch.cat([h, skips.pop()], -1), temb, f"model/up_{level}/block_{i}")
                h = self._attention(h, f"model/up_{level}/attn_{i}")
                i += 1
            if self._has(f"model/up_{level}/upsample"):
                h = self._conv(h.repeat_interleave(2, 1).repeat_interleave(2, 2), f"model/up_{level}/upsample/conv")
        assert not skips
        return self._conv(self._swish(self._norm(h, "model/norm_out")), "model/conv_out")
