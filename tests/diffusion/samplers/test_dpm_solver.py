"""DPM-Solver++(2M) is of second order, UniPC with its corrector of third, and both walk as diffusers' do."""

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import DDIMSampler, Sampler
from ddpm_lightning.diffusion.samplers.dpm_solver import DPMSolver
from ddpm_lightning.diffusion.samplers.spacing import (
    LeadingSpacing,
    LinspaceSpacing,
    QuadraticSpacing,
    Spacing,
    TrailingSpacing,
)
from ddpm_lightning.diffusion.samplers.unipc import UniPC
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaVariance
from tests.diffusion.samplers.test_samplers import random_model
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


PEERS = [(DPMSolver, DPMSolverMultistepScheduler), (UniPC, UniPCMultistepScheduler)]


@pytest.mark.parametrize(("kind", "peer"), PEERS, ids=["dpm", "unipc"])
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
    steps = sampler.trajectory(model, x_T, randn_like=torch.randn_like)
    with torch.no_grad():
        for step, t in zip(steps, scheduler.timesteps, strict=True):
            theirs_x = scheduler.step(model.network(x, t.expand(2)), t, x).prev_sample  # which begins by rounding x
            x = step.x
            assert float((x - theirs_x).abs().max() / x.abs().max()) < 2e-7, step.t
