"""Numbers and pictures for the loggers, and for the callbacks that watch a number."""

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from ddpm_lightning.training.callbacks.checkpoints import LastCheckpoint


def log_metrics(trainer: L.Trainer, metrics: dict[str, float]) -> None:
    """Tells every logger, at the optimizer step, and the callbacks that watch a number. Every process calls it."""
    for logger in trainer.loggers:
        logger.log_metrics(metrics, step=trainer.global_step)
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LastCheckpoint):
            callback.best.watch(metrics)
        if isinstance(callback, EarlyStopping) and callback.monitor in metrics:
            callback.on_train_epoch_end(trainer, trainer.lightning_module)  # of the two, one looks at the number:
            callback.on_validation_end(trainer, trainer.lightning_module)  # here are no epochs and no validation


def show(trainer: L.Trainer, key: str, image: Image.Image) -> None:
    """Gives the picture to W&B and TensorBoard, at the optimizer step."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [image], step=trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            pixels = np.asarray(image.convert("RGB"))
            logger.experiment.add_image(key, pixels, trainer.global_step, dataformats="HWC")
