"""Samplers with the exact network recover the data's distribution, and walk as diffusers' do."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor, nn

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon, Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, RestartSampler, Sampler
from ddpm_lightning.diffusion.samplers.dpm_solver import DPMSolver, DPMSolverSDE
from ddpm_lightning.diffusion.samplers.langevin import LangevinSampler, PredictorCorrector
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
from ddpm_lightning.diffusion.schedules import ConstantSchedule, LinearSchedule, Schedule
from ddpm_lightning.diffusion.variances import (
    BetaTildeVariance,
    BetaVariance,
    LearnedRangeVariance,
    LearnedVariance,
    Sigmoid,
    Variance,
)
from ddpm_lightning.errors import UserError
from tests.choices import FIXED_VARIANCES, PARAMETERIZATIONS, SCHEDULES, name
from tests.exact import exact_model
from tests.peers import in_float64

ANCESTRAL = AncestralSampler(clip_x_0=False)


def chain_of(T: int) -> GaussianDiffusion:
    return GaussianDiffusion(LinearSchedule(T=T))


def final_moments(sampler: Sampler, model: DenoisingDiffusion) -> tuple[float, float]:
    """Mean and standard deviation of x_0, in closed form: with an exact network every step is a line in x_t plus
    Gaussian noise. The line is read off `step` at x_t = 0 and x_t = 1, for all t at once."""
    chain = sampler.chain(model)
    t = torch.arange(1, chain.process.T + 1)
    zero = torch.zeros(len(t), 1, dtype=torch.float64)
    at_0, at_1 = sampler.step(chain, zero, t).reverse, sampler.step(chain, zero + 1, t).reverse
    slope, noise = at_1.mean - at_0.mean, at_0.log_variance.exp().expand_as(zero)
    mean, variance = 0.0, 1.0
    for i in reversed(range(len(t))):
        mean = slope[i].item() * mean + at_0.mean[i].item()
        variance = slope[i].item() ** 2 * variance + (noise[i].item() if i > 0 else 0.0)
    return mean, math.sqrt(variance)


def posterior_variance(process: GaussianDiffusion, s: float) -> Tensor:
    """Var(x_0 | x_t) of data N(m, s²): [T+1]."""
    return s**2 * (1 - process.alpha_bar) / (process.alpha_bar * s**2 + 1 - process.alpha_bar)


def best_log_variance(process: GaussianDiffusion, s: float) -> Tensor:
    """log Var(x_{t−1} | x_t) = log(β̃_t + c_x_0² Var(x_0 | x_t)): what a learned variance should say. [T+1]."""
    return (process.beta_tilde + process.c_x_0.square() * posterior_variance(process, s)).log()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_learned_variance_recovers_any_gaussian(schedule: Schedule, parameterization: Parameterization) -> None:
    """To the last noiseless step, which takes away Var(x_0 | x_1), and to x_T ~ N(0, 1), which is nearly q(x_T)."""
    process, m, s = GaussianDiffusion(schedule), 0.3, 0.5
    v = best_log_variance(process, s)
    model = exact_model(process, parameterization, LearnedVariance(), m, s, v=v)
    mean, deviation = final_moments(ANCESTRAL, model)
    missing = posterior_variance(process, s)[1].item()
    assert mean == pytest.approx(m, abs=1e-3)
    assert deviation == pytest.approx(math.sqrt(s**2 - missing), rel=1e-3)


# With β_1 = 0.01, the constant schedule's noiseless last step is too long for this test; a finer chain's is not.
FINE_SCHEDULES = [s for s in SCHEDULES if not isinstance(s, ConstantSchedule)] + [ConstantSchedule(T=4000, beta=0.0025)]


@pytest.mark.parametrize("schedule", FINE_SCHEDULES, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
@pytest.mark.parametrize(
    "variance", [*FIXED_VARIANCES, LearnedRangeVariance(), LearnedRangeVariance(Sigmoid())], ids=name
)
@pytest.mark.parametrize("sampler", [ANCESTRAL, *(DDIMSampler(eta=eta, clip_x_0=False) for eta in (0.0, 0.5, 1.0))])
def test_every_combination_recovers_a_gaussian(
    schedule: Schedule, parameterization: Parameterization, variance: Variance, sampler: Sampler
) -> None:
    process, m, s = GaussianDiffusion(schedule), 0.3, 0.5
    v = torch.zeros(schedule.T + 1, dtype=torch.float64) if variance.learned else None
    mean, deviation = final_moments(sampler, exact_model(process, parameterization, variance, m, s, v=v))
    assert mean == pytest.approx(m, abs=5e-3)
    assert deviation == pytest.approx(s, rel=0.03)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_beta_is_exact_for_unit_gaussian_data_and_beta_tilde_for_a_point(schedule: Schedule) -> None:
    """Section 3.2 of the paper. The last step is noiseless, so 1 − β_1 of the unit variance arrives."""
    process = GaussianDiffusion(schedule)
    _, deviation = final_moments(ANCESTRAL, exact_model(process, Epsilon(), BetaVariance(), s=1.0))
    assert deviation == pytest.approx(math.sqrt(1 - process.beta[1].item()), rel=1e-9)
    mean, deviation = final_moments(ANCESTRAL, exact_model(process, Epsilon(), BetaTildeVariance(), m=0.4, s=0.0))
    assert mean == pytest.approx(0.4, abs=1e-9)
    assert deviation == pytest.approx(0.0, abs=1e-9)


def test_beta_tilde_is_not_exact_for_unit_gaussian_data() -> None:
    """The tests above can fail: on a coarse chain the two choices are far apart."""
    process = GaussianDiffusion(LinearSchedule())
    coarse = AncestralSampler(num_steps=10, clip_x_0=False)
    _, right = final_moments(coarse, exact_model(process, Epsilon(), BetaVariance(), s=1.0))
    _, wrong = final_moments(coarse, exact_model(process, Epsilon(), BetaTildeVariance(), s=1.0))
    assert right == pytest.approx(1.0, abs=0.01)
    assert wrong < 0.9


def test_coarse_chain_recovers_unit_gaussian_data_with_recomputed_beta() -> None:
    process = GaussianDiffusion(LinearSchedule())
    for spacing in (UniformSpacing(), QuadraticSpacing()):
        sampler = AncestralSampler(num_steps=20, spacing=spacing, clip_x_0=False)
        _, deviation = final_moments(sampler, exact_model(process, Epsilon(), BetaVariance()))
        assert deviation == pytest.approx(math.sqrt(1 - process.beta[1].item()), rel=1e-9)


def test_whole_trajectory_recovers_a_gaussian_by_drawing() -> None:
    process = GaussianDiffusion(LinearSchedule())
    model = exact_model(process, Epsilon(), BetaVariance(), m=0.2, s=0.3)
    x_T = torch.randn(20_000, 1)
    x_0 = AncestralSampler(num_steps=200).sample(model, x_T, randn_like=torch.randn_like)
    assert x_0.mean().item() == pytest.approx(0.2, abs=0.01)
    assert x_0.std().item() == pytest.approx(0.3, rel=0.03)


class Random(nn.Module):
    """A smooth network that knows nothing, in float64."""

    def __init__(self, extra: int = 1) -> None:
        super().__init__()
        self.conv_0, self.conv_1 = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 2 * extra, 3, padding=1)
        self.double()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.conv_1(torch.tanh(self.conv_0(x) + t[:, None, None, None] / 1000))


def noise_from(seed: int):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)


def random_model(variance: Variance, T: int = 1000) -> DenoisingDiffusion:
    network = Random(extra=2 if variance.learned else 1)
    return DenoisingDiffusion(network, GaussianDiffusion(LinearSchedule(T=T)), Epsilon(), variance)


@pytest.mark.parametrize(
    ("variance", "theirs"),
    [(BetaVariance(), "fixed_large"), (BetaTildeVariance(), "fixed_small"), (LearnedRangeVariance(), "learned_range")],
    ids=["beta", "beta_tilde", "learned_range"],
)
def test_ancestral_trajectory_is_diffusers(variance: Variance, theirs: str) -> None:
    """The whole chain with the same noise, compared at every step."""
    model = random_model(variance, T=200)
    scheduler = in_float64(DDPMScheduler(200, beta_schedule="linear", variance_type=theirs))
    generator = torch.Generator().manual_seed(5)
    x_T = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    x = x_T
    with torch.no_grad():
        for step in AncestralSampler().trajectory(model, x_T, randn_like=noise_from(5)):
            output = model.network(x, torch.full((2,), step.t - 1))
            x = scheduler.step(output, step.t - 1, x, generator=generator).prev_sample
            assert torch.allclose(step.x, x, atol=1e-9), step.t


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_steps", [1, 10, 50])
@pytest.mark.parametrize(("spacing", "theirs"), [(LeadingSpacing(), "leading"), (TrailingSpacing(), "trailing")])
def test_ddim_trajectory_is_diffusers(spacing: Spacing, theirs: str, num_steps: int, eta: float) -> None:
    """Where K divides T, and not with "linspace": diffusers' DDIM steps from t to t − ⌊T/K⌋, wherever it goes on."""
    model = random_model(BetaVariance())
    scheduler = in_float64(DDIMScheduler(1000, beta_schedule="linear", timestep_spacing=theirs))
    scheduler.set_timesteps(num_steps)
    generator = torch.Generator().manual_seed(5)
    x_T = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    sampler = DDIMSampler(num_steps=num_steps, spacing=spacing, eta=eta)
    steps = sampler.trajectory(model, x_T, randn_like=noise_from(5))
    x = x_T
    with torch.no_grad():
        for step, t in zip(steps, scheduler.timesteps, strict=True):
            output = model.network(x, t.expand(2))
            x = scheduler.step(output, t, x, eta=eta, use_clipped_model_output=True, generator=generator).prev_sample
            assert torch.allclose(step.x, x, atol=1e-9), step.t


def test_ddim_with_eta_1_is_ancestral_with_beta_tilde() -> None:
    model = random_model(BetaTildeVariance())
    x_T = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    for num_steps in (100, 30):
        ddim = DDIMSampler(num_steps=num_steps, eta=1.0).sample(model, x_T, randn_like=noise_from(1))
        ancestral = AncestralSampler(num_steps=num_steps).sample(model, x_T, randn_like=noise_from(1))
        assert torch.allclose(ddim, ancestral, atol=1e-9)


def test_trajectory_ends_in_the_sample_and_counts_down() -> None:
    model, x_T = random_model(BetaVariance()), torch.randn(1, 2, 4, 4, dtype=torch.float64)
    sampler = AncestralSampler(num_steps=7)
    steps = list(sampler.trajectory(model, x_T, randn_like=noise_from(1)))
    assert [step.t for step in steps] == [7, 6, 5, 4, 3, 2, 1]
    assert torch.equal(steps[-1].x, sampler.sample(model, x_T, randn_like=noise_from(1)))
    assert torch.allclose(steps[-1].x, steps[-1].x_0_hat)  # at t = 1 the mean is x̂_0, and no noise is added
    assert all(step.x_0_hat.abs().max() <= 1 for step in steps)
    assert not steps[-1].x.requires_grad


@pytest.mark.parametrize(
    "spacing", [UniformSpacing(), LinspaceSpacing(), QuadraticSpacing(), TrailingSpacing()], ids=name
)
@pytest.mark.parametrize(("T", "K"), [(1000, 2), (1000, 50), (1000, 999), (1000, 1000), (10, 9), (2, 2)])
def test_spacings_choose_distinct_steps_from_1_to_T(spacing: Spacing, T: int, K: int) -> None:
    steps = spacing.steps(chain_of(T), K)
    assert len(steps) == len(set(steps)) == K
    assert steps == sorted(steps)
    assert steps[-1] == T
    assert steps[0] == 1 or isinstance(spacing, TrailingSpacing)


@pytest.mark.parametrize(
    "sampler",
    [kind(num_steps=5) for kind in (AncestralSampler, DDIMSampler, DPMSolver, UniPC, LangevinSampler, DPMSolverSDE)]
    + [DDIMSampler(num_steps=5, eta=0.5), PredictorCorrector(num_steps=5, eta=0.0), RestartSampler(num_steps=5)],
)
def test_a_sampler_knows_whether_it_is_random(sampler: Sampler) -> None:
    model = random_model(BetaVariance())
    x_T = torch.randn(2, 2, 4, 4).double()
    one, other = (sampler.sample(model, x_T, randn_like=noise_from(seed)) for seed in (0, 1))
    assert torch.equal(one, other) is not sampler.traits.random


@pytest.mark.parametrize(
    ("sampler", "draws"),
    [
        (AncestralSampler(num_steps=5), 4),
        (DDIMSampler(num_steps=5, eta=0.5), 4),
        (DPMSolverSDE(num_steps=5), 4),
        (RestartSampler(num_steps=5, restarts=3), 3),
        *((kind(num_steps=5), 0) for kind in (DDIMSampler, DPMSolver, UniPC)),
    ],
)
def test_noise_is_drawn_only_where_it_is_added(sampler: Sampler, draws: int) -> None:
    drawn = []
    x_T = torch.randn(2, 2, 4, 4).double()
    sampler.sample(random_model(BetaVariance()), x_T, randn_like=lambda x: drawn.append(x) or torch.randn_like(x))
    assert len(drawn) == draws


DIFFUSERS = [
    (DDIMScheduler, "linspace", LinspaceSpacing()),
    (DDIMScheduler, "leading", LeadingSpacing()),
    (DDIMScheduler, "trailing", TrailingSpacing()),
    (DPMSolverMultistepScheduler, "linspace", LinspaceSpacing(skip_first=True)),
    (DPMSolverMultistepScheduler, "leading", LeadingSpacing(skip_first=True)),
    (DPMSolverMultistepScheduler, "trailing", TrailingSpacing()),
    (UniPCMultistepScheduler, "linspace", LinspaceSpacing(skip_first=True)),
    (UniPCMultistepScheduler, "leading", LeadingSpacing(skip_first=True)),
    (UniPCMultistepScheduler, "trailing", TrailingSpacing()),
]
"""A scheduler, its timestep_spacing, and what that is here."""


@pytest.mark.parametrize(("scheduler", "theirs", "ours"), DIFFUSERS)
@pytest.mark.parametrize("K", [2, 3, 5, 7, 10, 11, 50, 300])
def test_spacings_are_those_of_diffusers(scheduler: Callable[..., Any], theirs: str, ours: Spacing, K: int) -> None:
    peer = scheduler(1000, timestep_spacing=theirs)
    peer.set_timesteps(K)
    assert ours.steps(chain_of(1000), K) == sorted(int(t) + 1 for t in peer.timesteps)


@pytest.mark.parametrize(
    "kind", [UniformSpacing, LinspaceSpacing, QuadraticSpacing, LeadingSpacing, TrailingSpacing, KarrasSpacing]
)
@pytest.mark.parametrize("K", [1, 2, 7, 9])
def test_skip_first_leaves_out_the_first_of_one_step_more(kind: Callable[..., Spacing], K: int) -> None:
    assert kind(skip_first=True).steps(chain_of(10), K) == kind().steps(chain_of(10), K + 1)[1:]


def test_uniform_and_linspace_round_halves_differently() -> None:
    """The first as the published results of experiments/ were made, the second as diffusers."""
    assert UniformSpacing().steps(chain_of(1000), 5) == [1, 251, 500, 750, 1000]
    assert LinspaceSpacing().steps(chain_of(1000), 5) == [1, 251, 501, 750, 1000]
    assert DDIMSampler(num_steps=5, spacing=LinspaceSpacing()).label(random_model(BetaVariance())) == "ddim5_linspace"


def test_leading_spacing_is_that_of_the_ddim_paper() -> None:
    assert LeadingSpacing().steps(chain_of(1000), 10) == list(range(1, 1000, 100))
    assert LeadingSpacing().steps(chain_of(10), 3) == [1, 4, 7]


ONE_STEP = [(UniformSpacing(), 1000), (QuadraticSpacing(), 1000), (TrailingSpacing(), 1000), (LeadingSpacing(), 1)]


@pytest.mark.parametrize(("spacing", "only"), ONE_STEP, ids=lambda value: name(value))
@pytest.mark.parametrize("sampler", [AncestralSampler, DDIMSampler, DPMSolver, DPMSolverSDE, UniPC])
def test_one_step_leads_to_the_guess_of_x_0(sampler: Callable[..., Sampler], spacing: Spacing, only: int) -> None:
    model, x_T = random_model(BetaVariance()), torch.randn(2, 2, 4, 4, dtype=torch.float64)
    walker = sampler(num_steps=1, spacing=spacing)
    assert walker.chain(model).steps.tolist() == [0, only]
    with torch.no_grad():
        x_0_hat = model.predict_x_0(x_T, torch.full((2,), only), clip_x_0=True)
    assert torch.allclose(walker.sample(model, x_T, randn_like=noise_from(0)), x_0_hat, atol=1e-9)
    assert walker.label(model).startswith(f"{walker.name}1")


def test_quadratic_spacing_is_denser_at_small_t() -> None:
    steps = QuadraticSpacing().steps(chain_of(1000), 20)
    gaps = [after - before for before, after in pairwise(steps)]
    assert gaps == sorted(gaps)
    assert UniformSpacing().steps(chain_of(1000), 4) == [1, 334, 667, 1000]


def test_impossible_samplers_are_refused() -> None:
    model = random_model(LearnedVariance())
    with pytest.raises(UserError, match=r"num_steps=0 lies outside 1\.\.1000"):
        DDIMSampler(num_steps=0).chain(model)
    with pytest.raises(UserError, match=r"num_steps=1000 lies outside 1\.\.999"):
        DDIMSampler(num_steps=1000, spacing=UniformSpacing(skip_first=True)).chain(model)
    with pytest.raises(UserError, match="num_steps=1001 lies outside"):
        DDIMSampler(num_steps=1001).chain(model)
    with pytest.raises(UserError, match="longer steps than those whose variance the network learned"):
        AncestralSampler(num_steps=50).chain(model)
    with pytest.raises(UserError, match=r"eta=1\.5"):
        DDIMSampler(eta=1.5)
    assert DDIMSampler(num_steps=50).chain(model).process.T == 50  # DDIM has its own variance


@pytest.mark.parametrize("sampler", [AncestralSampler, DDIMSampler, DPMSolver, DPMSolverSDE, UniPC])
def test_a_sampler_follows_the_variance_where_it_says_so(sampler: Callable[..., Sampler]) -> None:
    """Of two models that differ in σ_t² alone."""
    walker, network, x_T = sampler(num_steps=10), Random(), torch.randn(2, 2, 4, 4, dtype=torch.float64)
    process = GaussianDiffusion(LinearSchedule())
    one, other = (
        walker.sample(DenoisingDiffusion(network, process, Epsilon(), variance), x_T, randn_like=noise_from(0))
        for variance in (BetaVariance(), BetaTildeVariance())
    )
    assert torch.equal(one, other) == (not walker.traits.follows_variance)
