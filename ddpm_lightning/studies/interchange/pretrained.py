"""Weights by our names, with the model that they belong to."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ddpm_lightning.configuration.allowed_targets import find_known
from ddpm_lightning.configuration.build import ImageData, conditioning_of, make_node, network_shape
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.carry import Weights

Node = dict[str, Any]
"""A node of a configuration that builds an object: a `_target_` and its arguments."""


@dataclass(frozen=True)
class Pretrained:
    """Weights of a network, and the model that they belong to.

    Args:
        parts: The nodes schedule, parameterization, variance, network and data, and conditioning if there is any.
        raw: The network's weights by our names. None if they are unknown.
        averaged: Their average over training, likewise.
        step: Number of training steps; 0 if it is unknown.
        facts: What else is known, for the model card.

    Raises:
        UserError: The parts do not make a model.
    """

    parts: Mapping[str, Node]
    raw: Weights | None
    averaged: Weights | None
    step: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        GaussianDiffusion(self.build("schedule", Schedule))
        self.build("parameterization", Parameterization)

    def build(self, part: str, kind: Any) -> Any:
        """Builds the node of a part. kind: the class that the result must have."""
        return make_node(self.parts, part, kind)

    def weights(self, use_ema: bool) -> Weights:
        """Returns the averaged weights if `use_ema`, else the raw ones. Raises UserError if there are none of them."""
        found = self.averaged if use_ema else self.raw
        if found is None:
            raise UserError(
                f"there are no {'averaged' if use_ema else 'raw'} weights; take the others with "
                f"target.use_ema={str(not use_ema).lower()}"
            )
        return found


def node(made: type, **arguments: Any) -> Node:
    """Returns the node that builds a class with these arguments."""
    return {"_target_": f"{made.__module__}.{made.__qualname__}", **arguments}


def arguments_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a node, with the defaults of its class."""
    taken = inspect.signature(find_known(part["_target_"])).parameters
    defaults = {name: each.default for name, each in taken.items() if each.default is not inspect.Parameter.empty}
    return {**defaults, **{name: value for name, value in part.items() if not name.startswith("_")}}


def unet_of(parts: Mapping[str, Node]) -> UNet:
    """Builds the U-Net of these parts on the meta device. Raises UserError if the network is not a U-Net of ours."""
    variance, data = make_node(parts, "variance", Variance), make_node(parts, "data", ImageData)
    shape = network_shape(variance, data, conditioning_of(parts))
    with torch.device("meta"):
        network = make_node(parts, "network", UNet, **shape)
    assert isinstance(network, UNet)
    return network
