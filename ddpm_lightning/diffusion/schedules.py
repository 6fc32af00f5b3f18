"""Variance schedules: β_1 … β_T in float64 (Section 2 and Section 4 of the paper, and its readers' choices)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ddpm_lightning.errors import UserError, check_at_most, check_positive, check_whole
from ddpm_lightning.typing import Betas, ByStep, Table


def _check_beta(name: str, value: float) -> None:
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise UserError(
            f"{name}={value} lies outside (0, 1): at 0 a step adds no noise and at 1 it forgets x_0 entirely; "
            "the paper uses 1e-4 to 0.02"
        )


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """How much noise each of the T steps adds.

    T: number of steps, at least `fewest`: 2, because the variance of the last decoding step is β̃_2.
    All values are checked at construction: UserError.
    """

    T: int = 1000

    fewest: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_whole(
            "T", self.T, self.fewest, "the decoder's variance is β̃_2, so a second step must be; the paper uses 1000"
        )
        check_at_most("T", self.T, 1_000_000, "an image would need as many network calls; the paper uses 1000")

    @abstractmethod
    def betas(self) -> Betas:
        """β_1 … β_T, float64, shape [T]; each in (0, 1)."""


@dataclass(frozen=True, kw_only=True)
class _RisingSchedule(Schedule):
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
    """β_t linear in t, the paper's choice (Section 4)."""

    def betas(self) -> Betas:
        return torch.linspace(self.beta_1, self.beta_T, self.T, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class QuadraticSchedule(_RisingSchedule):
    """√β_t linear in t, one of the paper's candidates (Section 4)."""

    def betas(self) -> Betas:
        roots = torch.linspace(math.sqrt(self.beta_1), math.sqrt(self.beta_T), self.T, dtype=torch.float64)
        return roots.square()


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule(Schedule):
    """β_t = β, one of the paper's candidates (Section 4). With β = 0.01 and T = 1000, ᾱ_T is the linear schedule's."""

    beta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_beta("beta", self.beta)

    def betas(self) -> Betas:
        return torch.full((self.T,), self.beta, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class JSDSchedule(Schedule):
    """β_t = 1/(T − t + 1), so that ᾱ_t falls linearly to 0 (Sohl-Dickstein et al., 2015).

    max_beta: a cap below 1. Uncapped, β_T = 1 and x_T holds nothing of x_0, so that no x̂_0 follows from ε.
    """

    max_beta: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_beta("max_beta", self.max_beta)

    def betas(self) -> Betas:
        return (1 / torch.arange(self.T, 0, -1, dtype=torch.float64)).clamp(max=self.max_beta)


@dataclass(frozen=True, kw_only=True)
class CosineSchedule(Schedule):
    """ᾱ_t = f(t)/f(0), f(t) = cos²(π/2 · (t/T + s)/(1 + s)) (Nichol & Dhariwal, 2021, Eq. 17).

    s: offset that keeps β_1 from vanishing. max_beta: a cap, since β_T would be 1.
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
    """log SNR_t = log(ᾱ_t/(1 − ᾱ_t)) linear in t (Kingma et al., 2021, "Variational Diffusion Models").

    log_snr_1, log_snr_T: the two ends, in nats; the defaults are those of the paper's linear schedule.
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
        return through(torch.linspace(self.log_snr_1, self.log_snr_T, self.T, dtype=torch.float64)).betas()


@dataclass(frozen=True, kw_only=True)
class GeometricSchedule(Schedule):
    """σ_t = σ_min (σ_max/σ_min)^((t−1)/(T−1)), the noise of variance-exploding chains (Song & Ermon, 2019; Song et al.,
    2021, App. C), as the β's of the same chain scaled to ᾱ_t = 1/(1 + σ_t²) (`VarianceExploding`).

    log SNR_t = −2 log σ_t, so it is LogSNRLinearSchedule by other names. sigma_min, sigma_max: on the scale of the
    data, [−1, 1].
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("sigma_min", self.sigma_min, "without noise there is no score; use 0.01")
        check_positive("sigma_max", self.sigma_max, "it should exceed the distance of any two images; use 50")
        if self.sigma_min >= self.sigma_max:
            raise UserError(
                f"sigma_min={self.sigma_min} is not below sigma_max={self.sigma_max}: the noise must grow along the "
                "chain; swap them"
            )

    def betas(self) -> Betas:
        ends = {"log_snr_1": -2 * math.log(self.sigma_min), "log_snr_T": -2 * math.log(self.sigma_max)}
        return LogSNRLinearSchedule(T=self.T, **ends).betas()


@dataclass(frozen=True, kw_only=True)
class GivenSchedule(Schedule):
    """β_1 … β_T as listed; T is their number."""

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
class CoarseSchedule(Schedule):
    """The β's that lead through the given ᾱ_0 = 1, ᾱ_1, …, ᾱ_T: a longer chain seen at some of its steps."""

    alpha_bar: Table

    fewest = 1  # the one step of a chain that is walked at once

    def betas(self) -> Betas:
        return 1 - self.alpha_bar[1:] / self.alpha_bar[:-1]


def through(log_snr: ByStep) -> CoarseSchedule:
    """The schedule that leads through the given log SNR_1, …, log SNR_T."""
    alpha_bar = log_snr.sigmoid()
    return CoarseSchedule(T=len(log_snr), alpha_bar=torch.cat([alpha_bar.new_ones(1), alpha_bar]))
