"""Variance-exploding noise is variance-preserving noise seen elsewhere: marginals, scores, whole trajectories."""

import pytest
import torch
from diffusers import EulerDiscreteScheduler, ScoreSdeVeScheduler

from ddpm_lightning.diffusion.mixture import Mixture
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler
from ddpm_lightning.diffusion.schedules import LogSNRLinearSchedule, Schedule, geometric_schedule
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance
from ddpm_lightning.errors import UserError
from tests.choices import PARAMETERIZATIONS, SCHEDULES, name
from tests.diffusion.samplers.test_samplers import noise_from, random_model
from tests.diffusion.test_mixture import MEANS, PROCESS, S, model_of, some
from tests.peers import in_float64


def test_the_geometric_schedule_is_that_of_diffusers() -> None:
    scheduler = ScoreSdeVeScheduler(1000, sigma_min=0.01, sigma_max=50)
    scheduler.set_sigmas(1000, sigma_min=0.01, sigma_max=50, sampling_eps=0.001)
    ours = VarianceExploding(GaussianDiffusion(geometric_schedule())).sigma[1:]
    assert torch.allclose(ours, scheduler.discrete_sigmas.double(), rtol=1e-5)  # theirs are in float32


def test_the_geometric_schedule_is_linear_in_log_snr() -> None:
    process = GaussianDiffusion(geometric_schedule(sigma_min=0.01, sigma_max=157.4))
    steps = process.half_log_snr[1:].diff()
    assert torch.allclose(steps, steps[:1].expand_as(steps), rtol=1e-6)
    vdm = GaussianDiffusion(LogSNRLinearSchedule())  # from 9.21 to −10.118
    assert torch.allclose(process.alpha_bar, vdm.alpha_bar, rtol=1e-3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_every_chain_is_one_of_exploding_variance(schedule: Schedule) -> None:
    """Steps add σ_t² − σ_{t−1}² to the variance of y (Song et al., 2021, Eq. 8); and q_sample is the other's."""
    process = GaussianDiffusion(schedule)
    exploding = VarianceExploding(process)
    added = (process.beta / process.alpha_bar)[1:]  # of x_t = √α_t x_{t−1} + √β_t ε, over ᾱ_t
    assert torch.allclose(exploding.sigma.square().diff(), added, rtol=1e-6)
    x_0, eps = torch.randn(2, 3, 2, dtype=torch.float64)
    t = torch.tensor([1, schedule.T // 2, schedule.T])
    y_t = exploding.q_sample(x_0, t, eps)
    assert torch.allclose(exploding.leave(y_t, t), process.q_sample(x_0, t, eps))
    assert torch.allclose(exploding.enter(exploding.leave(y_t, t), t), y_t)
    assert torch.allclose(exploding.marginal(x_0, t).sample(eps), y_t)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
@pytest.mark.parametrize("t", [1, 300, 1000])
def test_the_score_is_the_gradient_of_the_log_density(parameterization: object, t: int) -> None:
    exploding = VarianceExploding(PROCESS)
    x_t, steps = some(t)
    y = exploding.enter(x_t, steps).requires_grad_()
    log_density = Mixture(MEANS, S).log_density(PROCESS, exploding.leave(y, steps), steps)  # but for a constant
    (gradient,) = torch.autograd.grad(log_density.sum(), y)
    ours = exploding.score(model_of(parameterization), y.detach(), steps)  # type: ignore[arg-type]
    assert torch.allclose(ours, gradient, rtol=1e-6, atol=1e-8)


def test_ancestral_sampling_is_that_of_exploding_variance() -> None:
    """q(y_{t−1} | y_t, x_0) of that chain (Song et al., 2021, App. F), walked with the same draws."""
    model = random_model(BetaTildeVariance())
    exploding, draw = VarianceExploding(model.process), noise_from(5)
    square = exploding.sigma.square()
    x_T = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    y = exploding.enter(x_T, torch.tensor([1000, 1000]))
    for step in AncestralSampler(clip_x_0=False).trajectory(model, x_T, randn_like=noise_from(5)):
        now, next_ = square[step.t], square[step.t - 1]
        mean = (next_ * y + (now - next_) * step.x_0_hat) / now
        y = mean + (next_ * (now - next_) / now).sqrt() * (draw(y) if step.t > 1 else 0)
        assert torch.allclose(exploding.enter(step.x, torch.full((2,), step.t - 1)), y, rtol=1e-8), step.t


def test_ddim_is_eulers_method_in_exploding_coordinates() -> None:
    """dy/dσ = ε̂; diffusers' Euler scheduler works there, and scales the network's input to ours."""
    model = random_model(BetaVariance())
    exploding = VarianceExploding(model.process)
    scheduler = in_float64(EulerDiscreteScheduler(1000, beta_schedule="linear"))
    scheduler.set_timesteps(1000)
    scheduler.timesteps = torch.arange(999, -1, -1).float()
    scheduler.sigmas = exploding.sigma.flip(0)  # which they round to float32
    x_T = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    y = exploding.enter(x_T, torch.tensor([1000, 1000]))
    steps = DDIMSampler(clip_x_0=False).trajectory(model, x_T, randn_like=torch.randn_like)
    with torch.no_grad():
        for step, t in zip(steps, scheduler.timesteps, strict=True):
            said = model.network(scheduler.scale_model_input(y, t), t.long().expand(2))
            theirs = scheduler.step(said, t, y).prev_sample  # which begins by rounding y
            y = exploding.enter(step.x, torch.full((2,), step.t - 1))
            assert float((y - theirs).abs().max() / y.abs().max()) < 1e-6, step.t


def test_impossible_noise_is_refused() -> None:
    with pytest.raises(UserError, match="sigma_min=50 is not below sigma_max=1"):
        geometric_schedule(sigma_min=50, sigma_max=1)
    with pytest.raises(UserError, match="sigma_min=0 is not a number above 0"):
        geometric_schedule(sigma_min=0)
