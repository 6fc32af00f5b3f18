"""The peers by their public interfaces: diffusers, denoising-diffusion-pytorch, and plain torch as a lower limit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from torch import nn
from torch.optim import Adam

from benchmarks.device import autocast, device
from benchmarks.measure import Side
from benchmarks.sides.ours import network_of_paper, random_images
from benchmarks.sides.shape import Shape
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.errors import UserError
from tests.peers import unet_of_diffusers

DIFFUSERS, LUCIDRAINS, TORCH = "diffusers", "denoising-diffusion-pytorch", "plain torch"
LR = 2e-4


def lucidrains() -> ModuleType:
    """Imports and returns denoising-diffusion-pytorch."""
    try:
        import denoising_diffusion_pytorch
    except ImportError as error:
        raise UserError(
            "denoising-diffusion-pytorch, a peer, is not installed; pip install 'ddpm-lightning[bench]' brings it"
        ) from error
    return denoising_diffusion_pytorch


def network_of_diffusers(shape: Shape) -> UNet2DModel:
    """Returns a UNet2DModel of this shape with the settings of google/ddpm-cifar10-32."""
    channels = [shape.channels * multiple for multiple in shape.multipliers]
    levels, blocks = shape.attention_levels, shape.num_res_blocks
    return unet_of_diffusers(shape.side, channels, levels, blocks, shape.groups, shape.dropout)


def network_of_lucidrains(shape: Shape) -> nn.Module:
    """Returns its U-Net with as many levels and about as many parameters."""
    unet = lucidrains().Unet(shape.lucidrains_dim, dim_mults=shape.multipliers, dropout=shape.dropout)
    assert isinstance(unet, nn.Module)
    return unet


def diffusion_of_lucidrains(network: nn.Module, side: int, **options: Any) -> Any:
    """Its GaussianDiffusion, which holds the network; options: of the paper, where they are not its defaults."""
    return lucidrains().GaussianDiffusion(network, image_size=side, **options).to(device())


PAPERS_OPTIONS = {"objective": "pred_noise", "beta_schedule": "linear"}


@dataclass(frozen=True)
class TrainDiffusers:
    """Builds the training step of diffusers' documentation: add_noise, predict, MSE, then clipping and Adam."""

    name = DIFFUSERS

    def network(self, shape: Shape) -> nn.Module:
        return network_of_diffusers(shape)

    def __call__(self, shape: Shape, batch_size: int, precision: str) -> Side:
        network = self.network(shape).to(device()).train()
        scheduler, x_0 = DDPMScheduler(), random_images(batch_size, shape)

        def loss() -> torch.Tensor:
            eps = torch.randn_like(x_0)
            t = torch.randint(0, scheduler.config.num_train_timesteps, (batch_size,), device=x_0.device)
            eps_hat = network(scheduler.add_noise(x_0, eps, t), t, return_dict=False)[0]
            return F.mse_loss(eps_hat, eps)

        return Step(loss, Adam(network.parameters(), LR), precision)


@dataclass(frozen=True)
class TrainLucidrains:
    """Builds the step of denoising-diffusion-pytorch's Trainer, without Accelerate, EMA and data."""

    name = LUCIDRAINS

    def network(self, shape: Shape) -> nn.Module:
        return network_of_lucidrains(shape)

    def __call__(self, shape: Shape, batch_size: int, precision: str) -> Side:
        diffusion = diffusion_of_lucidrains(self.network(shape), shape.side, **PAPERS_OPTIONS).train()
        x = (random_images(batch_size, shape) + 1) / 2
        return Step(lambda: diffusion(x), Adam(diffusion.parameters(), LR), precision)


@dataclass(frozen=True)
class TrainNarrowLucidrains(TrainLucidrains):
    """Builds the step of denoising-diffusion-pytorch with its default network, which has a third of the work.

    The defaults are dim=64, dim_mults=(1, 2, 4, 8), with as many parameters as ours.
    """

    name = f"{LUCIDRAINS}, dim=64"

    def network(self, shape: Shape) -> nn.Module:
        return network_of_lucidrains(replace(shape, lucidrains_dim=64, multipliers=(1, 2, 4, 8)))


@dataclass(frozen=True)
class TrainPlain:
    """Builds the shortest training step around our network."""

    name = TORCH

    def network(self, shape: Shape) -> nn.Module:
        return network_of_paper(shape)

    def __call__(self, shape: Shape, batch_size: int, precision: str) -> Side:
        network, x_0 = self.network(shape).to(device()).train(), random_images(batch_size, shape)
        alpha_bar = (1 - LinearSchedule().betas()).cumprod(0).float().to(device())[:, None, None, None]

        def loss() -> torch.Tensor:
            eps = torch.randn_like(x_0)
            t = torch.randint(0, len(alpha_bar), (batch_size,), device=x_0.device)
            return F.mse_loss(network(alpha_bar[t].sqrt() * x_0 + (1 - alpha_bar[t]).sqrt() * eps, t), eps)

        return Step(loss, Adam(network.parameters(), LR), precision)


class Step:
    """A training step: loss, backward, clipping of the norm to 1, optimizer."""

    def __init__(self, loss: Side, optimizer: torch.optim.Optimizer, precision: str) -> None:
        self.loss, self.optimizer, self.precision = loss, optimizer, precision
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def __call__(self) -> None:
        with autocast(self.precision):
            loss = self.loss()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def sampling_of_diffusers(network: UNet2DModel, shape: Shape, batch_size: int, precision: str) -> Side:
    """Returns a function that makes one more step of DDPMPipeline's loop at every call."""
    scheduler = DDPMScheduler()
    scheduler.set_timesteps(scheduler.config.num_train_timesteps)

    def steps() -> Iterator[torch.Tensor]:
        x = torch.randn(batch_size, 3, shape.side, shape.side, device=device())
        for t in scheduler.timesteps:
            with torch.no_grad(), autocast(precision):
                x = scheduler.step(network(x, t, return_dict=False)[0], t, x, return_dict=False)[0]
            yield x

    return steps().__next__


def sampling_of_lucidrains(network: nn.Module, shape: Shape, batch_size: int, precision: str) -> Side:
    """Returns a function that makes one more step of GaussianDiffusion.p_sample_loop at every call."""
    diffusion = diffusion_of_lucidrains(network, shape.side, **PAPERS_OPTIONS).eval()

    def steps() -> Iterator[torch.Tensor]:
        x = torch.randn(batch_size, 3, shape.side, shape.side, device=device())
        for t in reversed(range(diffusion.num_timesteps)):
            with autocast(precision):
                x, _ = diffusion.p_sample(x, t)
            yield x

    return steps().__next__
