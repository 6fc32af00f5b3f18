"""Carries weights from one layout to the other, and refuses what does not fit."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.layouts import Layout

Weights = Mapping[str, Tensor]
"""Tensors by the names of their parameters."""


def to_theirs(network: UNet, layout: Layout, ours: Weights) -> dict[str, Tensor]:
    """Our network's weights by their names and in their shapes."""
    return {
        pair.theirs: layout.shaped(_part(ours[pair.ours], pair.part), pair.attends).contiguous()
        for pair in layout.pairs(network)
    }


def to_ours(network: UNet, layout: Layout, theirs: Weights, source: str) -> dict[str, Tensor]:
    """Their weights by our names and in our shapes, float32.

    Raises UserError where one is missing, superfluous, of another shape, or no floating-point number.
    """
    expected = to_theirs(network, layout, dict(network.named_parameters()))
    check_fit(theirs, expected, source)
    parts: dict[str, list[Tensor]] = {}
    for pair in layout.pairs(network):
        like = _part(network.get_parameter(pair.ours), pair.part)
        parts.setdefault(pair.ours, []).append(layout.unshaped(theirs[pair.theirs].float(), like))
    return {name: torch.cat(each).contiguous() for name, each in parts.items()}


def check_fit(weights: Weights, expected: Weights, source: str) -> None:
    """Raises UserError where weights differ from the expected ones by name, shape or kind."""
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or extra:
        lacks = [f"lacks {_some(missing)}"] if missing else []
        has = [f"has {_some(extra)}, unknown here"] if extra else []
        said = " and ".join(lacks + has)
        raise UserError(f"{source} is of another network: it {said}; take weights of the paper's U-Net")
    for name, weight in weights.items():
        shape, theirs = tuple(expected[name].shape), tuple(weight.shape)
        if theirs != shape:
            raise UserError(f"{source} is of another network: {shown(name)} is {theirs}, where {shape} is needed")
        if not weight.is_floating_point():
            raise UserError(f"{source}: {shown(name)} holds {weight.dtype}, which are no weights; take another file")


def _part(weight: Tensor, part: int | None) -> Tensor:
    return weight if part is None else weight.chunk(3)[part]


def _some(names: Sequence[str]) -> str:
    return shown(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
