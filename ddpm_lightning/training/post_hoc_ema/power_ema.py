"""The callback that keeps power-function averages of several lengths, and snapshots of them."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.training.callbacks.ema import WeightAverage
from ddpm_lightning.training.callbacks.trainer_state import check_interval, completes_step
from ddpm_lightning.training.checkpoint import check_average
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.post_hoc_ema.profiles import check_length, decay, gamma_of
from ddpm_lightning.training.post_hoc_ema.snapshots import TRACKS, Snapshot, Snapshots, folder_of, steps_in


class PowerEMA(WeightAverage):
    """Keeps averages with power-function profiles, and snapshots from which those of other lengths are rebuilt.

        θ̄ ← β_n θ̄ + (1 − β_n) θ,  β_n = (1 − 1/n)^{γ+1}                         (Karras et al., 2024, Section 3.1)

    The length σ_rel = √(γ + 1)/((γ + 2) √(γ + 3)) is the width of an average as a share of the training so far. So the
    first weights leave it by themselves, and it needs no `decay` that fits the number of steps.

    Use: testing, validation and "ema" in checkpoints are of the first length. `ema_length=` of sample.py, evaluate.py
    and figure.py rebuilds another one from all lengths and the snapshots in the run's ema_snapshots/.

    Args:
        lengths: σ_rel of the averages, each in (0, 0.2886]; two are enough to rebuild those between and around them.
        every_n_steps: optimizer steps between two snapshots. It doubles whenever there would be too many.
        max_snapshots: the largest number of snapshots, at least 2. Each holds as many weights as there are lengths, in
            float32.

    Raises:
        UserError: if an argument is out of bounds.

    Example:
        >>> [round(PowerEMA(lengths=[0.1]).decay_of(n), 4) for n in (1, 10, 100)]
        [0.0041, 0.4693, 0.9241]

    References:
        Karras et al. (2024), "Analyzing and Improving the Training Dynamics of Diffusion Models", Section 3.
    """

    def __init__(
        self, lengths: Sequence[float] = (0.1, 0.05), every_n_steps: int = 50, max_snapshots: int = 32
    ) -> None:
        super().__init__()
        if not lengths or len(set(lengths)) < len(lengths):
            raise UserError(f"callbacks.ema.lengths={list(lengths)} is empty or names a length twice; use [0.1,0.05]")
        for length in lengths:
            check_length("callbacks.ema.lengths", length)
        check_whole("callbacks.ema.max_snapshots", max_snapshots, 2, "lengths are rebuilt from several; use 32")
        self.lengths = list(lengths)
        self.gammas = [gamma_of(length) for length in lengths]
        self.every_n_steps = check_interval("callbacks.ema", every_n_steps)
        self.max_snapshots = max_snapshots
        self.others: list[dict[str, Tensor]] = []  # the averages of all lengths but the first, which is the shadow

    def decay_of(self, n: int) -> float:
        return decay(self.gammas[0], n + 1)

    def start(self, module: L.LightningModule) -> None:
        super().start(module)
        self.others = [{name: weight.clone() for name, weight in self.shadow.items()} for _ in self.gammas[1:]]

    def _update(self, skips: Tensor) -> None:
        skips = torch.zeros_like(skips)  # a skipped step adds the same weights again, so that n counts every step
        super()._update(skips)
        for gamma, average in zip(self.gammas[1:], self.others, strict=True):
            self._move(average, decay(gamma, self.updates + 1), skips)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)
        snapshots, step = self._snapshots(trainer), trainer.global_step
        is_due = completes_step(trainer, batch_idx) and snapshots.is_due(step) and bool(self.shadow)
        if is_due and trainer.is_global_zero and module.is_sound():
            snapshots.write(step, self._snapshot())

    def _snapshots(self, trainer: L.Trainer) -> Snapshots:
        return Snapshots(folder_of(trainer.default_root_dir), self.every_n_steps, self.max_snapshots)

    def _snapshot(self) -> Snapshot:
        return {"n": self.updates + 1, "lengths": self.lengths, "averages": [self.shadow, *self.others]}

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(trainer, module, checkpoint)
        if self.shadow:
            checkpoint[TRACKS] = self._snapshot()

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(trainer, module, checkpoint)
        self.others = [dict(average) for average in checkpoint.get(TRACKS, {"averages": []})["averages"][1:]]
        for average in self.others:
            check_average(average, self.shadow)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        super().on_train_start(trainer, module)
        self.others = [{name: each.to(module.device) for name, each in average.items()} for average in self.others]
        if trainer.is_global_zero:  # those of later steps are made again
            snapshots = self._snapshots(trainer)
            snapshots.remove({step for step in steps_in(snapshots.folder) if step > trainer.global_step})
