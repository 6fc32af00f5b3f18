"""Every annotation of the package is checked at run time while the tests run: shapes, dtypes, classes."""

import importlib
import os
from pathlib import Path

import jaxtyping
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import tests.typechecker  # noqa: F401  # the import hook looks it up by name

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ["DDPM_LIGHTNING_TRUST"] = "tests"  # whose callbacks break runs off

ROOT = Path(__file__).parent.parent
LARGE = ("diffusers", "lightning", "matplotlib.pyplot", "sklearn.datasets", "torch._dynamo", "torchvision", "wandb")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Imports large libraries, then installs the import hook, inside which Python does not find their compiled files.

    The process that only hands tests to others does without both."""
    if session.config.getoption("dist", "no") == "no":
        for library in LARGE:
            importlib.import_module(library)
        jaxtyping.install_import_hook("ddpm_lightning", "tests.typechecker.check")


@pytest.fixture(autouse=True)
def _same_randomness() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _without_the_last_tests_hydra() -> None:
    """A command in this process leaves its configuration behind, which holds the folder where it was given."""
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT
