"""Restart sampling: the paper's algorithm written out, its calls, and what it does to errors."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import HeunSampler, KarrasSpacing, RestartSampler
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaVariance
from ddpm_lightning.errors import UserError
from tests.diffusion.samplers.test_edm import denoiser, edm_model
from tests.diffusion.samplers.test_langevin import moments
from tests.exact import exact_model

KARRAS = {"spacing": KarrasSpacing(), "clip_x_0": False}


def heun(model: DenoisingDiffusion, x: Tensor, sigmas: list[float], steps: list[int]) -> Tensor:
    """Heun's method down the noise levels of these steps; Euler's to 0."""
    for t, after in pairwise(steps):
        slope = (x - denoiser(model, x, sigmas[t], t)) / sigmas[t]
        ahead = x + (sigmas[after] - sigmas[t]) * slope
        if after:
            slope = (slope + (ahead - denoiser(model, ahead, sigmas[after], after)) / sigmas[after]) / 2
        x = x + (sigmas[after] - sigmas[t]) * slope
    return x


def nearest(sigmas: list[float], wanted: float, among: list[int]) -> int:
    return min(among, key=lambda t: abs(sigmas[t] - wanted))


def test_it_is_the_papers_algorithm() -> None:
    """Down to σ_min, then K times up to σ_max by noise and down by Heun's method, then down to 0."""
    model = edm_model()
    sampler = RestartSampler(num_steps=18, restarts=3, restart_steps=4, sigma_min=0.1, sigma_max=1.0, **KARRAS)
    noise = torch.randn(3, 4, 3, dtype=torch.float64)
    x_T = torch.randn(4, 3, dtype=torch.float64)
    draws = iter(noise)
    ours = sampler.sample(model, x_T, randn_like=lambda _: next(draws))

    sigmas = ((1 - model.process.alpha_bar) / model.process.alpha_bar).sqrt().tolist()
    main = sampler.visited(model)[::-1]
    low = nearest(sigmas, 0.1, main)
    ends = [sigmas[nearest(sigmas, wanted, list(range(1, 1001)))] ** (1 / 7) for wanted in (1.0, sigmas[low])]
    back = [nearest(sigmas, (ends[0] + i / 4 * (ends[1] - ends[0])) ** 7, list(range(1, 1001))) for i in range(5)]
    place = main.index(low)
    x = heun(model, x_T * math.sqrt(1 + sigmas[-1] ** 2), sigmas, main[: place + 1])
    for z in noise:
        x = heun(model, x + math.sqrt(sigmas[back[0]] ** 2 - sigmas[low] ** 2) * z, sigmas, back)
    torch.testing.assert_close(ours, heun(model, x, sigmas, [*main[place:], 0]), rtol=1e-9, atol=1e-9)


def test_restarts_shrink_the_errors_of_the_steps_before() -> None:
    """Few steps of Heun's method leave too wide a distribution. Restarts bring it nearer to the data's."""
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaVariance(), m=0.3, s=0.5)
    wide = moments(HeunSampler(num_steps=10, **KARRAS), model)[1] - 0.5
    options = {"num_steps": 10, "restart_steps": 8, "sigma_max": 2.0, **KARRAS}
    once, often = (moments(RestartSampler(restarts=restarts, **options), model)[1] - 0.5 for restarts in (1, 4))
    assert wide > 5 * once > 0
    assert wide > 10 * often > 0


@pytest.mark.parametrize("T", [3, 4, 8])
def test_the_interval_fits_into_short_chains(T: int) -> None:
    sampler = RestartSampler()
    for beta_T in (0.02, 0.9):
        model = exact_model(GaussianDiffusion(LinearSchedule(T=T, beta_T=beta_T)), Epsilon(), BetaVariance())
        high, between, low = sampler.way_back(model)
        assert T >= high > between > low >= 1
        assert sampler.sample(model, torch.zeros(1, 1), randn_like=torch.randn_like).isfinite().all()


def test_its_label_names_the_restarts() -> None:
    assert RestartSampler(num_steps=18).label(edm_model()) == "restart18_2x2_sigma0.06to0.3"
    assert RestartSampler(num_steps=18).calls(edm_model()) == 43


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"restarts=0 is not a whole number of at least 1: without restarts"):
        RestartSampler(restarts=0)
    with pytest.raises(UserError, match=r"restart_steps=0 is not"):
        RestartSampler(restart_steps=0)
    with pytest.raises(UserError, match=r"sigma_min=0 is not a number above 0"):
        RestartSampler(sigma_min=0)
    with pytest.raises(UserError, match=r"sigma_max=0\.05 does not exceed sampler\.sigma_min=0\.06"):
        RestartSampler(sigma_max=0.05)
    with pytest.raises(UserError, match=r"visits 1 step of T=1000, which leaves no room to return"):
        RestartSampler(num_steps=1).label(edm_model())
    with pytest.raises(UserError, match=r"visits 3 steps of T=3, .*restart_steps=3; use more steps, or sampler=heun"):
        RestartSampler(restart_steps=3).chain(edm_model(T=3))
