"""Our side, built as train.py builds it."""

from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch import nn

from benchmarks.device import autocast, device
from benchmarks.measure import Side
from benchmarks.places import ROOT
from benchmarks.sides.shape import Shape
from ddpm_lightning.configuration.build import build_model, compile_network, make
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.training.building import make_module
from ddpm_lightning.training.generate import walk
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.trainer import make_trainer
from ddpm_lightning.typing import Examples

NAME = "ddpm_lightning"
SAME_MODEL = ["experiment=cifar10", "data=fake", "quality=none", "logger=csv"]
"""The options of the paper's recipe on random pixels of its shape."""


def configured(*overrides: str) -> dict[str, Any]:
    """Returns the configuration of `python train.py OVERRIDES`."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return plain(compose("train", overrides=["run_dir=unused", *overrides]))


def module_of(config: dict[str, Any]) -> DDPM:
    """Returns the LightningModule on the device, with a trainer that never fits."""
    module = make_module(config, build_model(config, make(config["data"]))).to(device())
    compile_network(module.model, config["compile"])
    module.trainer = idle_trainer()
    return module


def idle_trainer() -> L.Trainer:
    """Returns a trainer of one process that never fits."""
    return make_trainer(run_dir="unused", max_steps=1, logger=False, enable_progress_bar=False)


def module_of_shape(shape: Shape, *overrides: str) -> DDPM:
    """Returns the module of the paper's recipe with a network of this shape and these options."""
    return module_of(configured(*SAME_MODEL, *shape.overrides, *overrides))


def random_images(batch_size: int, shape: Shape) -> torch.Tensor:
    """Returns random images in [−1, 1]."""
    return torch.rand(batch_size, 3, shape.side, shape.side, device=device()) * 2 - 1


def network_of_paper(shape: Shape) -> UNet:
    """Returns our network of this shape, without a LightningModule."""
    return UNet(
        3,
        3,
        (shape.side, shape.side),
        channels=shape.channels,
        multipliers=shape.multipliers,
        num_res_blocks=shape.num_res_blocks,
        attention=shape.attention,
        dropout=shape.dropout,
        groups=shape.groups,
    )


class BareLoop:
    """A plain loop around DDPM's own step: Algorithm 1, backward, clipping, Adam. No Lightning, no callbacks."""

    def __init__(self, module: DDPM, x_0: torch.Tensor, precision: str) -> None:
        self.module, self.precision, self.step = module.train(), precision, 0
        self.batch = Examples(x_0, torch.arange(len(x_0)))
        self.optimizer = module.configure_optimizers()["optimizer"]  # type: ignore[index, call-overload]

    def __call__(self) -> None:
        self.module.on_train_batch_start(self.batch, self.step)
        with autocast(self.precision):
            loss = self.module.training_step(self.batch, self.step)["loss"]
        loss.backward()
        self.module.clip_gradient(self.optimizer)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1


@dataclass(frozen=True)
class TrainOurs:
    """Builds our training step. overrides: further options of train.py."""

    name: str = NAME
    overrides: tuple[str, ...] = ()

    def network(self, shape: Shape) -> nn.Module:
        return network_of_paper(shape)

    def __call__(self, shape: Shape, batch_size: int, precision: str) -> Side:
        return BareLoop(module_of_shape(shape, *self.overrides), random_images(batch_size, shape), precision)


OURS = TrainOurs()


def sampling_step(model: DenoisingDiffusion, shape: Shape, batch_size: int, precision: str) -> Side:
    """Returns a function that makes one more step of Algorithm 2 at every call, with the noise of sample.py."""
    image = (3, shape.side, shape.side)
    steps = chain.from_iterable(walk(model, AncestralSampler(), image, batch_size, seed=seed) for seed in count())

    def step() -> None:
        with autocast(precision):
            next(steps)

    return step
