"""EDM's samplers: its Algorithm 2 written out from the paper, their order, and their network calls."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import EDM, Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import DDIMSampler, EulerSampler, HeunSampler, KarrasSpacing, Sampler
from ddpm_lightning.diffusion.schedules import LinearSchedule, geometric_schedule
from ddpm_lightning.diffusion.variances import BetaVariance
from ddpm_lightning.errors import UserError
from tests.diffusion.samplers.test_dpm_solver import deviation
from tests.diffusion.test_lineage import Silly
from tests.exact import exact_model


def edm_model(T: int = 1000) -> DenoisingDiffusion:
    process = GaussianDiffusion(geometric_schedule(T=T, sigma_min=0.002, sigma_max=80.0))
    return DenoisingDiffusion(Silly(), process, EDM(), BetaVariance())


def denoiser(model: DenoisingDiffusion, y: Tensor, sigma: float, t: int) -> Tensor:
    """D(y; σ) of the paper's Eq. 7, for σ_data = 0.5 and a network that is given t − 1."""
    scale = math.sqrt(sigma**2 + 0.25)
    return 0.25 / scale**2 * y + 0.5 * sigma / scale * Silly()(y / scale, torch.full((len(y),), t - 1))


def algorithm_2(
    model: DenoisingDiffusion, x: Tensor, steps: list[int], noise: list[Tensor], churn: float, second_order: bool
) -> Tensor:
    """Algorithm 2 of Karras et al. (2022), line by line, with σ̂ rounded to the noise levels of the network."""
    sigmas = ((1 - model.process.alpha_bar) / model.process.alpha_bar).sqrt().tolist()
    for i, (t, after) in enumerate(pairwise([*reversed(steps), 0])):
        gamma = min(churn / len(steps), math.sqrt(2) - 1)
        t_hat = t
        if gamma > 0:
            raised = torch.tensor(sigmas[t:]) - sigmas[t] * (1 + gamma)
            t_hat = t + int(raised.abs().argmin())
        s_hat, s_next = sigmas[t_hat], sigmas[after]
        x_hat = x + math.sqrt(s_hat**2 - sigmas[t] ** 2) * noise[i]
        d = (x_hat - denoiser(model, x_hat, s_hat, t_hat)) / s_hat
        x = x_hat + (s_next - s_hat) * d
        if s_next != 0 and second_order:
            d_next = (x - denoiser(model, x, s_next, after)) / s_next
            x = x_hat + (s_next - s_hat) * (d + d_next) / 2
    return x


@pytest.mark.parametrize("churn", [0.0, 5.0, 100.0])
@pytest.mark.parametrize("kind", [EulerSampler, HeunSampler])
def test_it_is_the_papers_algorithm(kind: type[EulerSampler], churn: float) -> None:
    model = edm_model()
    sampler = kind(num_steps=18, spacing=KarrasSpacing(), clip_x_0=False, churn=churn)
    noise = [torch.randn(4, 3, dtype=torch.float64) for _ in range(18)]
    left = iter(noise[1:] if churn else noise)  # at T, there is no higher noise level to raise to
    x_T = torch.randn(4, 3, dtype=torch.float64)
    ours = sampler.sample(model, x_T, randn_like=lambda x: next(left))
    sigma_T = float(((1 - model.process.alpha_bar[-1]) / model.process.alpha_bar[-1]).sqrt())
    start = x_T * math.sqrt(1 + sigma_T**2)
    theirs = algorithm_2(model, start, sampler.visited(model), noise, churn, second_order=kind is HeunSampler)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_euler_without_churn_is_ddim() -> None:
    model = edm_model()
    x_T = torch.randn(4, 3, dtype=torch.float64)
    for clip in (True, False):
        ours, ddim = (
            kind(num_steps=20, clip_x_0=clip).sample(model, x_T, randn_like=torch.randn_like)
            for kind in (EulerSampler, DDIMSampler)
        )
        torch.testing.assert_close(ours, ddim)


def test_its_step_alone_is_ddims() -> None:
    model, x_t, t = edm_model(), torch.randn(4, 3, dtype=torch.float64), torch.tensor([1, 2, 500, 1000])
    ours, ddim = (kind(clip_x_0=False).step(model, x_t, t) for kind in (HeunSampler, DDIMSampler))
    torch.testing.assert_close(ours.reverse.mean, ddim.reverse.mean)


@pytest.mark.parametrize(("kind", "order"), [(EulerSampler, 1), (HeunSampler, 2)])
def test_twice_the_steps_divide_the_error_by_two_to_the_order(kind: type[EulerSampler], order: int) -> None:
    whole = deviation(HeunSampler(clip_x_0=False))
    steps = (20, 40, 80)
    errors = [abs(deviation(kind(num_steps=k, spacing=KarrasSpacing(), clip_x_0=False)) - whole) for k in steps]
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.4)


def test_churn_keeps_the_distribution() -> None:
    """Of x_0 for the exact network; the noise that it adds is that of the forward process."""
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaVariance(), m=0.3, s=0.5)
    x_T = torch.randn(20_000, 1, dtype=torch.float64)
    sampler = HeunSampler(num_steps=60, spacing=KarrasSpacing(), clip_x_0=False, churn=30)
    x_0 = sampler.sample(model, x_T, randn_like=torch.randn_like)
    assert float(x_0.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(x_0.std()) == pytest.approx(0.5, abs=0.02)


class Counting(Silly):
    calls = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x, t)


@pytest.mark.parametrize("sampler", [HeunSampler(num_steps=18), EulerSampler(num_steps=18), HeunSampler(num_steps=1)])
def test_its_calls_are_counted(sampler: Sampler) -> None:
    model = edm_model()
    model.network = Counting()
    sampler.sample(model, torch.randn(2, 3), randn_like=torch.randn_like)
    assert model.network.calls == sampler.calls(model)


def test_heun_makes_one_call_less_than_two_a_step() -> None:
    assert HeunSampler(num_steps=18).calls(edm_model()) == 35


def test_on_a_chain_of_a_chain_it_visits_the_steps_of_the_first() -> None:
    model, x_T = edm_model(), torch.randn(2, 3, dtype=torch.float64)
    coarse = model.coarsen(list(range(1, 1000, 37)))
    sampler = HeunSampler(num_steps=9)
    again = HeunSampler().sample(coarse.coarsen(sampler.visited(coarse)), x_T, randn_like=torch.randn_like)
    torch.testing.assert_close(sampler.sample(coarse, x_T, randn_like=torch.randn_like), again)


@pytest.mark.parametrize("K", [1, 2, 18, 100, 999, 1000])
def test_karras_spacing_is_eq_5_rounded_to_the_chain(K: int) -> None:
    process = edm_model().process
    steps = KarrasSpacing().steps(process, K)
    assert len(set(steps)) == K
    assert steps == sorted(steps)
    assert 1 <= steps[0] <= steps[-1] == 1000
    if K == 18:
        sigma = ((1 - process.alpha_bar) / process.alpha_bar).sqrt()
        i = torch.arange(18, dtype=torch.float64)
        theirs = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        torch.testing.assert_close(sigma[steps].flip(0), theirs, rtol=0.006, atol=0)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="churn"):
        EulerSampler(churn=-1.0)
    with pytest.raises(UserError, match="rho"):
        KarrasSpacing(rho=0.0)
    with pytest.raises(UserError, match="lies outside"):
        HeunSampler(num_steps=1001).sample(edm_model(), torch.randn(2, 3), randn_like=torch.randn_like)
    assert HeunSampler(num_steps=18, spacing=KarrasSpacing(), churn=40).label(edm_model()) == "heun18_karras_churn40"


class Plain(Sampler):
    """A sampler that overrides nothing but what it must."""

    name = "plain"

    def step(self, model: DenoisingDiffusion, x_t: Tensor, t: Tensor, before: Tensor | None = None) -> Denoised:
        return model.denoise(x_t, t, self.clip_x_0)


def test_a_sampler_draws_noise_and_calls_once_a_step_unless_it_says_otherwise() -> None:
    model, x_T = edm_model(), torch.zeros(1, 3, dtype=torch.float64)
    sampler = Plain(num_steps=5)
    first, second = (sampler.sample(model, x_T, randn_like=torch.randn_like) for _ in range(2))
    assert not torch.equal(first, second)
    assert sampler.calls(model) == 5
    assert sampler.label(model) == "plain5"
