"""Consistency sampling: the end of the probability flow, the distribution of the data, and diffusers' LCM."""

import math
from itertools import product

import pytest
import torch
from diffusers import LCMScheduler

from ddpm_lightning.diffusion.parameterizations import Epsilon, Parameterization, V
from ddpm_lightning.diffusion.probability_flow import ProbabilityFlow
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import ConsistencySampler, LeadingSpacing, TrailingSpacing
from ddpm_lightning.diffusion.schedules import LinearSchedule, RectifiedSchedule, Schedule
from ddpm_lightning.diffusion.variances import BetaVariance
from tests.choices import PARAMETERIZATIONS, SCHEDULES
from tests.commands import slow
from tests.diffusion.samplers.test_every_sampler import sampler_of
from tests.diffusion.samplers.test_langevin import moments
from tests.diffusion.samplers.test_samplers import noise_from, random_model
from tests.exact import consistency_model, exact_model
from tests.peers import in_float64

PROCESS = GaussianDiffusion(LinearSchedule())


def test_one_call_of_the_exact_function_lands_where_the_flow_does() -> None:
    """The flow ends at σ_1, so its end is taken to 0 by the closed form: √(s² + σ²) shrinks to s."""
    m, s = 0.3, 0.5
    x_T = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    sampler = ConsistencySampler(num_steps=1, clip_x_0=False)
    ours = sampler.sample(consistency_model(PROCESS, V(), m, s), x_T, randn_like=torch.randn_like)
    flow = ProbabilityFlow(exact_model(PROCESS, Epsilon(), BetaVariance(), m, s), num_steps=20)
    sigma_1 = math.sqrt(1 / PROCESS.alpha_bar[1].item() - 1)
    end = m + s / math.sqrt(s**2 + sigma_1**2) * (flow.decode(x_T) - m)
    torch.testing.assert_close(ours, end, rtol=0, atol=2e-4)


QUICK = [(schedule, V(), 2) for schedule in (LinearSchedule(), RectifiedSchedule())]


@pytest.mark.parametrize(
    ("schedule", "parameterization", "num_steps"), [*QUICK, *slow(*product(SCHEDULES, PARAMETERIZATIONS, (1, 2, 5)))]
)
def test_it_draws_from_the_data_in_any_number_of_calls(
    schedule: Schedule, parameterization: Parameterization, num_steps: int
) -> None:
    """To the noise that is N(0, 1) in place of q(x_T)."""
    process = GaussianDiffusion(schedule)
    sampler = ConsistencySampler(num_steps=num_steps, spacing=TrailingSpacing(), clip_x_0=False)
    mean, deviation = moments(sampler, consistency_model(process, parameterization, m=0.3, s=0.5))
    assert mean == pytest.approx(0.3, abs=5e-3)
    assert deviation == pytest.approx(0.5, rel=1e-3)


def test_trajectory_is_that_of_latent_consistency_models() -> None:
    """In diffusers, whose boundary condition mixes in x_t by 1e-8 at these t."""
    model = random_model(BetaVariance())
    sampler = ConsistencySampler(num_steps=4, spacing=LeadingSpacing(skip_first=True), clip_x_0=False)
    scheduler = in_float64(LCMScheduler(1000, beta_schedule="linear", beta_start=1e-4, beta_end=0.02))
    scheduler.set_timesteps(4)
    scheduler.timesteps = torch.tensor(sampler.visited(model)[::-1]) - 1
    generator = torch.Generator().manual_seed(5)
    x_T = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    x = x_T
    steps = sampler.trajectory(model, x_T, randn_like=noise_from(5))
    with torch.no_grad():
        for step, t in zip(steps, scheduler.timesteps, strict=True):
            x = scheduler.step(model.network(x, t.expand(2)), t, x, generator=generator).prev_sample
            torch.testing.assert_close(step.x, x, rtol=1e-6, atol=1e-6)


def test_two_calls_return_to_noise_of_the_size_of_the_image() -> None:
    option, model = sampler_of("consistency"), random_model(BetaVariance())
    assert option.calls(model) == 2
    assert option.visited(model) == [266, 1000]  # σ_266 = 1.06
    assert ConsistencySampler(num_steps=1).traits.random is False
    assert option.traits.random
    assert option.label(model) == "consistency2_quadratic_skip_first"
