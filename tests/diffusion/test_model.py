"""p_θ: the reverse mean is the same thing in every parameterization, and Eq. 11 for ε."""

import pytest
import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon, Mu, Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.samplers import DDIMSampler
from ddpm_lightning.diffusion.schedules import LinearSchedule, Schedule
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance, LearnedVariance, Variance
from tests.choices import PARAMETERIZATIONS, SHORT_SCHEDULES, VARIANCES, name
from tests.exact import exact_model


class Says(nn.Module):
    """A network that says the same whatever it sees, and remembers the t it saw."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.t = t
        return self.output


def model_that_says(output: Tensor, parameterization: Parameterization) -> DenoisingDiffusion:
    process = GaussianDiffusion(LinearSchedule())
    return DenoisingDiffusion(Says(output), process, parameterization, BetaVariance())


def draw() -> tuple[Tensor, Tensor]:
    return torch.randn(1000, 1, 2, 2, dtype=torch.float64), torch.arange(1, 1001)


def test_reverse_mean_is_eq_11() -> None:
    """μ_θ = 1/√α_t (x_t − β_t/√(1 − ᾱ_t) ε_θ)."""
    x_t, t = draw()
    eps_hat = torch.randn_like(x_t)
    model = model_that_says(eps_hat, Epsilon())
    process = model.process
    scale = at(process.beta / (1 - process.alpha_bar).sqrt(), t, x_t)
    expected = (x_t - scale * eps_hat) / at(process.alpha.sqrt(), t, x_t)
    assert torch.allclose(model.reverse(x_t, t).mean, expected, atol=1e-10)


def test_mu_is_its_own_reverse_mean() -> None:
    x_t, t = draw()
    mu = torch.randn_like(x_t)
    assert torch.allclose(model_that_says(mu, Mu()).reverse(x_t, t).mean, mu, atol=1e-9)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_all_parameterizations_tell_the_same(parameterization: Parameterization) -> None:
    process = GaussianDiffusion(LinearSchedule())
    x_t, t = draw()
    reference = exact_model(process, Epsilon(), BetaVariance(), m=0.3, s=0.5).denoise(x_t, t)
    ours = exact_model(process, parameterization, BetaVariance(), m=0.3, s=0.5).denoise(x_t, t)
    assert torch.allclose(ours.x_0_hat, reference.x_0_hat, atol=1e-10)
    assert torch.allclose(ours.reverse.mean, reference.reverse.mean, atol=1e-10)


def test_network_sees_t_minus_one_as_in_the_official_code() -> None:
    x_t, t = draw()
    model = model_that_says(x_t, Epsilon())
    model(x_t, t)
    assert model.network.t.tolist() == list(range(1000))  # type: ignore[union-attr,operator]


def test_clipping_acts_on_x_0_hat_and_so_on_the_mean() -> None:
    x_t, t = 5 * draw()[0], draw()[1]
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaVariance(), s=3.0)
    clipped = model.denoise(x_t, t, clip_x_0=True)
    assert torch.equal(clipped.x_0_hat, model.predict_x_0(x_t, t).clamp(-1, 1))
    assert torch.equal(clipped.reverse.mean, model.process.mu_tilde(clipped.x_0_hat, x_t, t))


def test_learned_variance_is_the_second_half_of_the_channels() -> None:
    process = GaussianDiffusion(LinearSchedule())
    output = torch.randn(4, 6, 2, 2)
    model = DenoisingDiffusion(Says(output), process, Epsilon(), LearnedVariance())
    x_t, t = torch.randn(4, 3, 2, 2), torch.tensor([1, 2, 500, 1000])
    assert torch.equal(model(x_t, t).f, output[:, :3])
    assert torch.equal(model.reverse(x_t, t).log_variance, output[:, 3:])


def test_autocast_ends_at_the_networks_output() -> None:
    """bf16 stays inside the network: what is derived from its output is as exact as float32."""
    process = GaussianDiffusion(LinearSchedule())
    torch.manual_seed(1)
    network = Says(torch.randn(1000, 1, 2, 2).bfloat16())
    model = DenoisingDiffusion(network, process, Epsilon(), BetaTildeVariance())
    x_0, eps, t = torch.rand(1000, 1, 2, 2), torch.randn(1000, 1, 2, 2), torch.arange(1, 1001)
    with torch.autocast("cpu", torch.bfloat16):
        x_t = process.q_sample(x_0, t, eps)
        inside = model.denoise(x_t, t)
        kl = process.posterior(x_0, x_t, t).kl(inside.reverse)
    outside = model.denoise(x_t, t)
    assert x_t.dtype == inside.x_0_hat.dtype == kl.dtype == torch.float32
    assert torch.equal(x_t, process.q_sample(x_0, t, eps))
    assert torch.equal(inside.reverse.mean, outside.reverse.mean)
    assert torch.equal(kl, process.posterior(x_0, x_t, t).kl(outside.reverse))


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_coarse_chain_predicts_what_the_fine_one_does(parameterization: Parameterization) -> None:
    """μ̃'s coefficients change with the chain, x̂_0 must not; and ᾱ stays where it was."""
    process = GaussianDiffusion(LinearSchedule())
    fine = exact_model(process, parameterization, BetaVariance(), m=0.2, s=0.7)
    steps = [1, 10, 300, 301, 1000]
    coarse = fine.coarsen(steps)
    assert torch.allclose(coarse.process.alpha_bar[1:], process.alpha_bar[steps], rtol=1e-10)
    x_t = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    ours = coarse.predict_x_0(x_t, torch.arange(1, 6))
    assert torch.allclose(ours, fine.predict_x_0(x_t, torch.tensor(steps)), atol=1e-9)


def test_coarse_chain_of_all_steps_is_the_fine_one() -> None:
    process = GaussianDiffusion(LinearSchedule())
    fine = exact_model(process, Mu(), BetaVariance(), s=0.7)
    x_t, t = draw()
    ours, theirs = fine.coarsen(list(range(1, 1001))).reverse(x_t, t), fine.reverse(x_t, t)
    assert torch.allclose(ours.mean, theirs.mean, atol=1e-9)
    assert torch.allclose(ours.log_variance, theirs.log_variance, atol=1e-9)


def test_the_place_on_a_coarse_chain_is_the_nearest_step() -> None:
    model = model_that_says(torch.zeros(1), Epsilon())
    coarse = model.coarsen([1, 10, 300, 301, 1000])
    assert [coarse.nearest_step(t) for t in (1, 5, 6, 200, 301, 600, 700, 1000)] == [1, 1, 2, 3, 4, 4, 5, 5]
    assert [model.nearest_step(t) for t in (1, 500, 1000)] == [1, 500, 1000]


def random_model(schedule: Schedule, parameterization: Parameterization, variance: Variance) -> DenoisingDiffusion:
    """A model of one-pixel images whose network depends on x_t and on t."""

    class Random(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            f = torch.sin(x + at(torch.arange(schedule.T, dtype=torch.float64), t, x))
            return torch.cat([f] * (1 + variance.learned), dim=1)

    return DenoisingDiffusion(Random(), GaussianDiffusion(schedule), parameterization, variance)


@pytest.mark.parametrize("schedule", SHORT_SCHEDULES, ids=name)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
@pytest.mark.parametrize("variance", VARIANCES, ids=name)
def test_a_chain_of_a_chain_is_the_chain_of_the_steps_that_both_visit(
    schedule: Schedule, parameterization: Parameterization, variance: Variance
) -> None:
    fine = random_model(schedule, parameterization, variance)
    outer, inner = [2, 3, 7, 11, 20, 31, 50], [1, 4, 5, 7]
    twice = fine.coarsen(outer).coarsen(inner)
    once = fine.coarsen([2, 11, 20, 50])
    x_t, t = torch.randn(4, 1, 1, 1, dtype=torch.float64), torch.arange(1, 5)
    ours, theirs = twice.denoise(x_t, t), once.denoise(x_t, t)
    assert twice.steps.tolist() == once.steps.tolist() == [0, 2, 11, 20, 50]
    assert torch.equal(twice.process.alpha_bar, once.process.alpha_bar)
    assert torch.equal(ours.x_0_hat, theirs.x_0_hat)
    assert torch.equal(ours.reverse.mean, theirs.reverse.mean)
    assert torch.equal(ours.reverse.log_variance, theirs.reverse.log_variance)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=name)
def test_a_sampler_walks_its_own_chain_as_it_walks_the_whole_model(parameterization: Parameterization) -> None:
    model = random_model(LinearSchedule(T=50), parameterization, BetaVariance())
    sampler, x_T = DDIMSampler(num_steps=7), torch.randn(3, 1, 1, 1, dtype=torch.float64)
    expected = sampler.sample(model, x_T, randn_like=torch.randn_like)
    assert torch.equal(sampler.sample(sampler.chain(model), x_T, randn_like=torch.randn_like), expected)


@pytest.mark.parametrize("training", [True, False])
def test_another_variance_is_that_of_a_model_built_with_it(training: bool) -> None:
    """On every chain, and in the mode that the model was in."""
    process = GaussianDiffusion(LinearSchedule(T=50))
    beta, beta_tilde = (
        exact_model(process, Mu(), v, s=0.4).train(training) for v in (BetaVariance(), BetaTildeVariance())
    )
    x_t, steps = torch.randn(4, 1, dtype=torch.float64), [2, 11, 20, 50]
    for ours, built in (
        (beta.with_variance(BetaTildeVariance()), beta_tilde),
        (beta.coarsen(steps).with_variance(BetaTildeVariance()), beta_tilde.coarsen(steps)),
        (beta.with_variance(BetaTildeVariance()).coarsen(steps), beta_tilde.coarsen(steps)),
    ):
        assert ours.training is training
        for t in range(1, ours.process.T + 1):
            place = torch.full((4,), t)
            found, expected = ours.reverse(x_t, place), built.reverse(x_t, place)
            assert torch.equal(found.mean, expected.mean)
            assert torch.equal(found.log_variance, expected.log_variance)


@pytest.mark.parametrize(("num_steps", "calls"), [(None, 8), (5, 5), (8, 8), (50, 8)])
def test_a_sampler_of_more_steps_than_the_model_can_visit_all(num_steps: int | None, calls: int) -> None:
    model = exact_model(GaussianDiffusion(LinearSchedule(T=8)), Epsilon(), BetaVariance(), s=0.4)
    assert DDIMSampler(num_steps=num_steps).at_most_all(model).calls(model) == calls
