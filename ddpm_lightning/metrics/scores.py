"""Scores of generated images: Fréchet distance, classifier score, kernel distance, precision and recall.

torch-fidelity computes them, so they equal the numbers of its command line.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from ddpm_lightning.errors import UserError, check_whole, counted
from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.reference import Reference, frechet_distance, statistics_of

SEED = 2020
"""torch-fidelity's seed for shuffling and for drawing subsets."""


class Value(NamedTuple):
    """A measured number.

    Args:
        value: the number.
        standard_deviation: over splits or subsets, if there are any.
        warning: a reason to doubt the number, if there is one.
        standard_error: over images, if it is known.
    """

    value: float
    standard_deviation: float | None = None
    warning: str | None = None
    standard_error: float | None = None

    def stated(self) -> dict[str, float | str]:
        """Returns the fields that are not None, as results.json keeps them."""
        return {key: part for key, part in self._asdict().items() if part is not None}


class Score(ABC):
    """One number or several, computed from the features of generated images.

    Attributes:
        compares: whether it needs real images.
        needs_features: whether it needs the features of each real image, not only their mean and covariance.
        names: the names of its numbers, in order; a result has the extractor's label in its name, too.

    Example:
        >>> class MeanDistance(Score):
        ...     '''How far the means of the features are apart.'''
        ...
        ...     def __call__(self, generated, real):
        ...         difference = generated.features.mean(0) - real.features.mean(0)
        ...         return [Value(float(difference.norm()))]
    """

    compares = True
    needs_features = False
    names: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        """Returns the numbers, in the order of their names.

        Args:
            generated: features and logits of generated images.
            real: the real images to compare with.
        """

    def check(self, n: int, num_features: int, which: str) -> None:
        """Raises UserError if there are too few images.

        Args:
            n: the number of images.
            num_features: the extractor's d.
            which: "generated" or "real", for the message.
        """

    def check_reference(self, real: Reference, num_features: int) -> None:
        """Raises UserError if the real images are too few, or too little is known of them. See `check`."""
        if self.needs_features and real.features is None:
            raise UserError(
                f"the reference file holds only mean and covariance, and {type(self).__name__} needs the features of "
                "every real image; give a file with `features`, a folder of images, or leave reference= out"
            )
        if real.count is not None:
            self.check(real.count, num_features, "real")

    @property
    def suffix(self) -> str:
        """The suffix of a result's name: the settings that differ from the defaults."""
        return "".join(f"_{name}{value}" for name, value in vars(self).items() if value != getattr(type(self), name))


class FrechetDistance(Score):
    """The Fréchet distance of the features; with Inception's, this is FID. Smaller is better.

    References:
        Heusel et al. (2017), "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium".
    """

    names = ("fd",)

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        value = frechet_distance(statistics_of(generated.features), real.statistics)
        return [Value(value, warning=suspicion(value, real.floor(len(generated.features))))]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n <= num_features:
            raise UserError(
                f"{counted(n, f'{which} image does', f'{which} images do')} not exceed the extractor's "
                f"{num_features} features, so their covariance would "
                f"be singular and the Fréchet distance mean nothing; {num_features + 1} are the least (paper: 50000)"
            )


def suspicion(distance: float, floor: float | None) -> str | None:
    """Returns a reason to doubt a Fréchet distance, or None.

    Args:
        distance: the Fréchet distance.
        floor: that of as many further real images, if known.
    """
    if not math.isfinite(distance):
        return "not finite: the features overflow or are not numbers"
    if floor is not None and distance < floor / 2:
        return f"below half of the {floor:.4g} of as many fresh real images: are they copies of the reference?"
    return None


@dataclass(frozen=True)
class ClassifierScore(Score):
    """exp E_x D_KL(p(y|x) ‖ p(y)) of a classifier; with Inception, this is IS. Larger is better.

    Args:
        splits: how many parts the images are cut into; the score is the mean over the parts, at least 1.

    References:
        Salimans et al. (2016), "Improved Techniques for Training GANs".
    """

    splits: int = 10
    compares = False
    names = ("score",)

    def __post_init__(self) -> None:
        check_whole("splits", self.splits, 1, "the usual number is 10")

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        return [Value(*isc_features_to_metric(generated.logits, self.splits, rng_seed=SEED).values())]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n < self.splits:
            raise UserError(
                f"{counted(n, f'{which} image')} cannot be cut into {counted(self.splits, 'split')}; ask for more"
            )


@dataclass(frozen=True)
class KernelDistance(Score):
    """The squared maximum mean discrepancy of the features; with Inception's, this is KID. Smaller is better.

    The estimate is unbiased, so it can be slightly negative.

    Args:
        subsets: how many random subsets to average over, at least 1.
        subset_size: the images in each, at least 2.

    References:
        Bińkowski et al. (2018), "Demystifying MMD GANs".
    """

    subsets: int = 100
    subset_size: int = 1000
    needs_features = True
    names = ("kd_of_subsets",)

    def __post_init__(self) -> None:
        check_whole("subsets", self.subsets, 1, "the usual number is 100")
        check_whole("subset_size", self.subset_size, 2, "the usual number is 1000")

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        options = {"kid_subsets": self.subsets, "kid_subset_size": self.subset_size, "rng_seed": SEED}
        measured = kid_features_to_metric(generated.features, real.features, verbose=False, **options)
        return [Value(*measured.values())]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n < self.subset_size:
            raise UserError(
                f"{counted(n, f'{which} image is', f'{which} images are')} fewer than kid's "
                f"subset_size={self.subset_size}; ask for more, or for smaller "
                "subsets with metrics.kid.score.subset_size="
            )


@dataclass(frozen=True)
class PrecisionRecall(Score):
    """Precision and recall: the share of generated images that lie among the real ones, and the reverse.

    An image lies among others if it is nearer to one of them than that one's k-th nearest neighbour.

    Args:
        k: which neighbour, at least 1.

    References:
        Kynkäänniemi et al. (2019), "Improved Precision and Recall Metric for Assessing Generative Models".
    """

    k: int = 3
    needs_features = True
    names: ClassVar[Sequence[str]] = ("precision", "recall")

    def __post_init__(self) -> None:
        check_whole("k", self.k, 1, "the usual number is 3")

    def __call__(self, generated: Extracted, real: Reference) -> Sequence[Value]:
        options = {"prc_neighborhood": self.k, "save_cpu_ram": True, "verbose": False}
        measured = prc_features_to_metric(generated.features, real.features, **options)
        return [Value(measured["precision"]), Value(measured["recall"])]

    def check(self, n: int, num_features: int, which: str) -> None:
        if n <= self.k:
            raise UserError(
                f"{counted(n, f'{which} image')} cannot have {counted(self.k, 'nearest neighbour')} each; ask for more"
            )
