"""Spacings: which K of the T steps a sampler visits."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.errors import UserError, check_positive


@dataclass(frozen=True)
class Spacing(ABC):
    """Chooses K of the steps 1..T, ascending. Sampling starts from x_T ~ N(0, I) at the last of them.

    Args:
        skip_first: chooses K + 1 steps and leaves out the first, as diffusers does for DPM-Solver++ and UniPC.

    Attributes:
        suffix: the spacing's part of a sampler's label.

    Example:
        >>> class LogSpacing(Spacing):
        ...     '''Evenly in log t up to T.'''
        ...
        ...     suffix = "_log"
        ...
        ...     def choose(self, process, K):
        ...         return [round(process.T ** (i / K)) for i in range(1, K + 1)]
        >>> from ddpm_lightning.diffusion.schedules import LinearSchedule
        >>> LogSpacing().steps(GaussianDiffusion(LinearSchedule(T=1000)), 3)
        [10, 100, 1000]
    """

    skip_first: bool = False

    suffix: ClassVar[str]

    @property
    def label(self) -> str:
        """The spacing's part of a sampler's label, settings included."""
        return self.suffix + ("_skip_first" if self.skip_first else "")

    def steps(self, process: GaussianDiffusion, K: int) -> list[int]:
        """Returns K distinct steps, ascending in 1..T.

        Args:
            process: the whole chain, of T steps.
            K: how many to choose, in 1..T, or in 1..T−1 with skip_first.

        Raises:
            UserError: K is out of its range.
        """
        most = process.T - self.skip_first
        if not 1 <= K <= most:
            raise UserError(
                f"sampler.num_steps={K} lies outside 1..{most}, the numbers of steps that a chain of T={process.T} can "
                "visit; choose between, or null for all"
            )
        return _distinct(self.choose(process, K + self.skip_first), process.T)[self.skip_first :]

    @abstractmethod
    def choose(self, process: GaussianDiffusion, K: int) -> list[int]:
        """Returns K steps, ascending in 1..T; `steps` moves apart those that are equal.

        Args:
            process: the whole chain, of T steps, with its noise levels.
            K: how many to choose, in 1..T.
        """


@dataclass(frozen=True)
class UniformSpacing(Spacing):
    """Evenly from 1 to T, rounded; halves are rounded to the even number of 1..T."""

    suffix = ""

    def choose(self, process: GaussianDiffusion, K: int) -> list[int]:
        return _rounded(_evenly(1, process.T, K))


@dataclass(frozen=True)
class LinspaceSpacing(Spacing):
    """Evenly from 1 to T, rounded as "linspace" of diffusers, which counts from 0.

    Halves are rounded to the even number of 0..T−1. So if K is odd, the middle step can be one more than that of
    `UniformSpacing`.
    """

    suffix = "_linspace"

    def choose(self, process: GaussianDiffusion, K: int) -> list[int]:
        return [1 + step for step in _rounded(_evenly(0, process.T - 1, K))]


@dataclass(frozen=True)
class QuadraticSpacing(Spacing):
    """Evenly in √t from 1 to T: denser at small t.

    References:
        Song et al. (2021), "Denoising Diffusion Implicit Models", App. D.2; their last step is 0.8 T.
    """

    suffix = "_quadratic"

    def choose(self, process: GaussianDiffusion, K: int) -> list[int]:
        return _rounded(_evenly(1, process.T**0.5, K).square())


@dataclass(frozen=True)
class LeadingSpacing(Spacing):
    """1, 1 + r, 1 + 2r, … with r = ⌊T/K⌋: the spacing of published DDIM results, and "leading" of diffusers.

    The last step is 1 + (K − 1) r, not T. So noise N(0, I) is taken for an x_t with less noise.

    References:
        Song et al. (2021), "Denoising Diffusion Implicit Models", App. D.2.
    """

    suffix = "_leading"

    def choose(self, process: GaussianDiffusion, K: int) -> list[int]:
        return list(range(1, process.T + 1, process.T // K))[:K]


@dataclass(frozen=True)
class TrailingSpacing(Spacing):
    """Evenly from T/K to T, rounded; the last step of the sampler goes from T/K to 0.

    References:
        Lin et al. (2024), "Common Diffusion Noise Schedules and Sample Steps are Flawed".
    """

    suffix = "_trailing"

    def choose(self, process: GaussianDiffusion, K: int) -> list[int]:
        return _rounded(_evenly(process.T / K, process.T, K))


@dataclass(frozen=True)
class KarrasSpacing(Spacing):
    """Evenly in σ^(1/ρ) from σ_1 to σ_T, each rounded to the nearest step; the larger ρ, the denser at small noise.

    Args:
        rho: ρ, above 0.

    References:
        Karras et al. (2022), "Elucidating the Design Space of Diffusion-Based Generative Models", Eq. 5; ρ = 7 there.
    """

    rho: float = 7.0

    suffix = "_karras"

    def __post_init__(self) -> None:
        check_positive("sampler.spacing.rho", self.rho, "the paper has 7")

    def choose(self, process: GaussianDiffusion, K: int) -> list[int]:
        sigma = VarianceExploding(process).sigma[1:].cpu()
        first, last = (float(end) ** (1 / self.rho) for end in (sigma[0], sigma[-1]))
        wanted = _evenly(first, last, K) ** self.rho
        return [1 + int(place) for place in (sigma[None] - wanted[:, None]).abs().argmin(1)]


def _evenly(first: float, last: float, K: int) -> torch.Tensor:
    """Returns K numbers evenly from the first to the last, float64 [K]; the last alone if K = 1."""
    return torch.linspace(first if K > 1 else last, last, K, dtype=torch.float64)


def _distinct(steps: list[int], T: int) -> list[int]:
    """Returns ascending steps as distinct ones in 1..T: moves equal ones up, then those that exceed T down."""
    for i in range(1, len(steps)):
        steps[i] = max(steps[i], steps[i - 1] + 1)
    return [min(step, T - after) for after, step in zip(range(len(steps) - 1, -1, -1), steps, strict=True)]


def _rounded(steps: torch.Tensor) -> list[int]:
    return [round(step) for step in steps.tolist()]
