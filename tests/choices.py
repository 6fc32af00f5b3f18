"""One list of every choice, for tests that hold for all of them."""

from ddpm_lightning.diffusion.parameterizations import EDM, X0, Epsilon, Mu, V, Velocity
from ddpm_lightning.diffusion.schedules import (
    ConstantSchedule,
    CosineSchedule,
    JSDSchedule,
    LinearSchedule,
    LogSNRLinearSchedule,
    QuadraticSchedule,
    RectifiedSchedule,
    geometric_schedule,
)
from ddpm_lightning.diffusion.variances import (
    BetaTildeVariance,
    BetaVariance,
    LearnedRangeVariance,
    LearnedVariance,
    LogSpace,
    Sigmoid,
)

SCHEDULES = [
    LinearSchedule(),
    CosineSchedule(),
    QuadraticSchedule(),
    ConstantSchedule(),
    JSDSchedule(),
    LogSNRLinearSchedule(),
    geometric_schedule(),
    RectifiedSchedule(),
]
SHORT_SCHEDULES = [
    LinearSchedule(T=50, beta_1=1e-3, beta_T=0.3),
    CosineSchedule(T=50),
    QuadraticSchedule(T=50, beta_1=1e-3, beta_T=0.4),
    ConstantSchedule(T=50, beta=0.2),
    JSDSchedule(T=50),
    LogSNRLinearSchedule(T=50),
    geometric_schedule(T=50),
    RectifiedSchedule(T=50),
]
FEW_SHORT_SCHEDULES = [SHORT_SCHEDULES[0], SHORT_SCHEDULES[1], SHORT_SCHEDULES[-1]]
"""The linear, the cosine and the rectified schedule, for tests that take long."""
PARAMETERIZATIONS = [Epsilon(), Mu(), X0(), V(), Velocity(), EDM()]
FIXED_VARIANCES = [BetaVariance(), BetaTildeVariance()]
VARIANCES = [
    *FIXED_VARIANCES,
    LearnedVariance(),
    LearnedRangeVariance(LogSpace()),
    LearnedRangeVariance(Sigmoid()),
]


def name(choice: object) -> str:
    """The class's name, for the tests' ids."""
    return type(choice).__name__
