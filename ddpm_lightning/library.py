"""The public names of `from ddpm_lightning import …`: the method and the networks.

Nothing here imports Lightning or Hydra.
"""

from ddpm_lightning.diffusion.analytic_variance import AnalyticVariance, estimate_gamma, save_gamma
from ddpm_lightning.diffusion.conditional.classifier_free import ClassifierFreeGuidance, IntervalGuidance
from ddpm_lightning.diffusion.conditional.conditioning import ClassConditioning
from ddpm_lightning.diffusion.conditional.guidance import AutoGuidance, Guidance
from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.likelihood import bits_per_dimension, estimate_bound, every_term, harmonic
from ddpm_lightning.diffusion.losses import (
    ELBO,
    P2,
    VDM,
    ConsistencyLoss,
    EDMLoss,
    Hybrid,
    InputPerturbation,
    Loss,
    MinSNR,
    Simple,
    TruncatedSNR,
    UncertaintyLoss,
)
from ddpm_lightning.diffusion.mixture import BestNetwork, Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import EDM, X0, Epsilon, Mu, Parameterization, V, Velocity
from ddpm_lightning.diffusion.probability_flow import ProbabilityFlow, every_direction, random_signs
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.restoration.measurements import AveragePooling, LinearMeasurement, Mask
from ddpm_lightning.diffusion.restoration.pseudoinverse import PseudoinverseGuidance
from ddpm_lightning.diffusion.restoration.repaint import RePaint
from ddpm_lightning.diffusion.restoration.sdedit import SDEdit
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler, Traits
from ddpm_lightning.diffusion.samplers.consistency import ConsistencySampler
from ddpm_lightning.diffusion.samplers.dpm_solver import DPMSolver, DPMSolverSDE
from ddpm_lightning.diffusion.samplers.edm import EulerSampler, HeunSampler
from ddpm_lightning.diffusion.samplers.langevin import LangevinSampler, PredictorCorrector
from ddpm_lightning.diffusion.samplers.restart import RestartSampler
from ddpm_lightning.diffusion.samplers.spacing import (
    KarrasSpacing,
    LeadingSpacing,
    LinspaceSpacing,
    QuadraticSpacing,
    Spacing,
    TrailingSpacing,
    UniformSpacing,
)
from ddpm_lightning.diffusion.samplers.unipc import UniPC
from ddpm_lightning.diffusion.schedules import (
    ConstantSchedule,
    CosineSchedule,
    GivenSchedule,
    JSDSchedule,
    LinearSchedule,
    LogSNRLinearSchedule,
    QuadraticSchedule,
    RectifiedSchedule,
    Schedule,
    geometric_schedule,
)
from ddpm_lightning.diffusion.timesteps import (
    ImportanceTimesteps,
    LogitNormalTimesteps,
    LogNormalTimesteps,
    LowDiscrepancyTimesteps,
    UniformTimesteps,
)
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.diffusion.variances import (
    BetaTildeVariance,
    BetaVariance,
    LearnedRangeVariance,
    LearnedVariance,
    LogSpace,
    Sigmoid,
    Variance,
)
from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.adm import ADM
from ddpm_lightning.networks.dit import DiT
from ddpm_lightning.networks.mlp import MLP
from ddpm_lightning.networks.unet import UNet

__all__ = [
    "ADM",
    "EDM",
    "ELBO",
    "MLP",
    "P2",
    "VDM",
    "X0",
    "AnalyticVariance",
    "AncestralSampler",
    "AutoGuidance",
    "AveragePooling",
    "BestNetwork",
    "BetaTildeVariance",
    "BetaVariance",
    "ClassConditioning",
    "ClassifierFreeGuidance",
    "ConsistencyLoss",
    "ConsistencySampler",
    "ConstantSchedule",
    "CosineSchedule",
    "DDIMSampler",
    "DPMSolver",
    "DPMSolverSDE",
    "DenoisingDiffusion",
    "DiT",
    "EDMLoss",
    "Epsilon",
    "EulerSampler",
    "Gaussian",
    "GaussianDiffusion",
    "GivenSchedule",
    "Guidance",
    "HeunSampler",
    "Hybrid",
    "ImportanceTimesteps",
    "InputPerturbation",
    "IntervalGuidance",
    "JSDSchedule",
    "KarrasSpacing",
    "LangevinSampler",
    "LeadingSpacing",
    "LearnedRangeVariance",
    "LearnedVariance",
    "LinearMeasurement",
    "LinearSchedule",
    "LinspaceSpacing",
    "LogNormalTimesteps",
    "LogSNRLinearSchedule",
    "LogSpace",
    "LogitNormalTimesteps",
    "Loss",
    "LowDiscrepancyTimesteps",
    "Mask",
    "MinSNR",
    "Mixture",
    "Mu",
    "Parameterization",
    "PredictorCorrector",
    "ProbabilityFlow",
    "PseudoinverseGuidance",
    "QuadraticSchedule",
    "QuadraticSpacing",
    "RePaint",
    "RectifiedSchedule",
    "RestartSampler",
    "SDEdit",
    "Sampler",
    "Schedule",
    "Sigmoid",
    "Simple",
    "Spacing",
    "TrailingSpacing",
    "Traits",
    "TruncatedSNR",
    "UNet",
    "UncertaintyLoss",
    "UniPC",
    "UniformSpacing",
    "UniformTimesteps",
    "UserError",
    "V",
    "Variance",
    "VarianceExploding",
    "Velocity",
    "bits_per_dimension",
    "estimate_bound",
    "estimate_gamma",
    "every_direction",
    "every_term",
    "geometric_schedule",
    "harmonic",
    "random_signs",
    "save_gamma",
]
