"""How the learning rate falls after its warm-up."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from ddpm_lightning.errors import UserError, check_interval, check_whole


class LRSchedule(ABC):
    """The learning rate by optimizer step, as a factor of the optimizer's `lr` beside that of the warm-up.

    Example:
        >>> class Halved(LRSchedule):
        ...     '''Half the learning rate after the warm-up.'''
        ...
        ...     def decay(self, step, warmup_steps):
        ...         return 0.5 if step > warmup_steps else 1.0
    """

    @abstractmethod
    def decay(self, step: int, warmup_steps: int) -> float:
        """Returns the factor after a number of optimizer steps; it is 1 during the warm-up.

        Args:
            step: optimizer steps, at least 0.
            warmup_steps: the first steps, over which the warm-up raises the learning rate from 0.
        """

    def check(self, warmup_steps: int) -> None:
        """Raises UserError if the schedule leaves no room for a warm-up of this many steps."""


class ConstantLR(LRSchedule):
    """1: the learning rate stays as it is after the warm-up, as in Ho et al. (2020)."""

    def decay(self, step: int, warmup_steps: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Annealed(LRSchedule):
    """A learning rate that falls from its full value at the end of the warm-up to a share of it after `total_steps`.

    Args:
        total_steps: optimizer steps of the whole run, warm-up included; more than those of the warm-up.
        final: the share of the learning rate that is left at the end and after it, in [0, 1].
    """

    total_steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        check_whole("lr_schedule.total_steps", self.total_steps, 1, "the learning rate reaches its end there")
        check_interval("lr_schedule.final", self.final, 0, 1, "0 lets the learning rate fall to 0, 1 keeps it")

    def check(self, warmup_steps: int) -> None:
        if self.total_steps <= warmup_steps:
            raise UserError(
                f"lr_schedule.total_steps={self.total_steps} leaves no step after the warm-up of "
                f"module.warmup_steps={warmup_steps}; use lr_schedule=constant, or fewer warm-up steps"
            )

    def decay(self, step: int, warmup_steps: int) -> float:
        progress = (step - warmup_steps) / (self.total_steps - warmup_steps)
        return self.final + (1 - self.final) * self.remaining(min(max(progress, 0.0), 1.0))

    @abstractmethod
    def remaining(self, progress: float) -> float:
        """Returns the share of the fall that is still to come, 1 at progress 0 and 0 at progress 1."""


@dataclass(frozen=True)
class CosineLR(Annealed):
    """½ (1 + cos(π p)), where p runs from 0 at the end of the warm-up to 1 at the end of the run.

    References:
        Loshchilov & Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm Restarts", Eq. 5, without restarts.
    """

    def remaining(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class LinearLR(Annealed):
    """1 − p, where p runs from 0 at the end of the warm-up to 1 at the end of the run."""

    def remaining(self, progress: float) -> float:
        return 1 - progress


@dataclass(frozen=True)
class InverseSqrtLR(LRSchedule):
    """1/√max(n/n_ref, 1) after n optimizer steps, which needs no end of the run.

    Args:
        reference_steps: n_ref, the steps for which the learning rate is whole; at least those of the warm-up.

    References:
        Karras et al. (2024), "Analyzing and Improving the Training Dynamics of Diffusion Models", Section 2.
    """

    reference_steps: int

    def __post_init__(self) -> None:
        check_whole("lr_schedule.reference_steps", self.reference_steps, 1, "the learning rate is whole until there")

    def check(self, warmup_steps: int) -> None:
        if self.reference_steps < warmup_steps:
            raise UserError(
                f"lr_schedule.reference_steps={self.reference_steps} would end before the warm-up of "
                f"module.warmup_steps={warmup_steps}; use at least {warmup_steps}"
            )

    def decay(self, step: int, warmup_steps: int) -> float:
        return 1 / math.sqrt(max(step / self.reference_steps, 1))
