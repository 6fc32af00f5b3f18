"""How other projects name and shape the weights of the same U-Net."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.places import Place, Way, resamplings, stages


class Pair(NamedTuple):
    """A parameter of ours and what it is called elsewhere; part: 0, 1 or 2 where it is q, k or v of our one layer.

    attends: whether it belongs to an attention, whose layers some projects make dense.
    """

    ours: str
    theirs: str
    part: int | None
    attends: bool


BLOCK = {"norm_0": "norm1", "conv_0": "conv1", "norm_1": "norm2", "conv_1": "conv2"}
"""What every project calls alike in a ResBlock."""


class Layout(ABC):
    """One project's names. The mappings lead from our layers to theirs."""

    outside: ClassVar[Mapping[str, str]]
    block: ClassVar[Mapping[str, str]]
    attention: ClassVar[Mapping[str, str]]
    """norm, q, k, v, project."""

    separator: ClassVar[str] = "."

    @abstractmethod
    def name_of_block(self, place: Place, levels: int) -> str:
        """A ResBlock."""

    @abstractmethod
    def name_of_attention(self, place: Place, levels: int) -> str:
        """What follows it."""

    @abstractmethod
    def name_of_resampling(self, place: Place, levels: int) -> str:
        """The convolution of a halving or doubling."""

    def name_of_parameter(self, layer: nn.Module, name: str) -> str:
        """weight or bias, as they call it."""
        return name

    def shaped(self, weight: Tensor, attends: bool) -> Tensor:
        """A parameter of ours in their shape."""
        return weight

    def unshaped(self, weight: Tensor, like: Tensor) -> Tensor:
        """A parameter of theirs in our shape."""
        return weight.reshape(like.shape)

    def pairs(self, network: UNet) -> Iterator[Pair]:
        """Every parameter of ours, q, k and v apart, with its name there."""
        for ours, theirs, part, attends in self._layers(network):
            layer = network.get_submodule(ours)
            for name, _ in layer.named_parameters(recurse=False):
                yield Pair(
                    f"{ours}.{name}", theirs + self.separator + self.name_of_parameter(layer, name), part, attends
                )

    def _layers(self, network: UNet) -> Iterator[tuple[str, str, int | None, bool]]:
        levels = 1 + max(place.level for place, _ in stages(network))
        for ours, theirs in self.outside.items():
            yield ours, theirs, None, False
        for place, stage in stages(network):
            for ours, theirs in self.block.items():
                if not isinstance(stage.block.get_submodule(ours), nn.Identity):
                    name = self.name_of_block(place, levels) + self.separator + theirs
                    yield f"{place.ours}.block.{ours}", name, None, False
            if stage.attention is not None:
                within = self.name_of_attention(place, levels) + self.separator
                for part, letter in enumerate("qkv"):
                    yield f"{place.ours}.attention.qkv", within + self.attention[letter], part, True
                for ours in ("norm", "project"):
                    yield f"{place.ours}.attention.{ours}", within + self.attention[ours], None, True
        for place in resamplings(network):
            yield f"{place.ours}.conv", self.name_of_resampling(place, levels), None, False


class DiffusersLayout(Layout):
    """diffusers' UNet2DModel; attention is dense there."""

    outside: ClassVar = {
        "time.dense_0": "time_embedding.linear_1",
        "time.dense_1": "time_embedding.linear_2",
        "conv_in": "conv_in",
        "norm_out": "conv_norm_out",
        "conv_out": "conv_out",
    }
    block: ClassVar = {**BLOCK, "time": "time_emb_proj", "shortcut": "conv_shortcut"}
    attention: ClassVar = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "project": "to_out.0"}

    def name_of_block(self, place: Place, levels: int) -> str:
        return f"{self._part(place, levels)}.resnets.{place.index}"

    def name_of_attention(self, place: Place, levels: int) -> str:
        return f"{self._part(place, levels)}.attentions.{place.index}"

    def name_of_resampling(self, place: Place, levels: int) -> str:
        return f"{self._part(place, levels)}.{place.way.value}samplers.0.conv"

    def shaped(self, weight: Tensor, attends: bool) -> Tensor:
        return weight[:, :, 0, 0] if attends and weight.ndim == 4 else weight

    @staticmethod
    def _part(place: Place, levels: int) -> str:
        if place.way is Way.MIDDLE:
            return "mid_block"
        # The way up is counted from its start, the level of the fewest pixels.
        return f"down_blocks.{place.level}" if place.way is Way.DOWN else f"up_blocks.{levels - 1 - place.level}"


class EarlyDiffusersLayout(DiffusersLayout):
    """As diffusers named attention before version 0.15, and as google's files on the hub still do."""

    attention: ClassVar = {"norm": "group_norm", "q": "query", "k": "key", "v": "value", "project": "proj_attn"}


class PesserLayout(Layout):
    """pesser/pytorch_diffusion, the first translation of the official weights."""

    outside: ClassVar = {
        "time.dense_0": "temb.dense.0",
        "time.dense_1": "temb.dense.1",
        "conv_in": "conv_in",
        "norm_out": "norm_out",
        "conv_out": "conv_out",
    }
    block: ClassVar = {**BLOCK, "time": "temb_proj", "shortcut": "nin_shortcut"}
    attention: ClassVar = {"norm": "norm", "q": "q", "k": "k", "v": "v", "project": "proj_out"}

    def name_of_block(self, place: Place, levels: int) -> str:
        return self._within(place, "mid.block_{}", "{}.{}.block.{}")

    def name_of_attention(self, place: Place, levels: int) -> str:
        return self._within(place, "mid.attn_{}", "{}.{}.attn.{}")

    def name_of_resampling(self, place: Place, levels: int) -> str:
        return f"{place.way.value}.{place.level}.{place.way.value}sample.conv"

    @staticmethod
    def _within(place: Place, middle: str, elsewhere: str) -> str:
        if place.way is Way.MIDDLE:
            return middle.format(place.index + 1)
        return elsewhere.format(place.way.value, place.level, place.index)


class OfficialLayout(PesserLayout):
    """The official TensorFlow code: [h, w, in, out] convolutions, [in, out] dense layers and 1×1 convolutions."""

    separator: ClassVar = "/"

    outside: ClassVar = {
        "time.dense_0": "model/temb/dense0",
        "time.dense_1": "model/temb/dense1",
        "conv_in": "model/conv_in",
        "norm_out": "model/norm_out",
        "conv_out": "model/conv_out",
    }

    def name_of_block(self, place: Place, levels: int) -> str:
        return self._within(place, "model/mid/block_{}", "model/{}_{}/block_{}")

    def name_of_attention(self, place: Place, levels: int) -> str:
        return self._within(place, "model/mid/attn_{}", "model/{}_{}/attn_{}")

    def name_of_resampling(self, place: Place, levels: int) -> str:
        return f"model/{place.way.value}_{place.level}/{place.way.value}sample/conv"

    def name_of_parameter(self, layer: nn.Module, name: str) -> str:
        if isinstance(layer, nn.GroupNorm):
            return {"weight": "gamma", "bias": "beta"}[name]
        return {"weight": "W", "bias": "b"}[name]

    def shaped(self, weight: Tensor, attends: bool) -> Tensor:
        if weight.ndim == 4 and weight.shape[2:] != (1, 1):
            return weight.permute(2, 3, 1, 0)
        return weight.flatten(1).t() if weight.ndim > 1 else weight

    def unshaped(self, weight: Tensor, like: Tensor) -> Tensor:
        if weight.ndim == 4:
            return weight.permute(3, 2, 0, 1)
        return weight.t().reshape(like.shape) if weight.ndim > 1 else weight
