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
        ...     '''Evenly in log t from 1 to T.'''
        ...
        ...     suffix = "_log"
        ...
        ...     def _chosen(self, T, K):
        ...         return [round(T ** (i / (K - 1))) for i in range(K)]
        >>> LogSpacing().steps(1000, 4)
        [1, 10, 100, 1000]
    """

    skip_first: bool = False

    suffix: ClassVar[str]

    @property
    def label(self) -> str:
        """The spacing's part of a sampler's label, settings included."""
        return self.suffix + ("_skip_first" if self.skip_first else "")

    def steps(self, T: int, K: int) -> list[int]:
        """Returns K distinct steps, ascending in 1..T.

        Args:
            T: the number of steps of the whole chain.
            K: how many to choose, in 1..T, or in 1..T−1 with skip_first.

        Raises:
            UserError: K is out of its range.
        """
        most = T - self.skip_first
        if not 1 <= K <= most:
            raise UserError(
                f"sampler.num_steps={K} lies outside 1..{most}, the numbers of steps that a chain of T={T} can visit; "
                "choose between, or null for all"
            )
        if K == 1 and not self.skip_first:
            return [self._only(T)]
        return self._distinct(self._chosen(T, K + self.skip_first))[self.skip_first :]

    def visited(self, process: GaussianDiffusion, K: int) -> list[int]:
        """Returns K distinct steps of a process, ascending; see `steps`. Override it to use the noise levels."""
        return self.steps(process.T, K)

    @abstractmethod
    def _chosen(self, T: int, K: int) -> list[int]:
        """Returns K ≥ 2 steps, ascending in 1..T; `steps` moves apart those that are equal."""

    def _only(self, T: int) -> int:
        """Returns the step to visit if K = 1."""
        return T

    @staticmethod
    def _distinct(steps: list[int]) -> list[int]:
        for i in range(1, len(steps)):
            steps[i] = max(steps[i], steps[i - 1] + 1)
        return steps


@dataclass(frozen=True)
class UniformSpacing(Spacing):
    """Evenly from 1 to T, rounded; halves are rounded to the even number of 1..T."""

    suffix = ""

    def _chosen(self, T: int, K: int) -> list[int]:
        return _rounded(torch.linspace(1, T, K, dtype=torch.float64))


@dataclass(frozen=True)
class LinspaceSpacing(Spacing):
    """Evenly from 1 to T, rounded as "linspace" of diffusers, which counts from 0.

    Halves are rounded to the even number of 0..T−1. So if K is odd, the middle step can be one more than that of
    `UniformSpacing`.
    """

    suffix = "_linspace"

    def _chosen(self, T: int, K: int) -> list[int]:
        return [1 + step for step in _rounded(torch.linspace(0, T - 1, K, dtype=torch.float64))]


@dataclass(frozen=True)
class QuadraticSpacing(Spacing):
    """Evenly in √t from 1 to T: denser at small t.

    References:
        Song et al. (2021), "Denoising Diffusion Implicit Models", App. D.2; their last step is 0.8 T.
    """

    suffix = "_quadratic"

    def _chosen(self, T: int, K: int) -> list[int]:
        return _rounded(torch.linspace(1, T**0.5, K, dtype=torch.float64).square())


@dataclass(frozen=True)
class LeadingSpacing(Spacing):
    """1, 1 + r, 1 + 2r, … with r = ⌊T/K⌋: the spacing of published DDIM results, and "leading" of diffusers.

    The last step is 1 + (K − 1) r, not T. So noise N(0, I) is taken for an x_t with less noise.

    References:
        Song et al. (2021), "Denoising Diffusion Implicit Models", App. D.2.
    """

    suffix = "_leading"

    def _chosen(self, T: int, K: int) -> list[int]:
        return list(range(1, T + 1, T // K))[:K]

    def _only(self, T: int) -> int:
        return 1


@dataclass(frozen=True)
class TrailingSpacing(Spacing):
    """Evenly from T/K to T, rounded; the last step of the sampler goes from T/K to 0.

    References:
        Lin et al. (2024), "Common Diffusion Noise Schedules and Sample Steps are Flawed".
    """

    suffix = "_trailing"

    def _chosen(self, T: int, K: int) -> list[int]:
        return _rounded(torch.linspace(T / K, T, K, dtype=torch.float64))


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

    def visited(self, process: GaussianDiffusion, K: int) -> list[int]:
        self.steps(process.T, K)  # checks K
        if K == 1:
            return [process.T]
        sigma = VarianceExploding(process).sigma[1:].cpu()
        first, last = (float(end) ** (1 / self.rho) for end in (sigma[0], sigma[-1]))
        wanted = torch.linspace(first, last, K, dtype=torch.float64) ** self.rho
        nearest = (sigma[None] - wanted[:, None]).abs().argmin(1)
        return _fitted([1 + int(place) for place in nearest], process.T)

    def _chosen(self, T: int, K: int) -> list[int]:
        return list(range(1, K + 1))


def _fitted(steps: list[int], T: int) -> list[int]:
    """Returns distinct steps in 1..T: moves equal ones up, and those that exceed T down."""
    steps = Spacing._distinct(steps)
    return [min(step, T - after) for after, step in zip(range(len(steps) - 1, -1, -1), steps, strict=True)]


def _rounded(steps: torch.Tensor) -> list[int]:
    return [round(step) for step in steps.tolist()]
