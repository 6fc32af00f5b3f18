"""Denoising Diffusion Probabilistic Models (Ho, Jain & Abbeel, 2020) on PyTorch Lightning and Hydra."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddpm_lightning.library import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Returns a name of `library`, imported on first use: torch takes seconds to import, and --help needs none."""
    library = import_module("ddpm_lightning.library")
    if name == "__all__":
        return library.__all__
    if name not in library.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; there are {', '.join(library.__all__)}")
    return getattr(library, name)


def __dir__() -> list[str]:
    names: list[str] = import_module("ddpm_lightning.library").__all__
    return [*globals(), *names]
