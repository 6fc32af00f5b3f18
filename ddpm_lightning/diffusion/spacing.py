"""Which steps a shortened chain visits."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from ddpm_lightning.errors import UserError


class Spacing(ABC):
    """Chooses K of the steps 1..T, ascending; the last is always T, where x_T ~ N(0, I) holds.

    suffix: what the names of results add for it.
    """

    suffix: ClassVar[str]

    def steps(self, T: int, K: int) -> list[int]:
        """K distinct steps of 1..T; 2 ≤ K ≤ T."""
        if not 2 <= K <= T:
            raise UserError(
                f"sampler.num_steps={K} lies outside 2..{T}, the subsets that T={T} steps have; choose between"
            )
        return self._distinct([round(float(s)) for s in self._places(T, K)])

    @abstractmethod
    def _places(self, T: int, K: int) -> torch.Tensor:
        """K real numbers, ascending in 1..T, to T."""

    @staticmethod
    def _distinct(steps: list[int]) -> list[int]:
        for i in range(1, len(steps)):
            steps[i] = max(steps[i], steps[i - 1] + 1)
        return steps


@dataclass(frozen=True)
class UniformSpacing(Spacing):
    """Evenly from 1 to T."""

    suffix = ""

    def _places(self, T: int, K: int) -> torch.Tensor:
        return torch.linspace(1, T, K, dtype=torch.float64)


@dataclass(frozen=True)
class QuadraticSpacing(Spacing):
    """√t evenly from 1 to √T: denser at small t (Song et al., 2021, App. D.2; they stop at 0.8 T, we go on to T)."""

    suffix = "_quadratic"

    def _places(self, T: int, K: int) -> torch.Tensor:
        return torch.linspace(1, T**0.5, K, dtype=torch.float64).square()


@dataclass(frozen=True)
class TrailingSpacing(Spacing):
    """Evenly from T/K to T, and from T/K to 0 in one step (Lin et al., 2024): no call is spent where little is left."""

    suffix = "_trailing"

    def _places(self, T: int, K: int) -> torch.Tensor:
        return torch.linspace(T / K, T, K, dtype=torch.float64)
