"""The mixture whose best network is known: against autograd, numerical integration, samplers; the score of a model."""

import math

import pytest
import torch

from ddpm_lightning.diffusion.mixture import BestNetwork, Mixture
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler
from ddpm_lightning.diffusion.samplers.langevin import LangevinSampler, PredictorCorrector
from ddpm_lightning.diffusion.samplers.spacing import QuadraticSpacing
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance
from tests.choices import PARAMETERIZATIONS, name

MEANS = torch.tensor([[0.7, 0.0], [-0.5, 0.3], [0.1, -0.6]])
S = 0.1
PROCESS = GaussianDiffusion(LinearSchedule())


def some(t: int, n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 2, 1, 1, generator=torch.Generator().manual_seed(t)).double()
    return x, torch.full((n,), t)


def model_of(parameterization: Parameterization, process: GaussianDiffusion = PROCESS) -> DenoisingDiffusion:
    network = BestNetwork(Mixture(MEANS, S), process, parameterization)
    return DenoisingDiffusion(network, process, parameterization, BetaTildeVariance())


@pytest.mark.parametrize("t", [1, 30, 300, 1000])
def test_the_density_is_a_density(t: int) -> None:
    line = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    places = torch.cartesian_prod(line, line).reshape(-1, 2, 1, 1)
    steps = torch.full((len(places),), t)
    total = Mixture(MEANS, S).log_density(PROCESS, places, steps).exp().sum() * (line[1] - line[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("t", [1, 30, 300, 1000])
def test_the_score_is_the_gradient_of_the_log_density(t: int) -> None:
    x, steps = some(t)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(Mixture(MEANS, S).log_density(PROCESS, x, steps).sum(), x)
    assert torch.allclose(Mixture(MEANS, S).score(PROCESS, x.detach(), steps), gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
@pytest.mark.parametrize("t", [1, 30, 300, 1000])
def test_the_score_of_the_best_model_is_the_score(parameterization: Parameterization, t: int) -> None:
    """s_θ = −ε̂/√(1 − ᾱ_t), whatever the network predicts."""
    x, steps = some(t)
    expected = Mixture(MEANS, S).score(PROCESS, x, steps)
    assert torch.allclose(model_of(parameterization).score(x, steps), expected, rtol=1e-6, atol=1e-6)


def test_the_score_on_a_coarse_chain_is_that_of_the_step_it_stands_at() -> None:
    model = model_of(PARAMETERIZATIONS[0])
    x, _ = some(1)
    coarse = model.coarsen([1, 250, 1000])
    here, there = coarse.score(x, torch.full((50,), 2)), model.score(x, torch.full((50,), 250))
    assert torch.allclose(here, there, rtol=1e-6)


def test_eps_leads_from_x_0_to_x_t() -> None:
    x_0, t = some(500)
    eps = torch.randn_like(x_0)
    assert torch.allclose(PROCESS.eps(x_0, PROCESS.q_sample(x_0, t, eps), t), eps, rtol=1e-10)


@pytest.mark.parametrize(
    ("sampler", "T"),
    [
        (DDIMSampler(clip_x_0=False), 1000),
        # samplers/test_samplers.py has the same of a Gaussian, in closed form
        pytest.param(AncestralSampler(clip_x_0=False), 4000, marks=pytest.mark.slow),
        # samplers/test_langevin.py has the same of a Gaussian
        pytest.param(
            LangevinSampler(num_steps=100, spacing=QuadraticSpacing(), step_size=1.0, clip_x_0=False),
            1000,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            PredictorCorrector(num_steps=200, spacing=QuadraticSpacing(), clip_x_0=False), 1000, marks=pytest.mark.slow
        ),
    ],
    ids=["ddim", "ancestral", "langevin", "predictor_corrector"],
)
def test_samplers_find_every_part_in_its_place(sampler: Sampler, T: int) -> None:
    """Where the steps are short enough: β̃ takes 5 % off the width of the parts at T = 1000, 1 % at T = 4000."""
    process = GaussianDiffusion(LinearSchedule(T=T, beta_1=0.1 / T, beta_T=20 / T))
    draw = torch.Generator().manual_seed(0)
    n = 3000
    x_T = torch.randn(n, 2, 1, 1, generator=draw)
    model = model_of(PARAMETERIZATIONS[0], process)
    x_0 = sampler.sample(model, x_T, randn_like=lambda x: torch.randn(x.shape, generator=draw)).flatten(1)
    part = torch.cdist(x_0, MEANS).argmin(1)
    own = [x_0[part == k] for k in range(3)]
    for each, mean in zip(own, MEANS, strict=True):
        assert len(each) / n == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / n))
        assert torch.allclose(each.mean(0), mean, atol=0.02)
    width = sum(each.std(0).mean().item() for each in own) / 3
    assert width == pytest.approx(S, rel=0.03)
