"""Builds the LightningModule and the Trainer of a training run from its configuration."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch

from ddpm_lightning.configuration.build import (
    ImageData,
    build_model,
    check_compile,
    make_node,
    make_sampler,
    make_with,
)
from ddpm_lightning.diffusion.losses import Loss
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.timesteps import TimestepDistribution
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import check_whole
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.training.lr_schedules import LRSchedule
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.trainer import check_trainer


def check_choices(config: dict[str, Any]) -> None:
    """Raises UserError for an illegal combination of options, before anything large is read or built."""
    check_whole("seed", config["seed"], 0, "it numbers the run's randomness; use 0")
    check_compile(config["compile"])
    check_trainer(config)
    make_node(config, "loss", Loss).check(make_node(config, "variance", Variance))


def build_module(config: dict[str, Any], data: ImageData) -> DDPM:
    """Returns the LightningModule of a configuration, with weights that follow from its seed."""
    torch.manual_seed(config["seed"])
    return make_module(config, build_model(config, data))


def make_module(config: dict[str, Any], model: DenoisingDiffusion) -> DDPM:
    """Returns the LightningModule of a configuration around a given model."""
    kinds: dict[str, Any] = {"loss": Loss, "optimizer": Callable, "lr_schedule": LRSchedule}
    kinds["timesteps"] = TimestepDistribution
    parts = {part: make_node(config, part, kind) for part, kind in kinds.items()}
    module = make_with(config["module"], "module", model=model, sampler=make_sampler(config["sampler"], model), **parts)
    assert isinstance(module, DDPM)
    return module


def build_trainer(
    config: dict[str, Any], module: DDPM, data: ImageData, callbacks: list[L.Callback], loggers: list[Any]
) -> L.Trainer:
    """Returns the Trainer of a configuration.

    DDP waits for the gradient of every weight. If one image leaves weights of the network unused, DDP looks for them
    at each step, unless the user has set `find_unused_parameters`.
    """
    node: Any = config["trainer"]
    strategy: Any = node.get("strategy") if isinstance(node, dict) else None
    is_ddp = isinstance(strategy, dict) and str(strategy.get("_target_")).endswith("DDPStrategy")
    if is_ddp and "find_unused_parameters" not in strategy and leaves_weights_out(module.model, data):
        node = {**node, "strategy": {**strategy, "find_unused_parameters": True}}
    trainer = make_with(node, "trainer", callbacks=callbacks, logger=loggers)
    assert isinstance(trainer, L.Trainer)
    return trainer


def leaves_weights_out(model: DenoisingDiffusion, data: ImageData) -> bool:
    """Returns whether some weights get no gradient from one image."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with evaluating(model):
        output = model.network(torch.zeros(1, data.channels, *data.size), torch.zeros(1, dtype=torch.int64))
        return None in torch.autograd.grad(output.sum(), weights, allow_unused=True)
