"""Layouts: how other projects name and shape the weights of the same U-Net."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.places import Place, Way, resamplings, stages


class Pair(NamedTuple):
    """A parameter of ours, and its name in another project.

    Args:
        ours: Its name in our network.
        theirs: Its name in the other project.
        part: 0, 1 or 2 if theirs is the q, k or v of our joint layer, otherwise None.
        attends: Whether it belongs to an attention layer. There some projects store a matrix [out, in] for our 1×1
            convolution [out, in, 1, 1].
    """

    ours: str
    theirs: str
    part: int | None
    attends: bool


BLOCK = {"norm_0": "norm1", "conv_0": "conv1", "norm_1": "norm2", "conv_1": "conv2"}
"""Layers of a ResBlock that all projects name alike, by our names."""


class Layout(ABC):
    """Names and shapes of a U-Net's weights in one project.

    Attributes:
        outside: Names of the layers outside blocks, by our names. A network may lack some.
        block: Names of the layers of a ResBlock, by our names.
        attention: Names of the layers norm, q, k, v and project of an attention.
        separator: Stands between a layer and its parameter.

    Example:
        >>> class FlatLayout(DiffusersLayout):
        ...     '''Names blocks by level and index alone, and the rest as diffusers does.'''
        ...
        ...     def name_of_block(self, place, levels):
        ...         return f"{place.way.value}_{place.level}_{place.index}"
        ...
        ...     def name_of_attention(self, place, levels):
        ...         return self.name_of_block(place, levels) + "_attention"
        ...
        ...     def name_of_resampling(self, place, levels):
        ...         return f"{place.way.value}_{place.level}_resample"
        >>> network = UNet(1, 1, (8, 8), channels=8, multipliers=(1, 2), attention=(4,), groups=4)
        >>> [pair.theirs for pair in FlatLayout().pairs(network) if pair.ours == "down.0.block.conv_0.weight"]
        ['down_0_0.conv1.weight']
    """

    outside: ClassVar[Mapping[str, str]]
    block: ClassVar[Mapping[str, str]]
    attention: ClassVar[Mapping[str, str]]
    separator: ClassVar[str] = "."

    @abstractmethod
    def name_of_block(self, place: Place, levels: int) -> str:
        """Returns the name of the ResBlock at a place. levels: the number of levels of the U-Net."""

    @abstractmethod
    def name_of_attention(self, place: Place, levels: int) -> str:
        """Returns the name of the attention after the ResBlock at a place."""

    @abstractmethod
    def name_of_resampling(self, place: Place, levels: int) -> str:
        """Returns the name of the convolution that downsamples or upsamples at a place."""

    def name_of_parameter(self, layer: nn.Module, name: str) -> str:
        """Returns the other project's name of a layer's parameter, whose own name is "weight" or "bias"."""
        return name

    def shaped(self, weight: Tensor, attends: bool) -> Tensor:
        """Returns a parameter of ours in the other project's shape."""
        return weight

    def unshaped(self, weight: Tensor, like: Tensor) -> Tensor:
        """Returns a parameter of the other project in our shape, which is that of `like`."""
        return weight.reshape(like.shape)

    def pairs(self, network: UNet) -> Iterator[Pair]:
        """Yields every parameter of our network with its name in the other project. q, k and v are separate."""
        for ours, theirs, part, attends in self._layers(network):
            layer = network.get_submodule(ours)
            for name, _ in layer.named_parameters(recurse=False):
                full_name = theirs + self.separator + self.name_of_parameter(layer, name)
                yield Pair(f"{ours}.{name}", full_name, part, attends)

    def _layers(self, network: UNet) -> Iterator[tuple[str, str, int | None, bool]]:
        levels = 1 + max(place.level for place, _ in stages(network))
        there = dict(network.named_modules())
        for ours, theirs in self.outside.items():
            if ours in there:
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
    """The layout of diffusers' UNet2DModel. Its attention consists of dense layers."""

    outside: ClassVar = {
        "time.dense_0": "time_embedding.linear_1",
        "time.dense_1": "time_embedding.linear_2",
        "time.classes": "class_embedding",
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
        # On the way up, diffusers counts levels from the one with the fewest pixels.
        return f"down_blocks.{place.level}" if place.way is Way.DOWN else f"up_blocks.{levels - 1 - place.level}"


class EarlyDiffusersLayout(DiffusersLayout):
    """The layout of diffusers before version 0.15, and of google's files on the hub."""

    attention: ClassVar = {"norm": "group_norm", "q": "query", "k": "key", "v": "value", "project": "proj_attn"}


class PesserLayout(Layout):
    """The layout of pesser/pytorch_diffusion, which first translated the official weights to PyTorch."""

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
    """The layout of the official TensorFlow code.

    Convolutions are [h, w, in, out]. Dense layers and 1×1 convolutions are [in, out].
    """

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
