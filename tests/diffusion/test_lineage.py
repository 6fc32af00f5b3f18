"""EDM's preconditioning, loss and noise levels, and rectified flow, as parts of the paper's chain."""

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from ddpm_lightning.diffusion.losses import EDMLoss, Simple
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import EDM, Epsilon, V, Velocity
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import DDIMSampler
from ddpm_lightning.diffusion.schedules import RectifiedSchedule, Schedule
from ddpm_lightning.diffusion.timesteps import LogitNormalTimesteps, LogNormalTimesteps, TimestepDistribution
from ddpm_lightning.diffusion.variances import BetaVariance
from ddpm_lightning.errors import UserError
from tests.choices import SCHEDULES, name


class Silly(torch.nn.Module):
    """A network of no meaning, whose output depends on everything that it is given."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(3 * x + t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1)) / 100)


def draw(process: GaussianDiffusion, b: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x_0, eps = torch.randn(2, b, 3, dtype=torch.float64)
    return x_0, torch.randint(1, process.T + 1, (b,)), eps


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_edm_of_unit_data_is_minus_v(schedule: Schedule) -> None:
    process = GaussianDiffusion(schedule)
    x_0, t, eps = draw(process)
    x_t = process.q_sample(x_0, t, eps)
    torch.testing.assert_close(EDM(1.0).target(process, x_0, x_t, t), -V().target(process, x_0, x_t, t))
    assert torch.equal(EDM(1.0).network_input(process, x_t, t), x_t)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_edm_is_the_papers_preconditioning(schedule: Schedule) -> None:
    """Eq. 7 and Table 1 of Karras et al. (2022), written out in their σ and their y = x_0 + σ ε."""
    process, sigma_data = GaussianDiffusion(schedule), 0.5
    model = DenoisingDiffusion(Silly(), process, EDM(sigma_data), BetaVariance())
    x_0, t, eps = draw(process)
    sigma = ((1 - process.alpha_bar) / process.alpha_bar).sqrt()[t][:, None]
    y = x_0 + sigma * eps
    c_in = 1 / (sigma**2 + sigma_data**2).sqrt()
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()
    theirs = c_skip * y + c_out * Silly()(c_in * y, t - 1)
    torch.testing.assert_close(model.predict_x_0(process.q_sample(x_0, t, eps), t), theirs)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    loss = (weight * (theirs - x_0).square()).mean(1)
    torch.testing.assert_close(EDMLoss(sigma_data)(model, x_0, t, eps), loss)
    torch.testing.assert_close(Simple()(model, x_0, t, eps), loss)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_input_and_target_of_edm_have_unit_variance(schedule: Schedule) -> None:
    process, sigma_data = GaussianDiffusion(schedule), 0.5
    x_0 = sigma_data * torch.randn(40_000, 1, dtype=torch.float64)
    t = torch.randint(1, process.T + 1, (len(x_0),))
    x_t = process.q_sample(x_0, t, torch.randn_like(x_0))
    edm = EDM(sigma_data)
    assert edm.network_input(process, x_t, t).std() == pytest.approx(1, abs=0.02)
    assert edm.target(process, x_0, x_t, t).std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_velocity_is_the_slope_of_the_straight_path(schedule: Schedule) -> None:
    process = GaussianDiffusion(schedule)
    x_0, t, eps = draw(process)
    target = Velocity().target(process, x_0, process.q_sample(x_0, t, eps), t)
    torch.testing.assert_close(target, eps - x_0, rtol=1e-6, atol=1e-6)


def test_the_chain_of_rectified_flow_is_the_straight_path() -> None:
    process = GaussianDiffusion(RectifiedSchedule(T=10))
    u = 0.999 * torch.arange(11, dtype=torch.float64) / 10
    length = ((1 - u).square() + u.square()).sqrt()
    torch.testing.assert_close(process.alpha_bar.sqrt(), (1 - u) / length)
    torch.testing.assert_close((1 - process.alpha_bar).sqrt(), u / length)
    with pytest.raises(UserError, match="max_u"):
        RectifiedSchedule(max_u=1.0)


def test_ddim_is_eulers_method_on_the_flow_and_walks_as_diffusers_does() -> None:
    process = GaussianDiffusion(RectifiedSchedule(T=1000))
    model = DenoisingDiffusion(Silly(), process, Velocity(), BetaVariance())
    x_T = torch.randn(4, 3, dtype=torch.float64)
    steps = list(range(100, 1001, 100))
    u = torch.tensor([0.999 * step / 1000 for step in [0, *steps]], dtype=torch.float64)
    length = ((1 - u).square() + u.square()).sqrt()
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(sigmas=u[1:].flip(0).tolist())
    scheduler.sigmas = u.flip(0)  # which it rounds to float32
    ours = DDIMSampler(clip_x_0=False).trajectory(model.coarsen(steps), x_T, randn_like=torch.randn_like)
    z = theirs = x_T * length[-1]
    for step, i, t in zip(ours, range(10, 0, -1), scheduler.timesteps, strict=True):
        f = Silly()(z / length[i], torch.full((4,), steps[i - 1] - 1))
        z = z + (u[i - 1] - u[i]) * f
        torch.testing.assert_close(step.x * length[i - 1], z)
        theirs = scheduler.step(Silly()(theirs / length[i], torch.full((4,), steps[i - 1] - 1)), t, theirs).prev_sample
        torch.testing.assert_close(theirs.double(), z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("distribution", "mean", "std"), [(LogNormalTimesteps(), -1.2, 1.2), (LogitNormalTimesteps(), 0.0, 1.0)], ids=name
)
def test_the_noise_levels_are_normal_in_log_sigma(distribution: TimestepDistribution, mean: float, std: float) -> None:
    """Also of rectified flow: there σ = u/(1 − u), so ln σ is the logit of u."""
    process = GaussianDiffusion(RectifiedSchedule(T=4000, max_u=0.9999))
    t, weight = distribution.draw(20_000, process, torch.Generator().manual_seed(0))
    assert torch.equal(weight, torch.ones(20_000))
    log_sigma = -process.half_log_snr[t]
    assert float(log_sigma.mean()) == pytest.approx(mean, abs=4 * std / math.sqrt(20_000) + 1e-3)
    assert float(log_sigma.std()) == pytest.approx(std, rel=0.03)
    with pytest.raises(UserError, match="std"):
        type(distribution)(std=0.0)  # type: ignore[call-arg]


def test_noise_levels_beyond_the_chain_are_its_ends() -> None:
    process = GaussianDiffusion(SCHEDULES[0])
    far = LogNormalTimesteps(mean=100.0).draw(8, process, torch.Generator().manual_seed(0))
    near = LogNormalTimesteps(mean=-100.0).draw(8, process, torch.Generator().manual_seed(0))
    assert far.t.tolist() == [1000] * 8
    assert near.t.tolist() == [1] * 8


def test_epsilon_is_given_x_t_itself() -> None:
    process = GaussianDiffusion(SCHEDULES[0])
    x_t = torch.randn(2, 3)
    assert Epsilon().network_input(process, x_t, torch.tensor([1, 2])) is x_t
