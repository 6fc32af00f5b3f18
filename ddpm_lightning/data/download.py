"""Downloads by torchvision."""

from collections.abc import Callable
from pathlib import Path

from ddpm_lightning.errors import UserError


def download(data_set: Callable[..., object], root: Path, advice: str) -> None:
    """Lets a data set of torchvision download itself.

    Args:
        data_set: a class of torchvision.datasets.
        root: where to.
        advice: what the user can do if it fails, for the message.

    Raises:
        UserError: the download failed.
    """
    try:
        data_set(str(root), download=True)
    except (OSError, RuntimeError) as error:
        name = getattr(data_set, "__name__", "the data set")
        raise UserError(f"{name} is not in {root.resolve()} and could not be downloaded ({error}); {advice}") from error
