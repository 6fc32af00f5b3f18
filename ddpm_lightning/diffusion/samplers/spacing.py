"""Which steps a shortened chain visits."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from ddpm_lightning.errors import UserError


@dataclass(frozen=True)
class Spacing(ABC):
    """Chooses K of the steps 1..T, ascending. x_T ~ N(0, I) is taken to stand at the last of them, which is T unless
    the class says otherwise.

    skip_first: chooses K + 1 steps and leaves out the first, as diffusers does for DPM-Solver++ and UniPC.
    suffix: what the names of results add for the class.
    """

    skip_first: bool = False

    suffix: ClassVar[str]

    @property
    def label(self) -> str:
        """What the names of results add for the spacing."""
        return self.suffix + ("_skip_first" if self.skip_first else "")

    def steps(self, T: int, K: int) -> list[int]:
        """K distinct steps of 1..T; 1 ≤ K ≤ T, or K < T with skip_first."""
        most = T - self.skip_first
        if not 1 <= K <= most:
            raise UserError(
                f"sampler.num_steps={K} lies outside 1..{most}, the numbers of steps that a chain of T={T} can visit; "
                "choose between, or null for all"
            )
        if K == 1 and not self.skip_first:
            return [self._only(T)]
        return self._distinct(self._chosen(T, K + self.skip_first))[self.skip_first :]

    @abstractmethod
    def _chosen(self, T: int, K: int) -> list[int]:
        """K ≥ 2 steps, ascending in 1..T; two may be the same."""

    def _only(self, T: int) -> int:
        """The one step that is visited where K = 1."""
        return T

    @staticmethod
    def _distinct(steps: list[int]) -> list[int]:
        for i in range(1, len(steps)):
            steps[i] = max(steps[i], steps[i - 1] + 1)
        return steps


@dataclass(frozen=True)
class UniformSpacing(Spacing):
    """Evenly from 1 to T. Halves are rounded to the even number of 1..T."""

    suffix = ""

    def _chosen(self, T: int, K: int) -> list[int]:
        return _rounded(torch.linspace(1, T, K, dtype=torch.float64))


@dataclass(frozen=True)
class LinspaceSpacing(Spacing):
    """Evenly from 1 to T as "linspace" in diffusers, which counts from 0: halves are rounded to the even number of
    0..T−1. So with an odd K the middle step can be one more than that of `UniformSpacing`."""

    suffix = "_linspace"

    def _chosen(self, T: int, K: int) -> list[int]:
        return [1 + place for place in _rounded(torch.linspace(0, T - 1, K, dtype=torch.float64))]


@dataclass(frozen=True)
class QuadraticSpacing(Spacing):
    """√t evenly from 1 to √T: denser at small t (Song et al., 2021, App. D.2; they stop at 0.8 T, we go on to T)."""

    suffix = "_quadratic"

    def _chosen(self, T: int, K: int) -> list[int]:
        return _rounded(torch.linspace(1, T**0.5, K, dtype=torch.float64).square())


@dataclass(frozen=True)
class LeadingSpacing(Spacing):
    """1, 1 + r, 1 + 2r, … with r = ⌊T/K⌋ (Song et al., 2021, App. D.2; "leading", the default, in diffusers). The last
    step is 1 + (K − 1) r, not T, so x_T is taken for an x_t of less noise: published DDIM numbers are of this walk."""

    suffix = "_leading"

    def _chosen(self, T: int, K: int) -> list[int]:
        return list(range(1, T + 1, T // K))[:K]

    def _only(self, T: int) -> int:
        return 1


@dataclass(frozen=True)
class TrailingSpacing(Spacing):
    """Evenly from T/K to T, and from T/K to 0 in one step (Lin et al., 2024): no call is spent where little is left."""

    suffix = "_trailing"

    def _chosen(self, T: int, K: int) -> list[int]:
        return _rounded(torch.linspace(T / K, T, K, dtype=torch.float64))


def _rounded(places: torch.Tensor) -> list[int]:
    return [round(place) for place in places.tolist()]
