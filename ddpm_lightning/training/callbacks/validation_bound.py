"""Measures the variational bound while the model trains, always on the same test images, t and ε."""

import lightning as L
import torch

from ddpm_lightning.configuration.build import data_of
from ddpm_lightning.diffusion.likelihood import harmonic
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import check_at_most, check_whole
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.training.callbacks.periodic import PeriodicMeasurement
from ddpm_lightning.training.generate import estimate_batch, evaluating
from ddpm_lightning.training.loggers.all_loggers import log_metrics
from ddpm_lightning.training.module import DDPM


class ValidationBound(PeriodicMeasurement):
    """Logs the bound (Eq. 5) in bits/dim every `every_n_steps` optimizer steps and at the end of training.

    The bound is estimated on the first `num_images` test images, which all processes share. Its name is
    val/bpd_VARIANCE, because bounds of different variances do not compare; that of p(x | y) is
    val/bpd_VARIANCE_given_class.

    Args:
        num_images: number of test images, at least 1.
        strata: draws of t per image, each from one of as many strata; 2 to 10,000.
        every_n_steps: optimizer steps between two measurements, at least 1.
        raw: whether to measure the raw weights in addition to the averaged ones.
        seed: seed of t and ε.
    """

    def __init__(
        self, num_images: int = 128, strata: int = 16, every_n_steps: int = 1000, raw: bool = False, seed: int = 0
    ) -> None:
        super().__init__("callbacks.bound", every_n_steps, raw)
        check_whole("callbacks.bound.num_images", num_images, 1, "give a number of test images")
        check_whole("callbacks.bound.strata", strata, 2, "the bound needs some draws of t; use 16")
        check_at_most("callbacks.bound.strata", strata, 10_000, "each is a network call an image; use 16")
        self.num_images, self.strata, self.seed = num_images, strata, seed

    def on_fit_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        data_of(trainer).images("test")  # raises before training if the files are missing

    @torch.no_grad()
    def measure(self, trainer: L.Trainer, module: DDPM, suffix: str) -> None:
        model, bound = module.model, MeanAndError()
        options = {"seed": self.seed, "purpose": "validation bound"}
        ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        with evaluating(model):
            for batch in data_of(trainer).in_order("test", module.device, first=self.num_images, **ranks):
                estimate = estimate_batch(model, batch, harmonic(model.process.T), self.strata, **options)  # type: ignore[arg-type]
                bound.update(estimate.bound)
        bound.reduce(trainer)
        log_metrics(trainer, {self.result_name(model, suffix): bound.mean})

    def result_name(self, model: DenoisingDiffusion, suffix: str) -> str:
        """Returns the name of the logged bound: val/bpd_ and the model's label, followed by the suffix."""
        return f"val/bpd_{model.label}{suffix}"
