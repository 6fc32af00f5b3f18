"""Schedules as ways to draw t: the least variance, and that it is reached."""

import math

import pytest
import torch

from ddpm_lightning.diffusion.likelihood import bound_term
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import CosineSchedule, LinearSchedule, LogSNRLinearSchedule, Schedule
from ddpm_lightning.diffusion.time_spent import fading, least_time, schedule_spending, second_moments, time_spent
from ddpm_lightning.diffusion.variances import BetaTildeVariance
from tests.choices import SCHEDULES, name
from tests.exact import exact_model

S = 0.5
"""The standard deviation of the data."""


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_time_is_spent_somewhere_and_a_schedule_spends_its_own_evenly(schedule: Schedule) -> None:
    process = GaussianDiffusion(schedule)
    everywhere = time_spent(CosineSchedule(), process)
    assert (everywhere > 0).all()
    assert everywhere.sum().item() == pytest.approx(1, rel=1e-12)
    own = time_spent(schedule, process)
    assert torch.allclose(own, torch.full_like(own, 1 / (process.T - 1)), rtol=1e-9)


def test_time_of_a_schedule_linear_in_log_snr_is_the_fall_of_log_snr() -> None:
    process = GaussianDiffusion(LinearSchedule())
    falls = -process.snr[1:].log().diff()
    spent = time_spent(LogSNRLinearSchedule(log_snr_1=3, log_snr_T=-4), process)
    assert torch.allclose(spent, falls / falls.sum(), rtol=1e-9)


@pytest.mark.parametrize("schedule", [CosineSchedule(), LogSNRLinearSchedule()], ids=name)
def test_a_schedule_is_known_by_the_time_it_spends(schedule: Schedule) -> None:
    """From the times alone comes the schedule back, stretched to the ends of the process."""
    process = GaussianDiffusion(LinearSchedule())
    again = GaussianDiffusion(schedule_spending(time_spent(schedule, process), process))
    assert again.snr[1].item() == pytest.approx(process.snr[1].item(), rel=1e-9)
    assert again.snr[-1].item() == pytest.approx(process.snr[-1].item(), rel=1e-9)
    assert (fading(again) - fading(GaussianDiffusion(schedule))).abs().max() < 5e-3  # lines between 1000 levels


def test_no_other_time_has_a_smaller_second_moment() -> None:
    """Cauchy and Schwarz: at best (Σ √E L²)², and what is drawn where has that mean."""
    draw = torch.Generator().manual_seed(0)
    terms = torch.rand(30, 12, generator=draw) ** 4
    best = least_time(terms)
    least = second_moments(terms, best).mean().item()
    assert least == pytest.approx(terms.double().square().mean(0).sqrt().sum().item() ** 2, rel=1e-9)
    for _ in range(100):
        other = torch.rand(12, generator=draw, dtype=torch.float64)
        assert second_moments(terms, other / other.sum()).mean().item() > least


def terms_of(process: GaussianDiffusion) -> torch.Tensor:
    """L_{t−1}, t = 2..T, in bits/dim, for data N(0, S²) and the network that knows it, at many x_0 and ε: [n, T−1]."""
    model = exact_model(process, Epsilon(), BetaTildeVariance(), s=S)
    draw = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 400, 1, generator=draw, dtype=torch.float64)
    terms = []
    for step in range(2, process.T + 1):
        t = torch.full((400,), step)
        x_t = process.q_sample(S * x_0, t, eps)
        terms.append(bound_term(model, model(x_t, t), S * x_0, x_t, t))
    return torch.stack(terms, dim=1)


def test_in_the_least_schedule_every_term_is_as_large() -> None:
    """So that nothing is left to better: there uniform t is as good as any p(t), and better than it was."""
    first = GaussianDiffusion(LogSNRLinearSchedule(T=300, log_snr_1=8, log_snr_T=-6))
    least = GaussianDiffusion(schedule_spending(least_time(terms_of(first)), first))
    size = terms_of(least).square().mean(0).sqrt()
    assert (size / size.mean() - 1).abs().max() < 0.1
    evenly = torch.full((299,), 1 / 299, dtype=torch.float64)
    before, after = (second_moments(terms_of(process), evenly).mean().item() for process in (first, least))
    assert after == pytest.approx(second_moments(terms_of(first), least_time(terms_of(first))).mean().item(), rel=0.05)
    assert after < 0.9 * before


def test_a_single_draw_has_the_second_moment_that_is_told() -> None:
    """Draws of t from p(t), counted as L_{t−1}/p(t)."""
    process = GaussianDiffusion(LinearSchedule(T=40, beta_1=3e-3, beta_T=0.3))
    terms = terms_of(process)
    p = time_spent(CosineSchedule(), process)
    draw = torch.Generator().manual_seed(1)
    rows = torch.multinomial(p, 40000, replacement=True, generator=draw)
    images = torch.randint(len(terms), (40000,), generator=draw)
    drawn = terms[images, rows] / p[rows]
    error = drawn.square().std().item() / math.sqrt(40000)
    assert abs(drawn.square().mean().item() - second_moments(terms, p).mean().item()) < 4 * error
    assert drawn.mean().item() == pytest.approx(terms.sum(1).mean().item(), abs=4 * drawn.std().item() / 200)
