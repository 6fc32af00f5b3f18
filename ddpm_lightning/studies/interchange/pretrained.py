"""What travels between projects: weights by our names, and the model that they belong to."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ddpm_lightning.configuration.allowed_targets import find_known
from ddpm_lightning.configuration.build import ImageData, make, network_shape
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.carry import Weights

Node = dict[str, Any]
"""A part of a configuration that builds something: a `_target_` and its arguments."""


@dataclass(frozen=True)
class Pretrained:
    """parts: the nodes schedule, parameterization, variance, network and data. raw, averaged: the network's weights by
    our names; one of the two may be unknown. step: how long they were trained. facts: what else is known, for the card.
    """

    parts: Mapping[str, Node]
    raw: Weights | None
    averaged: Weights | None
    step: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises UserError where the parts make no model."""
        GaussianDiffusion(self.made("schedule", Schedule))
        self.made("parameterization", Parameterization)

    def made(self, part: str, kind: Any) -> Any:
        """What a node builds."""
        return make(dict(self.parts[part]), kind)

    def weights(self, use_ema: bool) -> Weights:
        """The averaged weights, or the raw ones. Raises UserError where these are not known."""
        found = self.averaged if use_ema else self.raw
        if found is None:
            raise UserError(
                f"there are no {'averaged' if use_ema else 'raw'} weights; take the others with "
                f"target.use_ema={str(not use_ema).lower()}"
            )
        return found


def node(made: type, **arguments: Any) -> Node:
    """The node that builds a class of ours."""
    return {"_target_": f"{made.__module__}.{made.__qualname__}", **arguments}


def arguments_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """A node's arguments with the defaults of its class."""
    taken = inspect.signature(find_known(part["_target_"])).parameters
    defaults = {name: each.default for name, each in taken.items() if each.default is not inspect.Parameter.empty}
    return {**defaults, **{name: value for name, value in part.items() if not name.startswith("_")}}


def unet_of(parts: Mapping[str, Node]) -> UNet:
    """The U-Net of these parts, without memory for its weights. Raises UserError where there is another network."""
    shape = network_shape(make(dict(parts["variance"]), Variance), make(dict(parts["data"]), ImageData))
    with torch.device("meta"):
        network = make(dict(parts["network"]), UNet, **shape)
    assert isinstance(network, UNet)
    return network
