"""Logs numbers and pictures to all loggers of a trainer, at its current optimizer step."""

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image

from ddpm_lightning.training.callbacks.checkpoints import LastCheckpoint
from ddpm_lightning.training.callbacks.trainer_state import callbacks_of
from ddpm_lightning.training.loggers.media import media_of


def log_metrics(trainer: L.Trainer, metrics: dict[str, float]) -> None:
    """Logs numbers to every logger and passes them to the callbacks that watch one. Every process calls it."""
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
    for checkpoints in callbacks_of(trainer, LastCheckpoint):
        checkpoints.best.watch(metrics)
    for stopping in callbacks_of(trainer, EarlyStopping):
        if stopping.monitor in metrics:
            # EarlyStopping checks the number in one of these two hooks. Lightning calls neither, because training here
            # has neither epochs nor validation loops.
            stopping.on_train_epoch_end(trainer, trainer.lightning_module)
            stopping.on_validation_end(trainer, trainer.lightning_module)


def log_picture(trainer: L.Trainer, name: str, image: Image.Image) -> None:
    """Shows a picture in every logger that takes pictures. The first process calls it."""
    for logger in trainer.loggers:
        media_of(logger).show_picture(name, image, trainer.global_step)
