"""What generated images are compared with: the features of real ones, or only their mean and covariance."""

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
"""torch-fidelity's: mu, [d] float32, and sigma, [d, d] float64."""


@dataclass(frozen=True)
class Reference:
    """Real images, as an extractor sees them.

    features: [m, d], or None where only `given`, their mean and covariance, is known.
    """

    features: FeatureVectors | None = None
    given: Statistics | None = None

    @property
    def count(self) -> int | None:
        """How many real images there are, where that is known."""
        return None if self.features is None else len(self.features)

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and covariance of the features."""
        if self.given is not None:
            return self.given
        assert self.features is not None
        return statistics_of(self.features)

    @cached_property
    def halves(self) -> float | None:
        """The Fréchet distance between two halves of the real images: nothing that one measures is finer."""
        if self.features is None or len(self.features) // 2 <= self.features.shape[1]:
            return None  # singular covariances would tell nothing
        shuffled = self.features[torch.randperm(len(self.features), generator=torch.Generator().manual_seed(0))]
        first, second = shuffled.chunk(2)
        return frechet_distance(statistics_of(first), statistics_of(second))

    def floor(self, n: int) -> float | None:
        """The Fréchet distance that n fresh real images would score, about: its bias goes as 1/n + 1/m."""
        if self.halves is None or self.features is None:
            return None
        m = len(self.features)
        return self.halves * (1 / n + 1 / m) / (4 / m)


def statistics_of(features: FeatureVectors) -> Statistics:
    """Mean and covariance."""
    return dict(fid_features_to_statistics(features))


def frechet_distance(one: Statistics, other: Statistics) -> float:
    """‖μ_1 − μ_2‖² + tr(Σ_1 + Σ_2 − 2(Σ_1 Σ_2)^½) (Heusel et al., 2017)."""
    return float(fid_statistics_to_metric(one, other, verbose=False)["frechet_inception_distance"])


def save_reference(path: Path, extracted: Extracted) -> None:
    """Keeps features and their statistics as an .npz, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, shared=True) as file:
        np.savez(file, features=extracted.features.numpy(), **statistics_of(extracted.features))


def load_reference(path: Path, num_features: int, advice: str = "give another reference=") -> Reference:
    """Reads an .npz with `features`, or with `mu` and `sigma` as others write them. Raises UserError on any other."""
    arrays = read_npz(path, ("features", "mu", "sigma"), advice)
    d = num_features
    shapes = {key: array.shape for key, array in arrays.items()}
    if any(array.dtype.kind not in "fiu" or not np.isfinite(array).all() for array in arrays.values()):
        raise UserError(f"{path} holds values that are no numbers; {advice}")
    if "features" in arrays and len(shapes["features"]) == 2 and shapes["features"][1] == d:
        return Reference(torch.from_numpy(arrays["features"].astype(np.float32)))
    if "features" in arrays or shapes != {"mu": (d,), "sigma": (d, d)}:
        raise UserError(
            f"{path} holds {shapes}, and the extractor needs features of [images, {d}], or mu of [{d}] and sigma of "
            f"[{d}, {d}]: it is of another extractor; {advice}"
        )
    return Reference(given={"mu": arrays["mu"].astype(np.float32), "sigma": arrays["sigma"].astype(np.float64)})
