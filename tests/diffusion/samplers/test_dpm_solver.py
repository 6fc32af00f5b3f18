"""DPM-Solver++(2M) is of second order, UniPC with its corrector of third, and they walk as diffusers' do."""

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler
from ddpm_lightning.diffusion.samplers.dpm_solver import DPMSolver, DPMSolverSDE
from ddpm_lightning.diffusion.samplers.spacing import (
    LeadingSpacing,
    LinspaceSpacing,
    QuadraticSpacing,
    Spacing,
    TrailingSpacing,
)
from ddpm_lightning.diffusion.samplers.unipc import UniPC
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance
from tests.diffusion.samplers.test_langevin import moments
from tests.diffusion.samplers.test_samplers import noise_from, random_model
from tests.exact import exact_model
from tests.peers import in_float64

STEPS = (10, 20, 40, 80)


@cache
def deviation(sampler: Sampler) -> float:
    """Of x_0 from x_T ~ N(0, 1), for data N(0.3, 0.5²) and the exact network: every step is a line in x_t, and so is
    the whole walk; its slope is the deviation."""
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaVariance(), m=0.3, s=0.5)
    x_T = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    at_0, at_1 = sampler.sample(model, x_T, randn_like=torch.randn_like)
    return float(at_1 - at_0)


@pytest.mark.parametrize("kind", [DPMSolver, UniPC])
def test_on_all_steps_it_recovers_the_data(kind: type[Sampler]) -> None:
    assert deviation(kind(clip_x_0=False)) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(("kind", "order"), [(DPMSolver, 2), (DDIMSampler, 1)])
def test_twice_the_steps_divide_the_error_by_two_to_the_order(kind: type[Sampler], order: int) -> None:
    for coarse, fine in pairwise(errors_of(kind)):
        assert coarse / fine == pytest.approx(2**order, rel=0.35)


def test_the_corrector_is_worth_one_order_more() -> None:
    for coarse, fine in pairwise(errors_of(UniPC)):
        assert coarse / fine > 2**3
    assert errors_of(UniPC)[-1] < errors_of(DPMSolver)[-1] / 5


@cache
def errors_of(kind: type[Sampler]) -> list[float]:
    """Off the walk on all steps, on fewer and fewer."""
    whole = deviation(kind(clip_x_0=False))
    return [abs(deviation(kind(num_steps=k, spacing=QuadraticSpacing(), clip_x_0=False)) - whole) for k in STEPS]


@pytest.mark.parametrize(("kind", "order"), [(DPMSolverSDE, 2), (AncestralSampler, 1)])
def test_the_stochastic_solver_is_of_second_order_in_the_deviation(kind: type[Sampler], order: int) -> None:
    """Of x_0; ancestral sampling is of first order."""
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaVariance(), m=0.3, s=0.5)
    samplers = [kind(num_steps=k, spacing=QuadraticSpacing(), clip_x_0=False) for k in (25, 50, 100)]
    for coarse, fine in pairwise(moments(sampler, model)[1] - 0.5 for sampler in samplers):
        assert coarse / fine == pytest.approx(2**order, rel=0.25)


def test_its_first_step_is_ancestral_sampling_with_beta_tilde() -> None:
    model, x, t = random_model(BetaTildeVariance()), torch.randn(3, 2, 4, 4).double(), torch.tensor([1, 30, 1000])
    ours, ancestral = (kind(clip_x_0=False).step(model, x, t).reverse for kind in (DPMSolverSDE, AncestralSampler))
    torch.testing.assert_close(ours.mean, ancestral.mean)
    torch.testing.assert_close(ours.log_variance, ancestral.log_variance)


def sde_scheduler(*args: Any, **kwargs: Any) -> Any:
    return DPMSolverMultistepScheduler(*args, algorithm_type="sde-dpmsolver++", **kwargs)


PEERS = [(DPMSolver, DPMSolverMultistepScheduler), (DPMSolverSDE, sde_scheduler), (UniPC, UniPCMultistepScheduler)]


@pytest.mark.parametrize(("kind", "peer"), PEERS, ids=["dpm", "sde", "unipc"])
@pytest.mark.parametrize(
    ("spacing", "theirs"),
    [
        (QuadraticSpacing(), {}),
        (LinspaceSpacing(skip_first=True), {"timestep_spacing": "linspace"}),
        (LeadingSpacing(skip_first=True), {"timestep_spacing": "leading"}),
        (TrailingSpacing(), {"timestep_spacing": "trailing"}),
    ],
    ids=["quadratic", "linspace", "leading", "trailing"],
)
def test_trajectory_is_diffusers(kind: type[Sampler], peer: Any, spacing: Spacing, theirs: dict[str, str]) -> None:
    model = random_model(BetaVariance())
    sampler = kind(num_steps=20, spacing=spacing, clip_x_0=False)
    scheduler = in_float64(peer(1000, beta_schedule="linear", final_sigmas_type="zero", **theirs))
    scheduler.set_timesteps(20)
    if not theirs:
        scheduler.timesteps = torch.tensor([t - 1 for t in reversed(spacing.steps(model.process, 20))])
    # What it keeps of its tables it rounds to float32.
    alpha_bar = scheduler.alphas_cumprod[scheduler.timesteps]
    scheduler.sigmas = torch.cat([((1 - alpha_bar) / alpha_bar).sqrt(), torch.zeros(1, dtype=torch.float64)])
    x_T = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    x = x_T
    steps = sampler.trajectory(model, x_T, randn_like=noise_from(5))
    draw = noise_from(5)
    with torch.no_grad():
        for step, t in zip(steps, scheduler.timesteps, strict=True):
            noise = {"variance_noise": draw(x)} if step.t > 1 and kind is DPMSolverSDE else {}
            theirs_x = scheduler.step(model.network(x, t.expand(2)), t, x, **noise).prev_sample  # it first rounds x
            x = step.x
            assert float((x - theirs_x).abs().max() / x.abs().max()) < 2e-7, step.t
