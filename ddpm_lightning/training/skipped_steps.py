"""Skips optimizer steps whose gradient is NaN or infinite, and ends a run after too many of them in a row.

Whether a step is skipped is decided on the device, so that the training loop never waits for it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from ddpm_lightning.errors import Diverged, counted
from ddpm_lightning.typing import Indices, Timesteps

CHECK_EVERY = 10
"""Optimizer steps between two checks for too many skipped steps. Each check waits for the device."""


class SeenBatch(NamedTuple):
    """A training batch, as an error message identifies it.

    Args:
        indices: indices of the images in the data set, [b].
        t: the t that was drawn for each image, [b].
    """

    indices: Indices
    t: Timesteps


class SeenStep(NamedTuple):
    """An optimizer step that has not been checked yet.

    Args:
        number: its number.
        skipped_in_a_row: how many steps in a row were skipped up to this one; 0 if it was not. Scalar on the device.
        batches: the batches that it accumulated.
    """

    number: int
    skipped_in_a_row: Tensor
    batches: list[SeenBatch]


class SkippedSteps:
    """Raises Diverged when more than `max_in_a_row` optimizer steps in a row were skipped.

    Args:
        max_in_a_row: consecutive steps that may be skipped.
    """

    def __init__(self, max_in_a_row: int) -> None:
        self.max_in_a_row = max_in_a_row
        self.unchecked: list[SeenStep] = []

    def record(self, step: SeenStep) -> None:
        """Remembers a step until the next check."""
        self.unchecked.append(step)

    def clear(self) -> None:
        """Forgets the steps that have not been checked."""
        self.unchecked = []

    def check(self) -> None:
        """Raises Diverged if, at a step since the last check, too many steps in a row had been skipped."""
        failed, self.unchecked = self._failed(), []
        if failed:
            raise Diverged(_message(failed[0]), step=failed[0].number - 1)

    def are_too_many(self) -> bool:
        """Returns whether too many steps in a row had been skipped at a step since the last check."""
        return bool(self._failed())

    def _failed(self) -> list[SeenStep]:
        counts = torch.stack([step.skipped_in_a_row for step in self.unchecked]).tolist() if self.unchecked else []
        return [step for step, count in zip(self.unchecked, counts, strict=True) if count > self.max_in_a_row]


def _message(step: SeenStep) -> str:
    images, t = (torch.cat(parts).tolist() for parts in zip(*step.batches, strict=True))
    return (
        f"{counted(int(step.skipped_in_a_row), 'step')} in a row had a loss or gradient that is NaN or infinite, the "
        f"last of them step {step.number}, with images {images} at t = {t}; averaged weights and checkpoints are from "
        "before that: check the data, or lower optimizer.lr"
    )


def skip_step(optimizer: Optimizer, skip: Tensor) -> None:
    """Makes the optimizer's next step change neither weights nor optimizer state, if `skip` is true.

    PyTorch's fused Adam and AdamW read the attribute `found_inf` on the device, which torch.amp.GradScaler sets too.
    Every other optimizer gets no gradients, which waits for the device. Fused SGD reads `found_inf` as well, but leaves
    its momentum uninitialized if the first step is skipped.

    Args:
        optimizer: the optimizer, before its step.
        skip: boolean scalar on the optimizer's device.
    """
    if type(optimizer) in (Adam, AdamW) and all(group["fused"] for group in optimizer.param_groups):
        optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
    elif skip:
        optimizer.zero_grad(set_to_none=True)


def infinite_to_nan(loss: Tensor) -> Tensor:
    """Returns the loss, or NaN if it is infinite: then every gradient on every process is NaN, and the step skipped."""
    return loss * (1 + 0 * loss.detach())
