"""Measures the bound of a split in bits/dim, over every t and every image."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from ddpm_lightning.diffusion.likelihood import Measured, every_term, prior_term
from ddpm_lightning.errors import check_boolean
from ddpm_lightning.evaluation.bound_plot import draw_bound
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.split_share import (
    bound_label,
    bound_origin,
    check_first,
    check_split,
    first_label,
    measuring,
    share_of_split,
)
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.runtime.results import MeanAndError, Records, add_up
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import with_progress
from ddpm_lightning.typing import PerExample

PIXEL_SCALE = 127.5
"""Factor from the model's scale [−1, 1] to that of pixels, 0..255."""


@dataclass
class BoundByStep:
    """Sums, over images, the terms of the bound (Eq. 5) in bits/dim and the squared error of x̂_0 at each t.

    Args:
        T: number of diffusion steps.
        device: device of the sums.

    Attributes:
        terms: sum of the term of t = 1..T, [T]; row t − 1 belongs to t.
        squared_errors: sum of the squared error of x̂_0 at x_t, [T].
        prior: L_T of each image.
        total: the bound of each image.
    """

    T: int
    device: torch.device
    terms: Tensor = field(init=False)
    squared_errors: Tensor = field(init=False)
    prior: MeanAndError = field(default_factory=MeanAndError)
    total: MeanAndError = field(default_factory=MeanAndError)

    def __post_init__(self) -> None:
        self.terms = torch.zeros(self.T, dtype=torch.float64, device=self.device)
        self.squared_errors = torch.zeros_like(self.terms)

    def add(self, t: int, measured: Measured) -> None:
        """Adds the terms of a batch of images at one t."""
        self.terms[t - 1] += measured.term.double().sum()
        self.squared_errors[t - 1] += measured.squared_error.double().sum()

    def add_images(self, prior: PerExample, total: PerExample) -> None:
        """Adds a batch of images whose terms have all been added: L_T and the bound of each, [b]."""
        self.prior.update(prior.cpu())
        self.total.update(total.cpu())

    def reduce(self, fabric: Fabric) -> None:
        """Replaces the sums of this process by those of all processes."""
        self.terms, self.squared_errors = add_up(fabric, self.terms), add_up(fabric, self.squared_errors)
        self.prior.reduce(fabric)
        self.total.reduce(fabric)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the means over images, by t = 1..T.

        Returns:
            "t"; "term", L_{t−1}; "rate", L_T + Σ_{s>t} L_{s−1}, the bits that are known at x_t; "rmse", the root of the
            mean squared error of x̂_0 at x_t, on the scale 0–255; and the scalars "prior", L_T, and "bound".
        """
        term = (self.terms / self.total.count).numpy()
        after = np.cumsum(term[::-1])[::-1] - term
        rmse = PIXEL_SCALE * np.sqrt((self.squared_errors / self.total.count).numpy())
        return {
            "t": np.arange(1, self.T + 1),
            "term": term,
            "rate": self.prior.mean + after,
            "rmse": rmse,
            "prior": np.array(self.prior.mean),
            "bound": np.array(self.total.mean),
        }


@dataclass
class ExactBound(Metric):
    """The bound (Eq. 5) in bits/dim over every t and every image of a split, with one draw of x_t for each.

    The draws depend only on (seed, image, t).

    Args:
        split: "train" or "test".
        clip_x_0: whether x̂_0 is clipped to [−1, 1], as in the paper's evaluation.
        num_images: number of images, the first of the split, and part of the results' names; None for all.
    """

    split: str = "test"
    clip_x_0: bool = True
    num_images: int | None = None

    generates = False

    def check(self, subject: Subject) -> None:
        """Raises UserError if there is no model or no such split, or if the split has fewer than num_images images."""
        check_split(self.split)
        check_boolean("clip_x_0", self.clip_x_0, "the paper's evaluation clips: true")
        check_first("metrics.bpd.num_images", self.num_images, subject.require_model("bpd"), self.split)

    def measure(self, subject: Subject) -> Records:
        """Returns bits/dim, L_T, rate, distortion and RMSE. Writes the terms at every t as .npz and .png."""
        trained = subject.require_model("bpd")
        bound = self.by_step(subject)
        if not subject.fabric.is_global_zero:
            return {}
        arrays = bound.arrays()
        label = self.label(trained)
        write_bound(subject.run_dir / f"bound_{self.split}_{label}", arrays, label)
        origin = {
            "estimator": "every t of every image; one draw of x_t each, so another seed gives other last digits",
            **bound_origin(trained, self.split, self.clip_x_0, bound.total.count),
        }
        return {f"{self.split}/{key}_{label}": {**value, **origin} for key, value in summary(bound, arrays).items()}

    def result_names(self, subject: Subject) -> list[str]:
        """Returns the names of the results in results.json."""
        label = self.label(subject.require_model("bpd"))
        return [f"{self.split}/{key}_{label}" for key in ("bpd", "prior", "rate", "distortion", "rmse")]

    def label(self, trained: Trained) -> str:
        """Returns the suffix of this metric's names in results.json."""
        return bound_label(trained, self.clip_x_0) + first_label(self.num_images)

    def by_step(self, subject: Subject) -> BoundByStep:
        """Returns the sums over the images of all processes, at every t."""
        bound = self._sum_up(subject, subject.require_model("bpd"))
        bound.reduce(subject.fabric)
        return bound

    def _sum_up(self, subject: Subject, trained: Trained) -> BoundByStep:
        model = trained.model
        T = model.process.T
        bound = BoundByStep(T, subject.fabric.device)
        with measuring(subject, trained, self.split, calls_per_image=T, first=self.num_images) as bar:
            for batch in share_of_split(subject, trained, self.split, first=self.num_images):
                x_0 = batch.x_0
                noise = NoisePerImage(subject.seed, batch.indices.tolist(), x_0.device, "bound")
                prior = prior_term(model, x_0)
                total = prior.double()
                terms = every_term(model.given(batch.y), x_0, randn_like=noise.randn_like, clip_x_0=self.clip_x_0)
                for t, measured in zip(range(T, 0, -1), with_progress(terms, bar, len(x_0)), strict=True):
                    bound.add(t, measured)
                    total = total + measured.term
                bound.add_images(prior, total)
        return bound


def summary(bound: BoundByStep, arrays: dict[str, np.ndarray]) -> Records:
    """Returns the numbers of the paper's Table 1 and Section 4.3: the bound, L_T, rate, distortion and RMSE."""
    return {
        "bpd": {**bound.total.stated(), "unit": "bits/dim"},
        "prior": {"value": bound.prior.mean, "unit": "bits/dim", "term": "L_T"},
        "rate": {"value": float(arrays["rate"][0]), "unit": "bits/dim", "term": "L_T + Σ_{t>1} L_{t−1}"},
        "distortion": {"value": float(arrays["term"][0]), "unit": "bits/dim", "term": "L_0"},
        "rmse": {"value": float(arrays["rmse"][0]), "unit": "of 0–255", "term": "x̂_0 at t = 1"},
    }


def write_bound(path: Path, arrays: dict[str, np.ndarray], label: str) -> None:
    """Writes the arrays of `BoundByStep.arrays` as PATH.npz, and their plot as PATH.png."""
    np.savez(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
    draw_bound(arrays, path.with_suffix(".png"), label)
