"""Logs numbers and pictures to all loggers of a trainer, at its current optimizer step."""

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image

from ddpm_lightning.training.callbacks.checkpoints import LastCheckpoint
from ddpm_lightning.training.loggers.media import media_of


def log_metrics(trainer: L.Trainer, metrics: dict[str, float]) -> None:
    """Logs numbers to every logger and passes them to the callbacks that watch one. Every process calls it."""
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LastCheckpoint):
            callback.best.watch(metrics)
        if isinstance(callback, EarlyStopping) and callback.monitor in metrics:
            # EarlyStopping checks in one of these two hooks. Lightning calls neither, because training here has
            # neither epochs nor validation loops.
            callback.on_train_epoch_end(trainer, trainer.lightning_module)
            callback.on_validation_end(trainer, trainer.lightning_module)


def log_picture(trainer: L.Trainer, name: str, image: Image.Image) -> None:
    """Shows a picture in every logger that takes pictures. The first process calls it."""
    for logger in trainer.loggers:
        media_of(logger).show_picture(name, image, trainer.global_step)
