"""Estimates the bound of a split from a few draws of t per image, where the exact sum would take too long."""

import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ddpm_lightning.diffusion.likelihood import as_proposal, grid, pilot
from ddpm_lightning.errors import check_boolean, check_whole
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.split_share import bound_label, bound_origin, check_split, measuring, share_of_split
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.runtime.results import MeanAndError, Records
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import estimate_batch, evaluating
from ddpm_lightning.typing import Table


@dataclass
class EstimatedBound(Metric):
    """Estimates the bound (Eq. 5) in bits/dim over every image of a split, by importance sampling of t.

    t is drawn from p(t) ∝ √E[L²_{t−1}], which a pilot on a few images measures first. The draws depend only on
    (seed, image), so the estimate is the same at any batch size and for any number of processes.

    Args:
        split: "train" or "test".
        clip_x_0: whether x̂_0 is clipped to [−1, 1], as in the paper's evaluation.
        strata: draws of t per image, one from each of as many strata of p(t); at least 2.
        pilot_images: number of images in the pilot, at least 1.
        pilot_steps: about how many of the T steps the pilot evaluates, at least 2.
    """

    split: str = "test"
    clip_x_0: bool = True
    strata: int = 24
    pilot_images: int = 16
    pilot_steps: int = 64

    generates = False

    def check(self, subject: Subject) -> None:
        """Raises UserError if there is no model or no such split, or if a number is out of bounds."""
        check_split(self.split)
        check_boolean("clip_x_0", self.clip_x_0, "the paper's evaluation clips: true")
        check_whole("metrics.bpd_estimate.strata", self.strata, 2, "its error needs two draws of t; use 24")
        check_whole("metrics.bpd_estimate.pilot_images", self.pilot_images, 1, "use 16")
        check_whole("metrics.bpd_estimate.pilot_steps", self.pilot_steps, 2, "use 64")
        subject.require_model("bpd_estimate").data.images(self.split)

    def measure(self, subject: Subject) -> Records:
        """Returns bits/dim with two errors: that of the estimate of the exact sum, and that over images."""
        trained = subject.require_model("bpd_estimate")
        proposal = self.proposal(subject, trained)
        bound, variance = MeanAndError(), MeanAndError()
        options: dict[str, Any] = {"seed": subject.seed, "purpose": "bound estimate", "clip_x_0": self.clip_x_0}
        with measuring(subject, trained, self.split, calls_per_image=self.strata) as bar:
            for batch in share_of_split(subject, trained, self.split):
                estimate = estimate_batch(trained.model, batch, proposal, self.strata, **options)
                bound.update(estimate.bound.cpu())
                variance.update(estimate.variance.cpu())
                bar.update(self.strata * len(batch.x_0))
        for mean in (bound, variance):
            mean.reduce(subject.fabric)
        if not subject.fabric.is_global_zero:
            return {}
        (name,) = self.result_names(subject)
        return {name: self._record(bound, variance, trained)}

    def result_names(self, subject: Subject) -> list[str]:
        """Returns the name of the result in results.json."""
        trained = subject.require_model("bpd_estimate")
        return [f"{self.split}/bpd_{bound_label(trained, self.clip_x_0)}_estimate"]

    def proposal(self, subject: Subject, trained: Trained) -> Table:
        """Returns the p(t) from which t is drawn, [T + 1], measured on some images. It is the same on all processes."""
        images = trained.data.images(self.split)
        every = max(1, len(images) // self.pilot_images)
        batches = trained.data.in_order(self.split, subject.fabric.device, world_size=every)
        enough = islice(batches, math.ceil(self.pilot_images / trained.data.eval_batch_size))
        x_0 = torch.cat([batch.x_0 for batch in enough])[: self.pilot_images]
        noise = NoisePerImage(subject.seed, range(len(x_0)), subject.fabric.device, "bound pilot")
        with torch.no_grad(), evaluating(trained.model), subject.fabric.autocast():
            weights = pilot(trained.model, x_0, self.pilot_steps, randn_like=noise.randn_like, clip_x_0=self.clip_x_0)
        return as_proposal(weights)

    def _record(self, bound: MeanAndError, variance: MeanAndError, trained: Trained) -> dict[str, Any]:
        T = trained.model.process.T
        calls = self.strata * bound.count + self.pilot_images * len(grid(T, self.pilot_steps))
        return {
            **bound.stated(),
            "estimation_error": math.sqrt(variance.mean / variance.count),
            "unit": "bits/dim",
            "estimator": f"L_T exact, one draw of t in each of {self.strata} strata, p(t) from a pilot",
            "network_calls": calls,
            "network_calls_of_the_exact_sum": T * bound.count,
            **bound_origin(trained, self.split, self.clip_x_0, bound.count),
        }
