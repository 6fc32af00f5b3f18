"""Lightning's W&B logger without its deprecated setting."""

from typing import Any

from lightning.pytorch.loggers import WandbLogger


def make_wandb_logger(**options: Any) -> WandbLogger:
    """A WandbLogger; options: its own. Lightning passes on `anonymous`, which W&B answers with a warning."""
    logger = WandbLogger(**options)
    logger._wandb_init.pop("anonymous", None)
    return logger
