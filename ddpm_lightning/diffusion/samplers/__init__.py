"""Samplers, which generate x_0 from x_T ~ N(0, I): one file each, on the loop in `base`."""

from ddpm_lightning.diffusion.samplers.ancestral import AncestralSampler
from ddpm_lightning.diffusion.samplers.base import RandnLike, Sampler, Step, Traits, end_of
from ddpm_lightning.diffusion.samplers.consistency import ConsistencySampler
from ddpm_lightning.diffusion.samplers.ddim import DDIMSampler
from ddpm_lightning.diffusion.samplers.dpm_solver import DPMSolver, DPMSolverSDE
from ddpm_lightning.diffusion.samplers.edm import EulerSampler, HeunSampler
from ddpm_lightning.diffusion.samplers.langevin import LangevinSampler, PredictorCorrector
from ddpm_lightning.diffusion.samplers.restart import RestartSampler
from ddpm_lightning.diffusion.samplers.spacing import (
    KarrasSpacing,
    LeadingSpacing,
    QuadraticSpacing,
    Spacing,
    TrailingSpacing,
    UniformSpacing,
)
from ddpm_lightning.diffusion.samplers.unipc import UniPC

__all__ = [
    "AncestralSampler",
    "ConsistencySampler",
    "DDIMSampler",
    "DPMSolver",
    "DPMSolverSDE",
    "EulerSampler",
    "HeunSampler",
    "KarrasSpacing",
    "LangevinSampler",
    "LeadingSpacing",
    "PredictorCorrector",
    "QuadraticSpacing",
    "RandnLike",
    "RestartSampler",
    "Sampler",
    "Spacing",
    "Step",
    "TrailingSpacing",
    "Traits",
    "UniPC",
    "UniformSpacing",
    "end_of",
]
