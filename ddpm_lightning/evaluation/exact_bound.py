"""Bits/dim of a split over every t and every image, as evaluate.py asks for it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from ddpm_lightning.diffusion.likelihood import Measured, every_term, prior_term
from ddpm_lightning.errors import check_boolean
from ddpm_lightning.evaluation.bound_plot import draw_bound
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
from ddpm_lightning.runtime.results import MeanAndError, add_up
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import counted
from ddpm_lightning.typing import PerExample

PIXEL_SCALE = 127.5
"""From the model's [−1, 1] to 0..255."""


@dataclass
class BoundByStep:
    """Sums over images of each term of Eq. 5 in bits/dim and of the squared error of x̂_0; row t−1 belongs to t."""

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
        """Counts in one term of a batch of images."""
        self.terms[t - 1] += measured.term.double().sum()
        self.squared_errors[t - 1] += measured.squared_error.double().sum()

    def add_images(self, prior: PerExample, total: PerExample) -> None:
        """Counts in a batch of images, all of whose terms were added."""
        self.prior.update(prior.cpu())
        self.total.update(total.cpu())

    def reduce(self, fabric: Fabric) -> None:
        """Replaces the sums of this process by those of all processes."""
        self.terms, self.squared_errors = add_up(fabric, self.terms), add_up(fabric, self.squared_errors)
        self.prior.reduce(fabric)
        self.total.reduce(fabric)

    def arrays(self) -> dict[str, np.ndarray]:
        """By t = 1..T: the mean term (t = 1: L_0), the rate when x_t is known, L_T + Σ_{s>t} L_{s−1}, and the RMSE of
        x̂_0 at x_t on the scale 0–255 (the root of the mean over images)."""
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
class ExactBound:
    """Eq. 5 over every t and every image of a split, each at one draw of x_t that belongs to (seed, image, t).

    clip_x_0: x̂_0 brought into [−1, 1], as in the paper's evaluation. num_images: the first so many of the split, where
    all would take too long; the result's name says so.
    """

    split: str = "test"
    clip_x_0: bool = True
    num_images: int | None = None

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model or no such split."""
        check_split(self.split)
        check_boolean("clip_x_0", self.clip_x_0, "the paper's evaluation clips: true")
        check_first("metrics.bpd.num_images", self.num_images, subject.require_model("bpd"), self.split)

    def look(self, subject: Subject) -> None:
        """There is nothing more to see."""

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Bits/dim, rate, distortion and RMSE by name; writes the terms as .npz and .png. Processes share images."""
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
        """The names of its numbers in results.json."""
        label = self.label(subject.require_model("bpd"))
        return [f"{self.split}/{key}_{label}" for key in ("bpd", "prior", "rate", "distortion", "rmse")]

    def label(self, trained: Trained) -> str:
        """What the names of its numbers end in."""
        return bound_label(trained, self.clip_x_0) + first_label(self.num_images)

    def by_step(self, subject: Subject) -> BoundByStep:
        """Every term, of the images of all processes together."""
        bound = self._sum_up(subject, subject.require_model("bpd"))
        bound.reduce(subject.fabric)
        return bound

    def _sum_up(self, subject: Subject, trained: Trained) -> BoundByStep:
        model = trained.model
        T = model.process.T
        bound = BoundByStep(T, subject.fabric.device)
        with measuring(subject, trained, self.split, calls_per_image=T, first=self.num_images) as bar:
            for x_0, indices in share_of_split(subject, trained, self.split, first=self.num_images):
                noise = NoisePerImage(subject.seed, indices.tolist(), x_0.device, "bound")
                prior = prior_term(model, x_0)
                total = prior.double()
                terms = every_term(model, x_0, randn_like=noise.randn_like, clip_x_0=self.clip_x_0)
                for t, measured in zip(range(T, 0, -1), counted(terms, bar, len(x_0)), strict=True):
                    bound.add(t, measured)
                    total = total + measured.term
                bound.add_images(prior, total)
        return bound


def summary(bound: BoundByStep, arrays: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The numbers of the paper's Table 1 and Section 4.3: the bound, its rate and its distortion."""
    return {
        "bpd": {**bound.total.stated(), "unit": "bits/dim"},
        "prior": {"value": bound.prior.mean, "unit": "bits/dim", "term": "L_T"},
        "rate": {"value": float(arrays["rate"][0]), "unit": "bits/dim", "term": "L_T + Σ_{t>1} L_{t−1}"},
        "distortion": {"value": float(arrays["term"][0]), "unit": "bits/dim", "term": "L_0"},
        "rmse": {"value": float(arrays["rmse"][0]), "unit": "of 0–255", "term": "x̂_0 at t = 1"},
    }


def write_bound(path: Path, arrays: dict[str, np.ndarray], label: str) -> None:
    """Writes PATH.npz and PATH.png."""
    np.savez(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
    draw_bound(arrays, path.with_suffix(".png"), label)
