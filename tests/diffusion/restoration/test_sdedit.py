"""SDEdit against the closed form of Gaussian data: mean and variance of what a given image becomes."""

import pytest
import torch

from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.restoration.sdedit import SDEdit
from ddpm_lightning.diffusion.restoration.task import NoTask
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler, UniPC
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import LearnedVariance
from ddpm_lightning.errors import UserError
from tests.choices import name
from tests.diffusion.samplers.test_samplers import best_log_variance, posterior_variance
from tests.exact import exact_model

M, S, X, T = 0.3, 0.5, 0.9, 400
PROCESS = GaussianDiffusion(LinearSchedule(T=T, beta_1=2.5e-4, beta_T=0.05))
MODEL = exact_model(PROCESS, Epsilon(), LearnedVariance(), M, S, v=best_log_variance(PROCESS, S))
IMAGE = torch.full((1, 1), X, dtype=torch.float64)


def moments(sampler: Sampler, strength: float) -> tuple[float, float]:
    """Mean and variance of x_0, over draws."""
    draws = torch.Generator().manual_seed(0)
    eps = torch.randn(20_000, 1, generator=draws).double()
    x_0 = SDEdit(image=IMAGE, strength=strength).sample(
        MODEL, sampler, eps, randn_like=lambda x: torch.randn(x.shape, generator=draws).double()
    )
    return x_0.mean().item(), x_0.var().item()


@pytest.mark.parametrize("strength", [0.25, 0.6])
def test_a_random_sampler_draws_from_the_posterior_of_the_noisy_image(strength: float) -> None:
    """x_0 given x_t has slope g in x_t and the variance r²; x_t has the variance 1 − ᾱ_t about √ᾱ_t x."""
    t = round(strength * T)
    alpha_bar, r_squared = PROCESS.alpha_bar[t].item(), posterior_variance(PROCESS, S)[t].item()
    gain = alpha_bar**0.5 * S**2 / (alpha_bar * S**2 + 1 - alpha_bar)
    mean, variance = moments(AncestralSampler(clip_x_0=False), strength)
    assert mean == pytest.approx(M + gain * alpha_bar**0.5 * (X - M), abs=0.012)
    assert variance == pytest.approx(r_squared + gain**2 * (1 - alpha_bar), rel=0.04)


@pytest.mark.parametrize("sampler", [DDIMSampler(num_steps=None, clip_x_0=False), UniPC(clip_x_0=False)], ids=name)
def test_a_deterministic_sampler_follows_the_flow(sampler: Sampler) -> None:
    """In units of its deviation, a point stays where it is."""
    alpha_bar = PROCESS.alpha_bar[T // 2].item()
    scale = S / (alpha_bar * S**2 + 1 - alpha_bar) ** 0.5
    mean, variance = moments(sampler, 0.5)
    assert mean == pytest.approx(M + scale * alpha_bar**0.5 * (X - M), abs=0.012)
    assert variance == pytest.approx(scale**2 * (1 - alpha_bar), rel=0.04)


def test_the_strength_is_a_share_of_T_on_any_chain() -> None:
    task = SDEdit(image=IMAGE, strength=0.5)
    assert task.num_steps(MODEL, AncestralSampler()) == 200
    assert task.num_steps(MODEL, DDIMSampler(num_steps=10)) == 5
    assert SDEdit(image=IMAGE, strength=1).num_steps(MODEL, DDIMSampler(num_steps=10)) == 10


def test_without_a_task_it_is_the_sampler() -> None:
    x_T = torch.randn(3, 1).double()
    ours, theirs = (f(MODEL, x_T) for f in (_free, _sampled))
    assert torch.equal(ours, theirs)


def _free(model, x_T):  # type: ignore[no-untyped-def]
    return NoTask().sample(model, AncestralSampler(), x_T, randn_like=torch.zeros_like)


def _sampled(model, x_T):  # type: ignore[no-untyped-def]
    return AncestralSampler().sample(model, x_T, randn_like=torch.zeros_like)


def test_bounds() -> None:
    for strength in (0.0, 1.5):
        with pytest.raises(UserError, match="strength="):
            SDEdit(image=IMAGE, strength=strength)
