"""The forward process against chains of single steps and Bayes' rule."""

import math
from dataclasses import dataclass

import pytest
import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.schedules import LinearSchedule, Schedule
from ddpm_lightning.errors import UserError
from tests.choices import SCHEDULES, SHORT_SCHEDULES, name


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_marginal_is_the_chain_of_single_steps(schedule: Schedule) -> None:
    """Eq. 4 from Eq. 2: x_t = √(1 − β_t) x_{t−1} + √β_t ε, as recursions of mean and variance."""
    process = GaussianDiffusion(schedule)
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(schedule.betas().tolist(), start=1):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        ours = process.marginal(torch.ones(1, 1, dtype=torch.float64), torch.tensor([t]))
        assert ours.mean.item() == pytest.approx(mean, rel=1e-9)
        assert ours.log_variance.exp().item() == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("schedule", SHORT_SCHEDULES, ids=name)
@pytest.mark.parametrize("t", [2, 3, 25, 50])
def test_posterior_is_bayes_rule(schedule: Schedule, t: int) -> None:
    """q(x_{t−1} | x_t, x_0) ∝ q(x_t | x_{t−1}) q(x_{t−1} | x_0), normalised on a fine grid."""
    process = GaussianDiffusion(schedule)
    x_0, x_t = 0.7, -0.4
    alpha_bar, beta = process.alpha_bar[t - 1].item(), process.beta[t].item()
    x = torch.linspace(-8, 8, 400_001, dtype=torch.float64)
    log_weight = -((x_t - math.sqrt(1 - beta) * x) ** 2) / (2 * beta)
    log_weight -= (x - math.sqrt(alpha_bar) * x_0) ** 2 / (2 * (1 - alpha_bar))
    weight = torch.softmax(log_weight, 0)
    mean = (weight * x).sum()
    variance = (weight * (x - mean) ** 2).sum()
    scalar = torch.ones(1, 1, dtype=torch.float64)
    posterior = process.posterior(x_0 * scalar, x_t * scalar, torch.tensor([t]))
    assert posterior.mean.item() == pytest.approx(mean.item(), rel=1e-6, abs=1e-9)
    assert posterior.log_variance.exp().item() == pytest.approx(variance.item(), rel=1e-6)


def test_q_sample_has_the_marginals_moments() -> None:
    process = GaussianDiffusion(LinearSchedule())
    x_0, t = torch.full((200_000, 1), 0.5), torch.full((200_000,), 300)
    x_t = process.q_sample(x_0, t, torch.randn_like(x_0))
    marginal = process.marginal(x_0[:1], t[:1])
    assert x_t.mean().item() == pytest.approx(marginal.mean.item(), abs=0.01)
    assert x_t.var().item() == pytest.approx(marginal.log_variance.exp().item(), rel=0.02)


def test_row_zero_is_clean_data() -> None:
    process = GaussianDiffusion(LinearSchedule())
    x_0, eps, t = torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)
    assert torch.equal(process.q_sample(x_0, t, eps), x_0)
    assert torch.equal(process.mu_tilde(x_0, eps, t), x_0)


def test_first_step_decodes_with_the_second_steps_variance() -> None:
    """The official code's choice for both σ² = β and σ² = β̃: log β̃_2 stands in at t = 1."""
    process = GaussianDiffusion(LinearSchedule())
    assert process.log_beta[1] == process.log_beta_tilde[1] == process.beta_tilde[2].log()
    assert process.beta_tilde[1] == 0


def test_prior_kl_is_the_designs_constant() -> None:
    process = GaussianDiffusion(LinearSchedule())
    x_0 = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64)  # mean square 0.25
    bits_per_dim = process.prior_kl(x_0) / (48 * math.log(2))
    assert bits_per_dim.tolist() == pytest.approx([7.278677e-06] * 2, rel=1e-6)


def test_tables_stay_float64_whatever_the_module_becomes() -> None:
    process = GaussianDiffusion(LinearSchedule()).half().to(torch.bfloat16).float()
    assert all(table.dtype == torch.float64 for table in process.buffers())
    assert process.alpha_bar[1] == 1 - 1e-4
    assert len(process.state_dict()) == 0  # they follow from the schedule; no checkpoint carries them


def test_gather_broadcasts_over_any_shape_and_keeps_the_dtype() -> None:
    table, t = torch.arange(5, dtype=torch.float64), torch.tensor([4, 0])
    assert at(table, t, torch.zeros(2, 3, 4, 5)).shape == (2, 1, 1, 1)
    assert at(table, t, torch.zeros(2, 3)).tolist() == [[4.0], [0.0]]
    assert at(table, t, torch.zeros(2, 3)).dtype == torch.float32


@dataclass(frozen=True, kw_only=True)
class Given(Schedule):
    values: tuple[float, ...]

    def betas(self) -> torch.Tensor:
        return torch.tensor(self.values, dtype=torch.float64)


@pytest.mark.parametrize("values", [(0.1, 0.0), (0.1, 1.0), (1e-20, 0.1), (0.1, float("nan")), (0.1, -0.1)])
def test_a_schedule_of_someones_own_is_checked_too(values: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="not inside"):
        GaussianDiffusion(Given(T=2, values=values))
