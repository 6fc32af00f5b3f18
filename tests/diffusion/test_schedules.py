"""Schedules against their formulas, the design's constants and diffusers."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMScheduler

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import (
    ConstantSchedule,
    CosineSchedule,
    GivenSchedule,
    JSDSchedule,
    LinearSchedule,
    LogSNRLinearSchedule,
    QuadraticSchedule,
    Schedule,
)
from ddpm_lightning.errors import UserError
from tests.choices import SCHEDULES, SHORT_SCHEDULES, name


@pytest.mark.parametrize("schedule", SCHEDULES + SHORT_SCHEDULES, ids=name)
def test_betas_are_probabilities_and_the_signal_fades(schedule: Schedule) -> None:
    betas = schedule.betas()
    assert betas.shape == (schedule.T,)
    assert betas.dtype == torch.float64
    assert (betas > 0).all()
    assert (betas < 1).all()
    alpha_bar = GaussianDiffusion(schedule).alpha_bar
    assert (alpha_bar.diff() < 0).all()
    assert alpha_bar[-1] < 1e-2  # nearly nothing of x_0 is left in x_T


def test_linear_schedule_has_the_papers_constants() -> None:
    process = GaussianDiffusion(LinearSchedule())
    assert process.alpha_bar[-1].item() == pytest.approx(4.035829765375676e-05, rel=1e-12)
    assert process.beta_tilde[2].item() == pytest.approx(5.4531876613021935e-05, rel=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LinearSchedule(), "linear"),
        (QuadraticSchedule(), "scaled_linear"),
        (CosineSchedule(), "squaredcos_cap_v2"),
    ],
    ids=["linear", "quadratic", "cosine"],
)
def test_betas_are_diffusers(ours: Schedule, theirs: str) -> None:
    scheduler = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule=theirs)  # in float32
    assert torch.allclose(ours.betas(), scheduler.betas.double(), rtol=2e-6, atol=1e-8)


def test_cosine_schedule_is_capped_and_starts_where_it_should() -> None:
    betas = CosineSchedule().betas()
    assert betas[0].item() == pytest.approx(4.128422482196914e-05, rel=1e-12)
    assert betas[-1].item() == 0.999


def test_constant_schedule_is_constant() -> None:
    assert ConstantSchedule(T=7, beta=0.3).betas().tolist() == [0.3] * 7


def test_jsd_schedule_makes_alpha_bar_linear() -> None:
    alpha_bar = GaussianDiffusion(JSDSchedule(T=100)).alpha_bar
    expected = torch.arange(100, 0, -1, dtype=torch.float64) / 100
    assert torch.allclose(alpha_bar[:-1], expected, rtol=1e-12)  # the last step is capped


def test_logsnr_schedule_is_linear_between_its_ends() -> None:
    process = GaussianDiffusion(LogSNRLinearSchedule(T=100, log_snr_1=8.0, log_snr_T=-7.0))
    log_snr = process.snr[1:].log()
    assert torch.allclose(log_snr, torch.linspace(8, -7, 100, dtype=torch.float64), atol=1e-9)


def test_default_ends_of_the_logsnr_schedule_are_those_of_the_linear_one() -> None:
    linear, ours = GaussianDiffusion(LinearSchedule()).snr.log(), GaussianDiffusion(LogSNRLinearSchedule()).snr.log()
    assert ours[1].item() == pytest.approx(linear[1].item(), abs=1e-2)
    assert ours[-1].item() == pytest.approx(linear[-1].item(), abs=1e-2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LinearSchedule(T=0), "T=0"),
        (lambda: LinearSchedule(T=1), "T=1"),
        (lambda: LinearSchedule(beta_T=1.2), "beta_T=1.2"),
        (lambda: LinearSchedule(beta_1=0.0), "beta_1=0"),
        (lambda: QuadraticSchedule(beta_1=0.03, beta_T=0.02), "beta_1=0.03 is greater than beta_T=0.02"),
        (lambda: ConstantSchedule(beta=math.nan), "beta=nan"),
        (lambda: JSDSchedule(max_beta=1.0), "max_beta=1.0"),
        (lambda: CosineSchedule(max_beta=1.0), "max_beta=1.0"),
        (lambda: CosineSchedule(s=-0.1), "s=-0.1"),
        (lambda: LogSNRLinearSchedule(log_snr_1=-3.0, log_snr_T=3.0), "log_snr_1=-3.0"),
    ],
)
def test_impossible_schedules_are_refused(make: Callable[[], Schedule], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        make()


def test_a_given_schedule_is_what_was_given() -> None:
    betas = LinearSchedule(T=20).betas()
    given = GivenSchedule(beta=betas.tolist())
    assert given.T == 20
    assert torch.equal(given.betas(), betas)


def test_a_given_beta_that_is_no_probability_is_named() -> None:
    with pytest.raises(UserError, match=r"beta_2=1.5 lies outside \(0, 1\)"):
        GivenSchedule(beta=[0.1, 1.5])
