"""σ_t² against diffusers' choices and its own bounds."""

import pytest
import torch
from diffusers import DDPMScheduler

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import CosineSchedule, LinearSchedule
from ddpm_lightning.diffusion.variances import (
    BetaTildeVariance,
    BetaVariance,
    LearnedRangeVariance,
    LearnedVariance,
    LogSpace,
    Sigmoid,
    Variance,
)
from tests.peers import in_float64

T = 1000
t = torch.arange(2, T + 1)
x_t = torch.zeros(T - 1, 1, 1, 1, dtype=torch.float64)


def ours(variance: Variance, v: torch.Tensor | None = None) -> torch.Tensor:
    return variance.log_variance(GaussianDiffusion(LinearSchedule()), t, x_t, v).flatten()


@pytest.mark.parametrize(
    ("variance", "theirs"), [(BetaVariance(), "fixed_large"), (BetaTildeVariance(), "fixed_small")]
)
def test_fixed_variances_are_diffusers(variance: Variance, theirs: str) -> None:
    scheduler = in_float64(DDPMScheduler(T, beta_schedule="linear", variance_type=theirs))
    expected = torch.stack([scheduler._get_variance(int(step) - 1) for step in t])
    assert torch.allclose(ours(variance).exp(), expected, rtol=1e-9)


def test_learned_variance_is_the_raw_output() -> None:
    v = torch.randn_like(x_t)
    assert torch.equal(ours(LearnedVariance(), v), v.flatten())


def test_learned_range_is_diffusers() -> None:
    scheduler = in_float64(DDPMScheduler(T, beta_schedule="linear", variance_type="learned_range"))
    v = torch.rand(T - 1, 1, 1, 1).double() * 2 - 1
    theirs = [scheduler._get_variance(int(step) - 1, predicted_variance=u) for step, u in zip(t, v, strict=True)]
    assert torch.allclose(ours(LearnedRangeVariance(LogSpace()), v), torch.stack(theirs).flatten(), rtol=1e-9)


def test_learned_range_reaches_its_bounds() -> None:
    up, low = torch.ones_like(x_t), -torch.ones_like(x_t)
    variance = LearnedRangeVariance(LogSpace())
    assert torch.allclose(ours(variance, up), ours(BetaVariance()))
    assert torch.allclose(ours(variance, low), ours(BetaTildeVariance()))


def test_sigmoid_is_linear_between_the_bounds_and_never_leaves_them() -> None:
    v = torch.randn(T - 1, 1, 1, 1).double() * 20
    share = torch.sigmoid(v).flatten()
    lower, upper = ours(BetaTildeVariance()).exp(), ours(BetaVariance()).exp()
    sigma_squared = ours(LearnedRangeVariance(Sigmoid()), v).exp()
    assert torch.allclose(sigma_squared, lower + share * (upper - lower), rtol=1e-9)
    assert (sigma_squared >= lower * (1 - 1e-9)).all()
    assert (sigma_squared <= upper * (1 + 1e-9)).all()


def test_first_step_of_the_range_lies_between_beta_tilde_2_and_beta_1() -> None:
    process = GaussianDiffusion(CosineSchedule())
    one, x = torch.tensor([1]), torch.zeros(1, 1)
    variance = LearnedRangeVariance()
    assert variance.log_variance(process, one, x, x - 1).exp().item() == pytest.approx(process.beta_tilde[2].item())
    assert variance.log_variance(process, one, x, x + 1).exp().item() == pytest.approx(process.beta[1].item())


def test_only_learned_variances_ask_for_channels() -> None:
    assert BetaVariance().extra_channels(3) == BetaTildeVariance().extra_channels(3) == 0
    assert LearnedVariance().extra_channels(3) == LearnedRangeVariance().extra_channels(1) + 2 == 3
