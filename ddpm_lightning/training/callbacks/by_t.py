"""The losses of training steps, summed by where their t lies."""

import torch
from torch import Tensor


def new_sums(parts: int, device: torch.device | str = "cpu") -> Tensor:
    """[2, parts], for equal parts of 1..T: of losses, and how many."""
    return torch.zeros(2, parts, dtype=torch.float64, device=device)


def add_step(sums: Tensor, outputs: dict[str, Tensor], T: int) -> None:
    """Counts a step in, by what the module's training_step returned. A loss that is no number is left out: its step is
    skipped, and spoils no mean."""
    part = (outputs["t"] - 1) * sums.shape[1] // T
    losses = outputs["loss_per_example"].double()
    known = losses.isfinite()
    sums.index_add_(1, part, torch.stack([losses.where(known, 0), known.double()]))
