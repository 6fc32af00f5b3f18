"""What a training step tells the loggers: loss, loss by quartile of t, gradient norm, learning rate, images/s."""

import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ddpm_lightning.training.callbacks.when import check_interval, is_due
from ddpm_lightning.training.module import DDPM

QUARTILES = 4


class TrainingMetrics(L.Callback):
    """Every so many optimizer steps, and at the end, logs the mean over the window that has passed, by optimizer step.

    train/loss; train/loss_q1 … q4, unweighted, by quartile of t (q1: the least noise); train/grad_norm before clipping
    and train/lr at the window's end; train/images_per_s over all processes.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = check_interval("callbacks.metrics", every_n_steps)

    def on_train_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        self._open_window(module.device)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.batches == 0:  # so that pictures drawn between two windows do not count as time to train
            self.opened = time.perf_counter()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, module: DDPM, outputs: dict[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        quartile = (outputs["t"] - 1) * QUARTILES // module.model.process.T
        losses = outputs["loss_per_example"].double()
        self.sums.index_add_(0, quartile, losses)
        self.counts.index_add_(0, quartile, torch.ones_like(losses))
        self.loss += outputs["loss_of_batch"]
        self.batches += 1
        if is_due(trainer, batch_idx, self.every_n_steps):
            self._close_window(trainer, module)

    def on_train_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if self.batches > 0:
            self._close_window(trainer, module)

    def _open_window(self, device: torch.device) -> None:
        self.sums = torch.zeros(QUARTILES, dtype=torch.float64, device=device)
        self.counts = torch.zeros_like(self.sums)
        self.loss = torch.zeros((), device=device)
        self.batches = 0
        self.opened = time.perf_counter()

    def _close_window(self, trainer: L.Trainer, module: DDPM) -> None:
        metrics = self._metrics(trainer, module)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
        self._open_window(module.device)

    def _metrics(self, trainer: L.Trainer, module: DDPM) -> dict[str, float]:
        add = trainer.strategy.reduce
        sums, counts = add(self.sums, reduce_op="sum"), add(self.counts, reduce_op="sum")
        loss = float(add(self.loss / self.batches, reduce_op="mean"))  # waits for the device, so the clock is right
        return {
            "train/loss": loss,
            **{f"train/loss_q{q + 1}": float(sums[q] / counts[q]) for q in range(QUARTILES) if counts[q] > 0},
            "train/grad_norm": float(module.grad_norm),
            "train/lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train/images_per_s": float(counts.sum()) / (time.perf_counter() - self.opened),
        }
