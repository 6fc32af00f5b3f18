"""A progress bar for the whole training, in optimizer steps, and one for testing."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from ddpm_lightning.runtime.progress_bars import progress_bar

REFRESH_EVERY = 10
"""Batches between two updates of the bar. Each reads the loss, which waits for the device."""


class StepProgressBar(ProgressBar):
    """Shows the optimizer steps done out of max_steps, the time left, steps per second and the newest loss."""

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.bar: tqdm[Any] | None = None

    def disable(self) -> None:
        """Hides the bar. Lightning calls it on every process but the first."""
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.bar = progress_bar(
            total=trainer.max_steps,
            initial=trainer.global_step,
            desc="Training",
            unit="step",
            disable=not self.enabled,
            dynamic_ncols=True,
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self.bar is not None
        if batch_idx % REFRESH_EVERY == 0 or trainer.global_step >= trainer.max_steps:
            self.bar.set_postfix(loss=f"{float(outputs['loss_of_batch']):.4f}", refresh=False)
            self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._close()

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        batches = int(sum(trainer.num_test_batches))
        self.bar = progress_bar(total=batches, desc="Testing", unit="batch", disable=not self.enabled, leave=False)

    def on_test_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        assert self.bar is not None
        self.bar.update()

    def on_test_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
