"""Bits/dim while it trains, on averaged weights: always of the same test images, at the same t and ε."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import lightning as L
import torch

from ddpm_lightning.diffusion.likelihood import estimate_bound, harmonic
from ddpm_lightning.errors import check_whole
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.callbacks.ema import averaged, keeps_average
from ddpm_lightning.training.callbacks.when import Periodic
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.results import MeanAndError


class ValidationBound(Periodic):
    """Every so many optimizer steps and at the end, logs val/bpd_VARIANCE of the first num_images test images, shared
    by all processes.

    strata: draws of t an image. raw: also on the weights as the optimizer left them.
    """

    def __init__(
        self, num_images: int = 128, strata: int = 16, every_n_steps: int = 1000, raw: bool = False, seed: int = 0
    ) -> None:
        super().__init__("callbacks.bound", every_n_steps)
        check_whole("callbacks.bound.num_images", num_images, 1, "give a number of test images")
        check_whole("callbacks.bound.strata", strata, 2, "the bound needs some draws of t; use 16")
        self.num_images, self.strata, self.raw, self.seed = num_images, strata, raw, seed

    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        self._measure(trainer, module, averaged(trainer, module), "" if keeps_average(trainer) else "_raw")
        if self.raw and keeps_average(trainer):
            self._measure(trainer, module, nullcontext(), "_raw")

    @torch.no_grad()
    def _measure(self, trainer: L.Trainer, module: DDPM, weights: AbstractContextManager[None], suffix: str) -> None:
        model, bound = module.model, MeanAndError()
        proposal = harmonic(model.process.T)
        ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        batches = trainer.datamodule.in_order("test", module.device, first=self.num_images, **ranks)  # type: ignore[attr-defined]
        with weights, evaluating(model):
            for batch in batches:
                draws = NoisePerImage(self.seed, batch.indices.tolist(), module.device, "validation bound")
                bound.update(
                    estimate_bound(
                        model, batch.x_0, proposal, self.strata, rand=draws.rand, randn_like=draws.randn_like
                    ).bound
                )
        bound.reduce(partial(trainer.strategy.reduce, reduce_op="sum"))
        self.log_metrics(trainer, {f"val/bpd_{model.variance.name}{suffix}": bound.mean})
