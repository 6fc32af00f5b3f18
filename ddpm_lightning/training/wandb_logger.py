"""Lightning's W&B logger, which goes on with the run that the run directory began."""

import secrets
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from ddpm_lightning.training.processes import is_first


def make_wandb_logger(*, save_dir: str, **options: Any) -> WandbLogger:
    """A WandbLogger of the run whose id lies in save_dir/wandb/run_id; options: its own."""
    logger = WandbLogger(save_dir=save_dir, **{"id": run_id(Path(save_dir)), "resume": "allow", **options})
    logger._wandb_init.pop("anonymous", None)  # Lightning passes it on, and W&B answers with a warning
    return logger


def run_id(save_dir: Path) -> str | None:
    """The same whenever the run goes on; None on all processes but the first, which alone logs."""
    if not is_first():
        return None
    path = save_dir / "wandb" / "run_id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(4))
    return path.read_text()
