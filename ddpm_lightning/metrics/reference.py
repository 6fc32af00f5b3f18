"""The real images that generated ones are compared with: their features, or only mean and covariance."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.npz import read_npz
from ddpm_lightning.typing import FeatureVectors

Statistics = dict[str, Any]
"""Mean and covariance as torch-fidelity keeps them: mu, [d] float32, and sigma, [d, d] float64."""


@dataclass(frozen=True)
class Reference:
    """The features of real images, or their mean and covariance.

    Args:
        features: [m, d]; None if only mean and covariance are known.
        given: mean and covariance, if there are no features.
    """

    features: FeatureVectors | None = None
    given: Statistics | None = None

    @property
    def count(self) -> int | None:
        """The number m of real images; None if unknown."""
        return None if self.features is None else len(self.features)

    @cached_property
    def statistics(self) -> Statistics:
        """The mean and covariance of the features."""
        if self.given is not None:
            return self.given
        assert self.features is not None
        return statistics_of(self.features)

    @cached_property
    def halves(self) -> float | None:
        """The Fréchet distance between two random halves of the real images; None if they are too few."""
        if self.features is None or len(self.features) // 2 <= self.features.shape[1]:
            return None  # The covariances would be singular.
        shuffled = self.features[torch.randperm(len(self.features), generator=torch.Generator().manual_seed(0))]
        first, second = shuffled.chunk(2)
        return frechet_distance(statistics_of(first), statistics_of(second))

    def floor(self, n: int) -> float | None:
        """Estimates the Fréchet distance that n further real images would have: its bias is ∝ 1/n + 1/m.

        Returns None if there are too few real images for an estimate.
        """
        if self.halves is None or self.features is None:
            return None
        m = len(self.features)
        return self.halves * (1 / n + 1 / m) / (4 / m)


def statistics_of(features: FeatureVectors) -> Statistics:
    """Returns the mean and covariance of features, [n, d]."""
    return dict(fid_features_to_statistics(features))


def frechet_distance(one: Statistics, other: Statistics) -> float:
    """Returns the Fréchet distance of two Gaussians.

        ‖μ_1 − μ_2‖² + tr(Σ_1 + Σ_2 − 2(Σ_1 Σ_2)^½)

    References:
        Heusel et al. (2017), "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium".
    """
    return float(fid_statistics_to_metric(one, other, verbose=False)["frechet_inception_distance"])


def save_reference(path: Path, extracted: Extracted) -> None:
    """Writes features and their statistics as an .npz file, which appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, shared=True) as file:
        np.savez(file, features=extracted.features.numpy(), **statistics_of(extracted.features))


def load_reference(path: Path, num_features: int, advice: str = "give another reference=") -> Reference:
    """Reads a reference from an .npz file.

    Args:
        path: a file with `features`, [m, d], or with `mu`, [d], and `sigma`, [d, d], as other tools write them.
        num_features: the extractor's d.
        advice: what the user can do about a bad file, for the message.

    Raises:
        UserError: the file holds neither, or the features of another extractor.
    """
    arrays = read_npz(path, ("features", "mu", "sigma"), advice)
    d = num_features
    shapes = {key: array.shape for key, array in arrays.items()}
    if any(array.dtype.kind not in "fiu" or not np.isfinite(array).all() for array in arrays.values()):
        raise UserError(f"{path} holds values that are not finite numbers; {advice}")
    if "features" in arrays and len(shapes["features"]) == 2 and shapes["features"][1] == d:
        return Reference(torch.from_numpy(arrays["features"].astype(np.float32)))
    if "features" in arrays or shapes != {"mu": (d,), "sigma": (d, d)}:
        raise UserError(
            f"{path} holds {shapes}, and the extractor needs features of [images, {d}], or mu of [{d}] and sigma of "
            f"[{d}, {d}]: it is of another extractor; {advice}"
        )
    return Reference(given={"mu": arrays["mu"].astype(np.float32), "sigma": arrays["sigma"].astype(np.float64)})
