"""Renames and reshapes weights between our layout and another, and refuses weights that do not fit."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.layouts import Layout

Weights = Mapping[str, Tensor]
"""Tensors by parameter name."""


def to_theirs(network: UNet, layout: Layout, ours: Weights) -> dict[str, Tensor]:
    """Converts our weights to the names and shapes of another layout."""
    return {
        pair.theirs: layout.shaped(_part(ours[pair.ours], pair.part), pair.attends).contiguous()
        for pair in layout.pairs(network)
    }


def to_ours(network: UNet, layout: Layout, theirs: Weights, source: str) -> dict[str, Tensor]:
    """Converts weights of another layout to our names and shapes, in float32.

    Args:
        network: Our network. It may be on the meta device.
        layout: Names and shapes of the other project.
        theirs: The weights to convert.
        source: The file or folder of the weights, for messages.

    Raises:
        UserError: A weight is missing, unknown, of another shape, or not of a floating-point type.
    """
    expected = to_theirs(network, layout, dict(network.named_parameters()))
    check_fit(theirs, expected, source)
    parts: dict[str, list[Tensor]] = {}
    for pair in layout.pairs(network):
        like = _part(network.get_parameter(pair.ours), pair.part)
        parts.setdefault(pair.ours, []).append(layout.unshaped(theirs[pair.theirs].float(), like))
    return {name: torch.cat(each).contiguous() for name, each in parts.items()}


def check_fit(weights: Weights, expected: Weights, source: str) -> None:
    """Raises UserError unless the weights have the names and shapes of the expected ones, and are floating-point."""
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or extra:
        lacks = [f"lacks {_some(missing)}"] if missing else []
        has = [f"has {_some(extra)}, unknown here"] if extra else []
        raise UserError(
            f"{source} is of another network: it {' and '.join(lacks + has)}; take weights of the paper's U-Net"
        )
    for name, weight in weights.items():
        shape, theirs = tuple(expected[name].shape), tuple(weight.shape)
        if theirs != shape:
            raise UserError(f"{source} is of another network: {shown(name)} is {theirs}, where {shape} is needed")
        if not weight.is_floating_point():
            raise UserError(f"{source}: {shown(name)} holds {weight.dtype}, not floating-point; take another file")


def _part(weight: Tensor, part: int | None) -> Tensor:
    """Returns q, k or v (part 0, 1 or 2) of our joint layer, or the whole weight (None)."""
    return weight if part is None else weight.chunk(3)[part]


def _some(names: Sequence[str]) -> str:
    return shown(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
