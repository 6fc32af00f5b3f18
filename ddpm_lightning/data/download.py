"""Asking torchvision for a data set that is not there yet."""

from collections.abc import Callable
from pathlib import Path

from ddpm_lightning.errors import UserError


def download(data_set: Callable[..., object], root: Path, mend: str) -> None:
    """Lets torchvision's data set download itself into root. Raises UserError, with the mend, where it cannot."""
    try:
        data_set(str(root), download=True)
    except (OSError, RuntimeError) as error:
        name = getattr(data_set, "__name__", "the data set")
        raise UserError(f"{name} is not in {root.resolve()} and could not be downloaded ({error}); {mend}") from error
