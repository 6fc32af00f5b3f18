"""Training objectives, each one number per example (Ho et al., 2020, Section 3.4, and later work)."""

from ddpm_lightning.diffusion.losses.bound_losses import ELBO, VDM, Hybrid
from ddpm_lightning.diffusion.losses.consistency_tuning import ConsistencyLoss
from ddpm_lightning.diffusion.losses.squared_errors import (
    P2,
    EDMLoss,
    InputPerturbation,
    Loss,
    MinSNR,
    Simple,
    SquaredError,
    TruncatedSNR,
    squared_error,
    x_0_weight,
)
from ddpm_lightning.diffusion.losses.uncertainty import UncertaintyLoss

__all__ = [
    "ELBO",
    "P2",
    "VDM",
    "ConsistencyLoss",
    "EDMLoss",
    "Hybrid",
    "InputPerturbation",
    "Loss",
    "MinSNR",
    "Simple",
    "SquaredError",
    "TruncatedSNR",
    "UncertaintyLoss",
    "squared_error",
    "x_0_weight",
]
