"""Lightning's Trainer with the settings that this project needs."""

from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.checkpoint import AtomicCheckpointIO


def make_trainer(*, run_dir: str, max_steps: int, precision: str = "auto", **options: Any) -> L.Trainer:
    """A Trainer that counts steps, not epochs (the training data are one endless stream).

    precision: any of Lightning's, or "auto": bf16-mixed where the hardware computes in bf16 natively, else 32-true.
    options: passed on to lightning.Trainer.
    """
    if max_steps < 1:
        raise UserError(f"trainer.max_steps={max_steps} is below 1: nothing would be trained; the paper uses 800000")
    if precision == "auto":
        precision = native_precision(options.get("accelerator", "auto"))
    try:
        return L.Trainer(
            default_root_dir=run_dir,
            max_steps=max_steps,
            max_epochs=-1,
            precision=precision,  # type: ignore[arg-type]
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,  # the DataModule gives each process its own part
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **options,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from error


def native_precision(accelerator: str) -> str:
    """bf16-mixed on GPUs that compute in bf16 and on CPUs with AMX; elsewhere bf16 is emulated, and slower."""
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    native = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _cpu_has_amx()
    return "bf16-mixed" if native else "32-true"


def _cpu_has_amx() -> bool:
    return bool(torch.cpu._is_amx_tile_supported())
