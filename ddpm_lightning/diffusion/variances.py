"""The reverse process's variance: σ_t² fixed (Section 3.2 of the paper) or Σ_θ learned (Table 2)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.typing import Broadcast, Images, Timesteps


class Variance(ABC):
    """log σ_t² of p_θ(x_{t−1} | x_t).

    name: stands in the names of metrics, since bits/dim of different variances do not compare.
    learned: whether the network says v, with as many channels again as the image.
    rescales: whether the answer fits any process that it is asked about, so that a chain can be made coarser.
    """

    name: ClassVar[str]
    learned: ClassVar[bool] = False
    rescales: ClassVar[bool] = True

    @abstractmethod
    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        """log σ_t², broadcastable over x_t. v: the network's second half, [b, *d]; None where nothing is learned."""

    def extra_channels(self, channels: int) -> int:
        """How many output channels the network needs besides those of the image."""
        return channels if self.learned else 0


@dataclass(frozen=True)
class BetaVariance(Variance):
    """σ_t² = β_t, optimal for x_0 ~ N(0, I)."""

    name = "beta"

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        return at(process.log_beta, t, x_t)


@dataclass(frozen=True)
class BetaTildeVariance(Variance):
    """σ_t² = β̃_t, optimal for x_0 set to one point."""

    name = "beta_tilde"

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        return at(process.log_beta_tilde, t, x_t)


@dataclass(frozen=True)
class LearnedVariance(Variance):
    """log σ_t² = v, the raw output, as in the paper's Table 2."""

    name = "learned"
    learned = True
    rescales = False

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        assert v is not None
        return v


class VarianceInterpolation(ABC):
    """A way from the lower bound β̃_t to the upper bound β_t; both arrive, and it answers, as logarithms."""

    @abstractmethod
    def __call__(self, log_lower: Broadcast, log_upper: Broadcast, v: Images) -> Images:
        """log σ_t² for the network's v."""


@dataclass(frozen=True)
class LogSpace(VarianceInterpolation):
    """log σ² = u log β + (1 − u) log β̃, u = (v + 1)/2 (Nichol & Dhariwal, 2021, Eq. 15, and their code)."""

    def __call__(self, log_lower: Broadcast, log_upper: Broadcast, v: Images) -> Images:
        u = (v + 1) / 2
        return u * log_upper + (1 - u) * log_lower


@dataclass(frozen=True)
class Sigmoid(VarianceInterpolation):
    """σ² = β̃ + sigmoid(v)(β − β̃), which never leaves the two bounds."""

    def __call__(self, log_lower: Broadcast, log_upper: Broadcast, v: Images) -> Images:
        return torch.logaddexp(
            torch.nn.functional.logsigmoid(v) + log_upper,
            torch.nn.functional.logsigmoid(-v) + log_lower,
        )


@dataclass(frozen=True)
class LearnedRangeVariance(Variance):
    """σ_t² between β̃_t and β_t, where the best choice lies (Section 3.2), at a place that the network says.

    At t = 1, β̃_2 stands in for β̃_1 = 0, and β_1 stays the upper bound.
    """

    interpolation: VarianceInterpolation = field(default_factory=LogSpace)

    name = "learned_range"
    learned = True

    def log_variance(self, process: GaussianDiffusion, t: Timesteps, x_t: Images, v: Images | None) -> Broadcast:
        assert v is not None
        return self.interpolation(at(process.log_beta_tilde, t, x_t), at(process.beta.log(), t, x_t), v)


@dataclass(frozen=True)
class LearnedSigmoidVariance(LearnedRangeVariance):
    """The same, which never leaves the two bounds."""

    interpolation: VarianceInterpolation = field(default_factory=Sigmoid)

    name = "learned_sigmoid"
