"""The line x̂_0 = c_skip·x_t + c_out·f gives every parameterization's own target and comes back."""

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from ddpm_lightning.diffusion.parameterizations import X0, Epsilon, Mu, Parameterization, V
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.schedules import LinearSchedule, Schedule
from tests.choices import PARAMETERIZATIONS, SCHEDULES, name
from tests.peers import in_float64


def draw(process: GaussianDiffusion, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    t = torch.arange(1, process.T + 1)
    x_0, eps = torch.rand(process.T, 1, 2, 2, dtype=dtype) * 2 - 1, torch.randn(process.T, 1, 2, 2, dtype=dtype)
    return x_0, eps, t, process.q_sample(x_0, t, eps)


def test_targets_are_epsilon_mu_x_0_and_v() -> None:
    process = GaussianDiffusion(LinearSchedule())
    x_0, eps, t, x_t = draw(process)
    v = at(process.alpha_bar.sqrt(), t, x_t) * eps - at((1 - process.alpha_bar).sqrt(), t, x_t) * x_0
    expected = {Epsilon(): eps, Mu(): process.posterior(x_0, x_t, t).mean, X0(): x_0, V(): v}
    for parameterization, target in expected.items():
        ours = parameterization.target(process, x_0, x_t, t)
        assert (ours - target).abs().max() < 1e-12, name(parameterization)


def test_v_is_diffusers_velocity() -> None:
    process = GaussianDiffusion(LinearSchedule())
    x_0, eps, t, x_t = draw(process)
    scheduler = in_float64(DDPMScheduler(1000, beta_schedule="linear"))
    assert torch.allclose(V().target(process, x_0, x_t, t), scheduler.get_velocity(x_0, eps, t - 1), atol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_target_and_x_0_are_inverse(parameterization: Parameterization, schedule: Schedule) -> None:
    process = GaussianDiffusion(schedule)
    x_0, _, t, x_t = draw(process)
    f = parameterization.target(process, x_0, x_t, t)
    assert torch.allclose(parameterization.x_0(process, f, x_t, t), x_0, atol=1e-9)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_float32_is_enough_for_the_target(parameterization: Parameterization) -> None:
    process = GaussianDiffusion(LinearSchedule())
    x_0, eps, t, x_t = draw(process)
    exact = parameterization.target(process, x_0, x_t, t)
    single = parameterization.target(process, x_0.float(), process.q_sample(x_0.float(), t, eps.float()), t)
    assert (single - exact).abs().max() < 1e-4
