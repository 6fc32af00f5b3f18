"""The numbers that are read off features: Fréchet distance, classifier score, kernel distance, precision and recall.

The computation is torch-fidelity's, so that it equals that tool's own command line.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.reference import Reference, frechet_distance, statistics_of
from ddpm_lightning.typing import FeatureVectors

SEED = 2020
"""torch-fidelity's, for shuffling and for drawing subsets."""


class Value(NamedTuple):
    """A number; its standard deviation over splits or subsets, if there are any; what is wrong with it, if so."""

    value: float
    standard_deviation: float | None = None
    warning: str | None = None

    def stated(self) -> dict[str, float | str]:
        """What there is of it, as results.json has it."""
        return {key: part for key, part in self._asdict().items() if part is not None}


class Score(ABC):
    """Reads one number or more off the features of generated images.

    compares: whether it needs real ones.
    """

    compares = True

    @abstractmethod
    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        """The numbers, in the order in which they are named."""

    def check(self, n: int, num_features: int, which: str) -> None:
        """Raises UserError where n images, which are "generated" or "real", are too few."""

    def check_reference(self, real: Reference, num_features: int) -> None:
        """Raises UserError where what is known of the real images is not enough."""
        if real.count is not None:
            self.check(real.count, num_features, "real")

    @property
    def suffix(self) -> str:
        """What a result's name adds for settings that are not the usual ones."""
        return "".join(f"_{name}{value}" for name, value in vars(self).items() if value != getattr(type(self), name))


class FrechetDistance(Score):
    """FID (Heusel et al., 2017) where the features are Inception's. Smaller is better."""

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        value = frechet_distance(statistics_of(generated.features), real.statistics)
        return [Value(value, warning=suspicion(value, real.floor(len(generated.features))))]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n <= num_features:
            raise UserError(
                f"{n} {which} images do not exceed the extractor's {num_features} features, so their covariance would "
                f"be singular and the Fréchet distance mean nothing; {num_features + 1} are the least (paper: 50000)"
            )


def suspicion(distance: float, floor: float | None) -> str | None:
    """What is wrong with a Fréchet distance, if anything is."""
    if not math.isfinite(distance):
        return "not finite: the features overflow or are not numbers"
    if floor is not None and distance < floor / 2:
        return f"below half of the {floor:.4g} of as many fresh real images: are they copies of the reference?"
    return None


@dataclass(frozen=True)
class ClassifierScore(Score):
    """IS (Salimans et al., 2016) where the classifier is Inception: exp E KL(p(y|x) ‖ p(y)). Larger is better."""

    splits: int = 10
    compares = False

    def __post_init__(self) -> None:
        check_whole("splits", self.splits, 1, "the usual number is 10")

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        return [Value(*isc_features_to_metric(generated.logits, self.splits, rng_seed=SEED).values())]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n < self.splits:
            raise UserError(f"{n} {which} images cannot be cut into {self.splits} splits; ask for more")


@dataclass(frozen=True)
class KernelDistance(Score):
    """KID (Bińkowski et al., 2018) where the features are Inception's: unbiased, so it can be just below 0."""

    subsets: int = 100
    subset_size: int = 1000

    def __post_init__(self) -> None:
        check_whole("subsets", self.subsets, 1, "the usual number is 100")
        check_whole("subset_size", self.subset_size, 2, "the usual number is 1000")

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        options = {"kid_subsets": self.subsets, "kid_subset_size": self.subset_size, "rng_seed": SEED}
        features = _needed(real, "kid")
        said = kid_features_to_metric(generated.features, features, verbose=False, **options)
        return [Value(*said.values())]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n < self.subset_size:
            raise UserError(
                f"{n} {which} images are fewer than kid's subset_size={self.subset_size}; ask for more, or for smaller "
                "subsets with metrics.kid.score.subset_size="
            )

    def check_reference(self, real: Reference, num_features: int) -> None:
        _needed(real, "kid")
        super().check_reference(real, num_features)


@dataclass(frozen=True)
class PrecisionRecall(Score):
    """The share of generated images that lie among the real, and of real ones that lie among the generated
    (Kynkäänniemi et al., 2019): within reach of the k-th nearest neighbour."""

    k: int = 3

    def __post_init__(self) -> None:
        check_whole("k", self.k, 1, "the usual number is 3")

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        features = _needed(real, "prc")
        options = {"prc_neighborhood": self.k, "save_cpu_ram": True, "verbose": False}
        said = prc_features_to_metric(generated.features, features, **options)
        return [Value(said["precision"]), Value(said["recall"])]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n <= self.k:
            raise UserError(f"{n} {which} images have no {self.k} nearest neighbours each; ask for more")

    def check_reference(self, real: Reference, num_features: int) -> None:
        _needed(real, "prc")
        super().check_reference(real, num_features)


def _needed(real: Reference, metric: str) -> FeatureVectors:
    if real.features is None:
        raise UserError(
            f"the reference file holds only mean and covariance, and {metric} needs the features of every real image; "
            "give a file with `features`, a folder of images, or leave reference= out"
        )
    return real.features
