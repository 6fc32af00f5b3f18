"""One list of every choice, for tests that hold for all of them."""

from ddpm_lightning.diffusion.parameterizations import X0, Epsilon, Mu, V
from ddpm_lightning.diffusion.schedules import (
    ConstantSchedule,
    CosineSchedule,
    GeometricSchedule,
    JSDSchedule,
    LinearSchedule,
    LogSNRLinearSchedule,
    QuadraticSchedule,
)
from ddpm_lightning.diffusion.variances import (
    BetaTildeVariance,
    BetaVariance,
    LearnedRangeVariance,
    LearnedSigmoidVariance,
    LearnedVariance,
    LogSpace,
)

SCHEDULES = [
    LinearSchedule(),
    CosineSchedule(),
    QuadraticSchedule(),
    ConstantSchedule(),
    JSDSchedule(),
    LogSNRLinearSchedule(),
    GeometricSchedule(),
]
SHORT_SCHEDULES = [
    LinearSchedule(T=50, beta_1=1e-3, beta_T=0.3),
    CosineSchedule(T=50),
    QuadraticSchedule(T=50, beta_1=1e-3, beta_T=0.4),
    ConstantSchedule(T=50, beta=0.2),
    JSDSchedule(T=50),
    LogSNRLinearSchedule(T=50),
    GeometricSchedule(T=50),
]
PARAMETERIZATIONS = [Epsilon(), Mu(), X0(), V()]
FIXED_VARIANCES = [BetaVariance(), BetaTildeVariance()]
VARIANCES = [
    *FIXED_VARIANCES,
    LearnedVariance(),
    LearnedRangeVariance(LogSpace()),
    LearnedSigmoidVariance(),
]


def name(choice: object) -> str:
    """The class's name, for the tests' ids."""
    return type(choice).__name__
