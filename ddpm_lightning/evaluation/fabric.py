"""The processes that evaluate together, by way of Lightning Fabric."""

from datetime import timedelta
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from ddpm_lightning.errors import Diverged, UserError
from ddpm_lightning.runtime.devices import check_precision, choose_accelerator
from ddpm_lightning.runtime.processes import AnotherDiverged, AnotherFailed
from ddpm_lightning.runtime.results import add_up
from ddpm_lightning.runtime.signals import STOP, Interrupted

PATIENCE = timedelta(days=7)
"""How long processes wait for the one that reads features off a million images."""


def make_fabric(*, accelerator: str = "auto", precision: str = "32-true", **options: Any) -> Fabric:
    """Fabric for evaluation. precision: as in training, but float32 unless asked for, for the numbers are to be
    believed. options: passed on, such as devices and num_nodes."""
    accelerator = choose_accelerator(accelerator)
    alone = options.get("devices", 1) in (1, "1") and options.get("num_nodes", 1) == 1
    if not alone:
        options.setdefault("strategy", DDPStrategy(timeout=PATIENCE))
    torch.backends.cudnn.allow_tf32 = False  # which would keep ten bits of float32
    try:
        precision = check_precision(precision, accelerator)
        return Fabric(accelerator=accelerator, precision=precision, **options)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise error if isinstance(error, UserError) else UserError(f"trainer: {error}") from error


def together(fabric: Fabric, failure: UserError | Interrupted | None) -> None:
    """Waits for all processes. Raises on every one of them, so that none waits for ever: UserError if one failed,
    Diverged if one found that the model has diverged, Interrupted if one was asked to stop."""
    mine = [isinstance(failure, kind) for kind in (UserError, Diverged, Interrupted)]
    failures, divergences, stops = add_up(fabric, torch.tensor(mine, dtype=torch.float32)).tolist()
    if isinstance(failure, UserError):
        raise failure
    if divergences > 0:
        raise AnotherDiverged("the images of another process have pixels that are NaN or infinite")
    if failures > 0:
        raise AnotherFailed("another process could not go on; it says why")
    if stops > 0:
        asked = fabric.all_reduce(torch.tensor(STOP.signum or 0, device=fabric.device), reduce_op="max")
        raise Interrupted(int(cast(Tensor, asked)))


def precision_of(fabric: Fabric) -> str:
    """The precision that is used, "auto" resolved."""
    return str(fabric.strategy.precision.precision)
