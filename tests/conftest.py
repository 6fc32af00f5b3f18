"""Every annotation of the package is checked at run time while the tests run: shapes, dtypes, classes."""

# Large libraries first: inside the import hook, Python does not find their compiled files and compiles them again.
import diffusers  # noqa: F401
import jaxtyping
import lightning  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch._dynamo
import torchvision  # noqa: F401
import wandb  # noqa: F401

import tests.typechecker  # noqa: F401  # the hook looks it up by name

jaxtyping.install_import_hook("ddpm_lightning", "tests.typechecker.check")

import os
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ["DDPM_LIGHTNING_TRUST"] = "tests"  # whose callbacks break runs off

ROOT = Path(__file__).parent.parent


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
