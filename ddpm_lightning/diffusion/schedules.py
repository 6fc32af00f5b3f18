"""Variance schedules: the noise β_1 … β_T that each forward step adds (Ho et al., 2020, Sections 2 and 4)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ddpm_lightning.errors import UserError, check_interval, check_positive, check_whole
from ddpm_lightning.typing import Betas, ByStep, Table


def _check_beta(name: str, value: float) -> None:
    reason = "at 0 a step adds no noise, and at 1 it erases x_0; the paper uses 1e-4 to 0.02"
    check_interval(name, value, 0, 1, reason, ends="()")


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """The variances β_1 … β_T of the noise that the T forward steps add.

        q(x_t | x_{t−1}) = N(√(1 − β_t) x_{t−1}, β_t I)                                   (Eq. 2)

    Args:
        T: the number of steps, in `fewest`..1,000,000. `fewest` is 2, because the last decoding step has the
            variance β̃_2.

    Raises:
        UserError: an argument is out of its range.

    Example:
        >>> class SquareRootSchedule(Schedule):
        ...     def betas(self):
        ...         return 0.02 * torch.linspace(0.1, 1, self.T, dtype=torch.float64).sqrt()
        >>> SquareRootSchedule(T=10).betas().shape
        torch.Size([10])
    """

    T: int = 1000

    fewest: ClassVar[int] = 2

    def __post_init__(self) -> None:
        reason = "the decoder needs β̃_2, and an image T network calls; the paper uses 1000"
        check_whole("T", self.T, self.fewest, reason, most=1_000_000)

    @abstractmethod
    def betas(self) -> Betas:
        """Returns β_1 … β_T, each in (0, 1): [T], float64."""


@dataclass(frozen=True, kw_only=True)
class _RisingSchedule(Schedule):
    """A schedule from β_1 to β_T ≥ β_1."""

    beta_1: float = 1e-4
    beta_T: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_beta("beta_1", self.beta_1)
        _check_beta("beta_T", self.beta_T)
        if self.beta_1 > self.beta_T:
            raise UserError(
                f"beta_1={self.beta_1} is greater than beta_T={self.beta_T}: the noise must not shrink along the "
                "chain; swap them, or use schedule=constant for equal steps"
            )


@dataclass(frozen=True, kw_only=True)
class LinearSchedule(_RisingSchedule):
    """β_t linear in t from β_1 to β_T, the paper's choice (Section 4).

        β_t = β_1 + (t − 1)/(T − 1) · (β_T − β_1)

    Args:
        T: the number of steps, at least 2.
        beta_1, beta_T: the variances of the first and the last step, in (0, 1), ascending.
    """

    def betas(self) -> Betas:
        return torch.linspace(self.beta_1, self.beta_T, self.T, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class QuadraticSchedule(_RisingSchedule):
    """√β_t linear in t from √β_1 to √β_T, one of the schedules that the paper compared (Section 4).

    Args:
        T: the number of steps, at least 2.
        beta_1, beta_T: the variances of the first and the last step, in (0, 1), ascending.
    """

    def betas(self) -> Betas:
        roots = torch.linspace(math.sqrt(self.beta_1), math.sqrt(self.beta_T), self.T, dtype=torch.float64)
        return roots.square()


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule(Schedule):
    """β_t = β for every t, one of the schedules that the paper compared (Section 4).

    Args:
        T: the number of steps, at least 2.
        beta: the variance of every step, in (0, 1). 0.01 with T = 1000 gives the ᾱ_T of the linear schedule.
    """

    beta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_beta("beta", self.beta)

    def betas(self) -> Betas:
        return torch.full((self.T,), self.beta, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class JSDSchedule(Schedule):
    """β_t = 1/(T − t + 1), for which ᾱ_t = 1 − t/T falls linearly to 0.

    Args:
        T: the number of steps, at least 2.
        max_beta: the largest β_t, in (0, 1). Without it β_T = 1, and no x̂_0 can be computed from ε at t = T.

    References:
        Sohl-Dickstein et al. (2015), "Deep Unsupervised Learning using Nonequilibrium Thermodynamics", Section 2.4.1.
    """

    max_beta: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_beta("max_beta", self.max_beta)

    def betas(self) -> Betas:
        return (1 / torch.arange(self.T, 0, -1, dtype=torch.float64)).clamp(max=self.max_beta)


@dataclass(frozen=True, kw_only=True)
class CosineSchedule(Schedule):
    """ᾱ_t along a squared cosine, so that it changes slowly at both ends of the chain.

        ᾱ_t = f(t)/f(0),  f(t) = cos²(π/2 · (t/T + s)/(1 + s))                 (Eq. 17 of the reference)

    Args:
        T: the number of steps, at least 2.
        s: an offset, at least 0, that keeps β_1 from vanishing.
        max_beta: the largest β_t, in (0, 1); without it β_T = 1.

    References:
        Nichol & Dhariwal (2021), "Improved Denoising Diffusion Probabilistic Models".
    """

    s: float = 0.008
    max_beta: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_beta("max_beta", self.max_beta)
        if self.s < 0:
            raise UserError(f"s={self.s} is negative: the cosine would start before its top; use s=0.008")

    def betas(self) -> Betas:
        u = torch.arange(self.T + 1, dtype=torch.float64) / self.T
        f = torch.cos(math.pi / 2 * (u + self.s) / (1 + self.s)).square()
        return (1 - f[1:] / f[:-1]).clamp(max=self.max_beta)


@dataclass(frozen=True, kw_only=True)
class LogSNRLinearSchedule(Schedule):
    """log SNR(t) = log(ᾱ_t/(1 − ᾱ_t)) linear in t.

    Args:
        T: the number of steps, at least 2.
        log_snr_1, log_snr_T: log SNR at t = 1 and t = T, in nats, descending. The defaults are close to those of
            the paper's linear schedule.

    References:
        Kingma et al. (2021), "Variational Diffusion Models".
    """

    log_snr_1: float = 9.21
    log_snr_T: float = -10.118

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.log_snr_1 <= self.log_snr_T:
            raise UserError(
                f"log_snr_1={self.log_snr_1} does not exceed log_snr_T={self.log_snr_T}: the signal must fade along "
                "the chain; swap them"
            )

    def betas(self) -> Betas:
        return schedule_of_log_snr(torch.linspace(self.log_snr_1, self.log_snr_T, self.T, dtype=torch.float64)).betas()


def geometric_schedule(*, T: int = 1000, sigma_min: float = 0.01, sigma_max: float = 50.0) -> LogSNRLinearSchedule:
    """Returns the schedule whose noise, in variance-exploding coordinates, grows geometrically.

        σ_t = σ_min (σ_max/σ_min)^((t−1)/(T−1)),  log SNR(t) = −2 log σ_t

    log SNR is linear in t. See `VarianceExploding` for y_t = x_t/√ᾱ_t = x_0 + σ_t ε.

    Args:
        T: the number of steps, at least 2.
        sigma_min, sigma_max: σ_1 and σ_T on the scale of the data, [−1, 1]; positive, ascending.

    Raises:
        UserError: an argument is out of its range.

    References:
        Song & Ermon (2019), "Generative Modeling by Estimating Gradients of the Data Distribution".
        Song et al. (2021), "Score-Based Generative Modeling through Stochastic Differential Equations", App. C.
    """
    check_positive("sigma_min", sigma_min, "without noise there is no score; use 0.01")
    check_positive("sigma_max", sigma_max, "it should exceed the distance between any two images; use 50")
    if sigma_min >= sigma_max:
        raise UserError(
            f"sigma_min={sigma_min} is not below sigma_max={sigma_max}: the noise must grow along the chain; swap them"
        )
    return LogSNRLinearSchedule(T=T, log_snr_1=-2 * math.log(sigma_min), log_snr_T=-2 * math.log(sigma_max))


@dataclass(frozen=True, kw_only=True)
class GivenSchedule(Schedule):
    """β_1 … β_T as given.

    Args:
        beta: β_1 … β_T, each in (0, 1); their number is T, at least 2.
    """

    T: int = field(init=False)
    beta: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "T", len(self.beta))
        super().__post_init__()
        for t, beta in enumerate(self.beta, start=1):
            _check_beta(f"beta_{t}", beta)

    def betas(self) -> Betas:
        return torch.tensor(self.beta, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class RectifiedSchedule(Schedule):
    """The noise levels of rectified flow, whose path z = (1 − u) x_0 + u ε is straight.

        ᾱ_t = (1 − u)²/((1 − u)² + u²),  u = max_u · t/T

    x_t is z, scaled to unit variance for data of unit variance.

    Args:
        T: the number of steps, at least 2.
        max_u: the end of the path, in (0, 1). At 1, no x̂_0 could be computed from ε at t = T.

    References:
        Liu et al. (2023), "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow", Eq. 1.
    """

    max_u: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interval("max_u", self.max_u, 0, 1, "the path ends just before pure noise; use 0.999", ends="()")

    def betas(self) -> Betas:
        u = torch.linspace(0, self.max_u, self.T + 1, dtype=torch.float64)
        alpha_bar = (1 - u).square() / ((1 - u).square() + u.square())
        return CoarseSchedule(T=self.T, alpha_bar=alpha_bar).betas()


@dataclass(frozen=True, kw_only=True)
class CoarseSchedule(Schedule):
    """The schedule with given ᾱ_t: β_t = 1 − ᾱ_t/ᾱ_{t−1}. It describes a longer chain at some of its steps.

    Args:
        T: the number of steps, at least 1.
        alpha_bar: ᾱ_0 = 1, ᾱ_1, …, ᾱ_T, descending: [T+1].
    """

    alpha_bar: Table

    fewest = 1  # A sampler may visit a single step.

    def betas(self) -> Betas:
        return 1 - self.alpha_bar[1:] / self.alpha_bar[:-1]


def schedule_of_log_snr(log_snr: ByStep) -> CoarseSchedule:
    """Returns the schedule with the given log SNR(1) … log SNR(T): ᾱ_t = sigmoid(log SNR(t))."""
    alpha_bar = log_snr.sigmoid()
    return CoarseSchedule(T=len(log_snr), alpha_bar=torch.cat([alpha_bar.new_ones(1), alpha_bar]))
