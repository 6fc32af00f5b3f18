"""However t is drawn, the weighted loss has the mean over uniform t."""

import pytest
import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule, Schedule
from ddpm_lightning.diffusion.timesteps import (
    ImportanceTimesteps,
    LowDiscrepancyTimesteps,
    TimestepDistribution,
    UniformTimesteps,
    bound_weight,
    epsilon_weight,
)
from ddpm_lightning.errors import UserError
from tests.choices import SCHEDULES, name

PROCESS = GaussianDiffusion(LinearSchedule(T=100))
DISTRIBUTIONS = [
    UniformTimesteps(),
    LowDiscrepancyTimesteps(),
    ImportanceTimesteps(epsilon_weight),
    ImportanceTimesteps(bound_weight, uniform_share=0.1),
]


def draw(distribution: TimestepDistribution, b: int) -> tuple[torch.Tensor, torch.Tensor]:
    return distribution.draw(b, PROCESS, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=name)
def test_weighted_mean_is_the_mean_over_uniform_t(distribution: TimestepDistribution) -> None:
    t, weight = draw(distribution, 400_000)
    assert (t.min().item(), t.max().item()) == (1, 100)
    for loss in (torch.ones(101), torch.arange(101.0), 1 / torch.arange(1.0, 102.0)):
        drawn = (weight * loss[t]).double()
        error = drawn.std() / drawn.numel() ** 0.5
        assert abs(drawn.mean() - loss[1:].mean()) < 4 * error + 1e-3


def test_importance_draws_in_proportion_to_the_weights() -> None:
    t, weight = draw(ImportanceTimesteps(epsilon_weight), 400_000)
    p = epsilon_weight(PROCESS)[1:] / epsilon_weight(PROCESS)[1:].sum()
    share = torch.bincount(t, minlength=101)[1:] / len(t)
    assert torch.allclose(share.double(), p, atol=4 * (0.25 / len(t)) ** 0.5)
    assert torch.allclose(weight, (1 / (100 * p[t - 1])).float())


def test_importance_has_no_variance_where_the_loss_is_the_weight() -> None:
    t, weight = draw(ImportanceTimesteps(epsilon_weight), 1000)
    assert (weight * epsilon_weight(PROCESS)[t]).std() < 1e-6


def test_low_discrepancy_visits_every_step_once() -> None:
    t, _ = draw(LowDiscrepancyTimesteps(), 100)
    assert sorted(t.tolist()) == list(range(1, 101))


def test_low_discrepancy_is_uniform_for_each_example() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([LowDiscrepancyTimesteps().draw(3, PROCESS, generator).t[0] for _ in range(20_000)])
    assert abs(first.double().mean() - 50.5) < 4 * 28.87 / 20_000**0.5


def test_epsilon_weight_is_eq_12() -> None:
    beta, alpha, alpha_bar = PROCESS.beta[7], PROCESS.alpha[7], PROCESS.alpha_bar[7]
    sigma_squared = beta
    expected = beta**2 / (2 * sigma_squared * alpha * (1 - alpha_bar))
    assert epsilon_weight(PROCESS)[7].item() == pytest.approx(expected.item())
    assert epsilon_weight(PROCESS)[0] == 0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_importance_by_the_bound_spares_no_step_and_swamps_none(schedule: Schedule) -> None:
    """On the capped schedules too, where Eq. 12's weight alone draws nothing but t = T."""
    process = GaussianDiffusion(schedule)
    importance = ImportanceTimesteps(bound_weight, uniform_share=0.1)
    t, weight = importance.draw(100_000, process, torch.Generator().manual_seed(0))
    assert weight.max() <= 10.001
    assert (t == process.T).double().mean() < 0.01
    assert weight.mean().item() == pytest.approx(1.0, abs=0.05)


def test_bound_weight_is_the_term_of_the_best_network_for_normal_data() -> None:
    """Its error in ε by drawing: x_0, ε ~ N(0, 1), ε_θ = √(1 − ᾱ) x_t."""
    t = torch.full((400_000,), 40)
    x_0, eps = torch.randn(400_000, 1, dtype=torch.float64), torch.randn(400_000, 1, dtype=torch.float64)
    x_t = PROCESS.q_sample(x_0, t, eps)
    error = (eps - (1 - PROCESS.alpha_bar[40]).sqrt() * x_t).square().mean()
    assert bound_weight(PROCESS)[40].item() == pytest.approx((epsilon_weight(PROCESS)[40] * error).item(), rel=0.02)


def test_a_share_outside_its_bounds_is_refused() -> None:
    with pytest.raises(UserError, match=r"uniform_share=1\.0"):
        ImportanceTimesteps(bound_weight, uniform_share=1.0)
