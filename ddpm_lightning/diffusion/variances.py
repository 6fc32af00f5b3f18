"""The variance σ_t² of the reverse step p_θ(x_{t−1} | x_t): fixed (Ho et al., 2020, Section 3.2) or learned."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F

from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.typing import Broadcast, Images, Timesteps


class Variance(ABC):
    """The variance σ_t² of p_θ(x_{t−1} | x_t) = N(μ_θ(x_t, t), σ_t² I)  (Eq. 1).

    Attributes:
        name: part of the names of metrics, because bits/dim of different variances cannot be compared.
        learned: whether the network predicts it, in as many extra output channels as an image has.
        rescales: whether it fits any chain, also one that visits fewer steps than the network was trained on.

    Example:
        >>> class MeanVariance(Variance):
        ...     '''The geometric mean of β_t and β̃_t.'''
        ...
        ...     name = "mean"
        ...
        ...     def log_variance(self, process, t, x_t, v):
        ...         return (at(process.log_beta, t, x_t) + at(process.log_beta_tilde, t, x_t)) / 2
    """

    name: ClassVar[str]
    learned: ClassVar[bool] = False
    rescales: ClassVar[bool] = True

    @abstractmethod
    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        """Returns log σ_t², in a shape that broadcasts over x_t.

        Args:
            process: the forward process of the chain.
            t: [b] in 1..T.
            x_t: noisy images, [b, *d].
            v: the second half of the network's output, [b, *d]; None if the variance is not learned.
        """

    def check(self, process: GaussianDiffusion) -> None:
        """Raises UserError if the variance was made for another chain. By default, it fits every chain."""

    def extra_channels(self, channels: int) -> int:
        """Returns how many output channels the network needs besides the image's `channels`."""
        return channels if self.learned else 0


@dataclass(frozen=True)
class BetaVariance(Variance):
    """σ_t² = β_t, optimal for x_0 ~ N(0, I)  (Section 3.2). At t = 1 it is β̃_2, as in the official code."""

    name = "beta"

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        return at(process.log_beta, t, x_t)


@dataclass(frozen=True)
class BetaTildeVariance(Variance):
    """σ_t² = β̃_t, optimal if x_0 is a single point  (Section 3.2). At t = 1 it is β̃_2, because β̃_1 = 0."""

    name = "beta_tilde"

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        return at(process.log_beta_tilde, t, x_t)


@dataclass(frozen=True)
class LearnedVariance(Variance):
    """log σ_t² = v, the network's output itself: "learned diagonal Σ" in the paper's Table 2."""

    name = "learned"
    learned = True
    rescales = False

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        assert v is not None
        return v


class VarianceInterpolation(ABC):
    """A function that maps the network's v to a log σ_t² between log β̃_t and log β_t.

    Attributes:
        name: the name of a `LearnedRangeVariance` that uses it.

    Example:
        >>> class Middle(VarianceInterpolation):
        ...     name = "middle"
        ...
        ...     def __call__(self, log_lower, log_upper, v):
        ...         return (log_lower + log_upper) / 2 + 0 * v
    """

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, log_lower: Broadcast, log_upper: Broadcast, v: Images) -> Images:
        """Returns log σ_t²: [b, *d].

        Args:
            log_lower, log_upper: log β̃_t and log β_t, [b, 1, …].
            v: the network's output, [b, *d].
        """


@dataclass(frozen=True)
class LogSpace(VarianceInterpolation):
    """Interpolates logarithms linearly; v outside [−1, 1] leaves the range.

        log σ² = u log β_t + (1 − u) log β̃_t,  u = (v + 1)/2                      (Eq. 15 of the reference)

    References:
        Nichol & Dhariwal (2021), "Improved Denoising Diffusion Probabilistic Models", and their code for u.
    """

    name = "learned_range"

    def __call__(self, log_lower: Broadcast, log_upper: Broadcast, v: Images) -> Images:
        u = (v + 1) / 2
        return u * log_upper + (1 - u) * log_lower


@dataclass(frozen=True)
class Sigmoid(VarianceInterpolation):
    """Interpolates variances by a sigmoid, and never leaves the range.

    σ² = β̃_t + sigmoid(v)(β_t − β̃_t)
    """

    name = "learned_sigmoid"

    def __call__(self, log_lower: Broadcast, log_upper: Broadcast, v: Images) -> Images:
        # The formula above in log space, because both bounds are given as logarithms.
        return torch.logaddexp(F.logsigmoid(v) + log_upper, F.logsigmoid(-v) + log_lower)


@dataclass(frozen=True)
class LearnedRangeVariance(Variance):
    """A learned σ_t² between β̃_t and β_t, the bounds of the optimal variance (Section 3.2).

    At t = 1 the lower bound is β̃_2, because β̃_1 = 0.

    Args:
        interpolation: how the network's v selects a value of the range.

    References:
        Nichol & Dhariwal (2021), "Improved Denoising Diffusion Probabilistic Models", Section 3.1.
    """

    interpolation: VarianceInterpolation = field(default_factory=LogSpace)

    learned = True

    @property
    def name(self) -> str:  # type: ignore[override]  # the two interpolations are two variances in names of results
        return self.interpolation.name

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        assert v is not None
        # Not log_beta: its row 1 is log β̃_2, and here the upper bound at t = 1 is β_1.
        return self.interpolation(at(process.log_beta_tilde, t, x_t), at(process.beta.log(), t, x_t), v)
