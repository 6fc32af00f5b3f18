"""Sets up Lightning Fabric for evaluation, and makes its processes fail together."""

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

TIMEOUT = timedelta(days=7)
"""Time that processes wait for another one, which may extract the features of a million images."""


def make_fabric(*, accelerator: str = "auto", precision: str = "32-true", **options: Any) -> Fabric:
    """Returns a Fabric for evaluation.

    Args:
        accelerator: as for training; "auto" is a CUDA GPU or the CPU.
        precision: as for training, but float32 by default, for exact results.
        options: further arguments of Fabric, such as devices and num_nodes.

    Raises:
        UserError: if Fabric refuses an option.
    """
    accelerator = choose_accelerator(accelerator)
    alone = options.get("devices", 1) in (1, "1") and options.get("num_nodes", 1) == 1
    if not alone:
        options.setdefault("strategy", DDPStrategy(timeout=TIMEOUT))
    torch.backends.cudnn.allow_tf32 = False  # TF32 has a mantissa of 10 bits, float32 one of 23
    try:
        precision = check_precision(precision, accelerator)
        return Fabric(accelerator=accelerator, precision=precision, **options)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise error if isinstance(error, UserError) else UserError(f"trainer: {error}") from error


def raise_together(fabric: Fabric, failure: UserError | Interrupted | None) -> None:
    """Waits for all processes, and raises on every one of them if one failed, so that none waits forever.

    Args:
        fabric: the Fabric of the processes.
        failure: the exception of this process, or None.

    Raises:
        UserError: if a process failed; Diverged if that was because the model has diverged.
        Interrupted: if a process was asked to stop.
    """
    mine = [isinstance(failure, kind) for kind in (UserError, Diverged, Interrupted)]
    failures, divergences, stops = add_up(fabric, torch.tensor(mine, dtype=torch.float32)).tolist()
    if isinstance(failure, UserError):
        raise failure
    if divergences > 0:
        raise AnotherDiverged("the images of another process have pixels that are NaN or infinite")
    if failures > 0:
        raise AnotherFailed("another process failed; its message says why")
    if stops > 0:
        asked = fabric.all_reduce(torch.tensor(STOP.signum or 0, device=fabric.device), reduce_op="max")
        raise Interrupted(int(cast(Tensor, asked)))


def precision_of(fabric: Fabric) -> str:
    """Returns the precision of a Fabric, such as "32-true"."""
    return str(fabric.strategy.precision.precision)
