"""The processes that evaluate together, by way of Lightning Fabric."""

from typing import Any

from lightning.fabric import Fabric
from torch import Tensor

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.results import AddUp
from ddpm_lightning.training.trainer import check_precision, choose_accelerator


def make_fabric(*, accelerator: str = "auto", precision: str = "32-true", **options: Any) -> Fabric:
    """Fabric for evaluation. precision: as in training, but float32 unless asked for, for the numbers are to be
    believed. options: passed on, such as devices and num_nodes."""
    accelerator = choose_accelerator(accelerator)
    try:
        return Fabric(accelerator=accelerator, precision=check_precision(precision, accelerator), **options)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise error if isinstance(error, UserError) else UserError(f"trainer: {error}") from error


def add_up(fabric: Fabric) -> AddUp:
    """A tensor to its sum over all processes."""

    def add(x: Tensor) -> Tensor:
        summed = fabric.all_reduce(x.to(fabric.device), reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed.cpu()

    return add
