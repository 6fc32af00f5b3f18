"""The bound against entropies, its own rewriting and its limit in T."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.likelihood import (
    Estimate,
    as_proposal,
    bits_per_dimension,
    bound_term,
    estimate_bound,
    every_term,
    grid,
    harmonic,
    pilot,
    prior_term,
)
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import ConstantSchedule, LinearSchedule, Schedule, schedule_of_log_snr
from ddpm_lightning.diffusion.variances import BetaTildeVariance, BetaVariance, LearnedVariance, Variance
from tests.choices import FEW_SHORT_SCHEDULES, SHORT_SCHEDULES, name
from tests.diffusion.samplers.test_samplers import best_log_variance
from tests.exact import exact_model, four_corners


class BetaThroughout(BetaVariance):
    """σ_t² = β_t at t = 1 too, where the house follows the official code and takes β̃_2."""

    def log_variance(self, process, t, x_t, v):  # type: ignore[no-untyped-def]
        return process.beta.log()[t].reshape(-1, 1)


def bound_in_nats(model: DenoisingDiffusion, m: float, s: float) -> float:
    """E[L_T + Σ L_{t−1} + L_0] of data N(m, s²) with a Gaussian decoder, exactly: every term is quadratic."""
    x_0, eps = four_corners()
    x_0 = m + s * x_0
    total = model.process.prior_kl(x_0).mean()
    for step in range(1, model.process.T + 1):
        t = torch.full((4,), step)
        x_t = model.process.q_sample(x_0, t, eps)
        reverse = model.reverse(x_t, t)
        term = reverse.nll(x_0) if step == 1 else model.process.posterior(x_0, x_t, t).kl(reverse)
        total = total + term.mean()
    return total.item()


def entropy(s: float) -> float:
    return 0.5 * math.log(2 * math.pi * math.e * s**2)


@pytest.mark.parametrize("schedule", SHORT_SCHEDULES, ids=name)
def test_bound_of_unit_gaussian_data_is_its_entropy(schedule: Schedule) -> None:
    """The exact ε and σ² = β leave no gap: L_T + ΣL + L_0 = ½ log 2πe (design, section 8)."""
    model = exact_model(GaussianDiffusion(schedule), Epsilon(), BetaThroughout())
    assert bound_in_nats(model, m=0.0, s=1.0) == pytest.approx(entropy(1.0), abs=1e-6)


def test_bound_of_unit_gaussian_data_is_its_entropy_on_the_papers_chain() -> None:
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaThroughout())
    assert bound_in_nats(model, m=0.0, s=1.0) == pytest.approx(entropy(1.0), abs=1e-6)


@pytest.mark.parametrize("schedule", SHORT_SCHEDULES, ids=name)
def test_bound_of_any_gaussian_with_the_best_variance_is_entropy_plus_prior_gap(schedule: Schedule) -> None:
    process, m, s = GaussianDiffusion(schedule), 0.3, 0.5
    model = exact_model(process, Epsilon(), LearnedVariance(), m, s, v=best_log_variance(process, s))
    assert bound_in_nats(model, m, s) == pytest.approx(entropy(s) + prior_gap(process, m, s), abs=1e-8)


def prior_gap(process: GaussianDiffusion, m: float, s: float) -> float:
    """D_KL(q(x_T) ‖ p(x_T)) of data N(m, s²)."""
    alpha_bar = process.alpha_bar[-1]
    q_x_T = Gaussian((alpha_bar.sqrt() * m).reshape(1, 1), (alpha_bar * s**2 + 1 - alpha_bar).log())
    return q_x_T.kl(Gaussian(torch.zeros(1, 1).double(), torch.zeros(()).double())).item()


@pytest.mark.parametrize("schedule", FEW_SHORT_SCHEDULES, ids=name)
@pytest.mark.parametrize("variance", [BetaThroughout(), LearnedVariance()], ids=["beta", "learned"])
def test_eq_16_is_the_bound_rewritten(schedule: Schedule, variance: Variance) -> None:
    """L = D_KL(q(x_T) ‖ p(x_T)) + Σ_{t≥1} E D_KL(q(x_{t−1} | x_t) ‖ p_θ(x_{t−1} | x_t)) + H(x_0), for a network that is
    wrong: it believes in data N(0, 0.8²) while the data are N(0.3, 0.5²)."""
    process, m, s = GaussianDiffusion(schedule), 0.3, 0.5
    v = best_log_variance(process, 0.8) if variance.learned else None
    model = exact_model(process, Epsilon(), variance, 0.0, 0.8, v=v)
    right = exact_model(process, Epsilon(), LearnedVariance(), m, s, v=best_log_variance(process, s))
    x_0, eps = four_corners()
    rewritten = prior_gap(process, m, s) + entropy(s)
    for step in range(1, process.T + 1):
        t = torch.full((4,), step)
        x_t = process.q_sample(m + s * x_0, t, eps)
        rewritten += right.reverse(x_t, t).kl(model.reverse(x_t, t)).mean().item()
    assert bound_in_nats(model, m, s) == pytest.approx(rewritten, rel=1e-9)


def chain_between(T: int, shape: float) -> GaussianDiffusion:
    """T steps whose log SNR falls from 8 to −6, as a power of t: every schedule with the same ends."""
    u = torch.linspace(0, 1, T, dtype=torch.float64) ** shape
    return GaussianDiffusion(schedule_of_log_snr(8 - 14 * u))


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0])
def test_bound_depends_on_the_ends_of_the_schedule_alone_as_T_grows(shape: float) -> None:
    """Σ_{t≥2} L_{t−1} → ½∫ E(x_0 − x̂_0)² dSNR = ½ log((1 + s² SNR_1)/(1 + s² SNR_T)) (Kingma et al., 2021)."""
    s = 0.5
    errors = []
    for T in (400, 1600, 6400):
        process = chain_between(T, shape)
        model = exact_model(process, Epsilon(), BetaTildeVariance(), s=s)
        t = torch.arange(2, T + 1)
        terms = torch.zeros(T - 1, dtype=torch.float64)
        for x_0, eps in zip(*four_corners(), strict=True):
            x_0, eps = (s * x_0).expand(T - 1, 1), eps.expand(T - 1, 1)
            x_t = process.q_sample(x_0, t, eps)
            terms += bound_term(model, model(x_t, t), x_0, x_t, t) / 4
        snr = process.snr
        limit = 0.5 * math.log2((1 + s**2 * snr[1]) / (1 + s**2 * snr[-1]))
        errors.append(abs(terms.sum().item() - limit))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 0.03


def test_bound_term_is_a_kl_and_at_the_first_step_the_decoder() -> None:
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaVariance(), levels=17)
    x_0, t = torch.full((2, 1, 1, 3), 0.125, dtype=torch.float64), torch.tensor([1, 9])
    x_t = model.process.q_sample(x_0, t, torch.randn_like(x_0))
    terms = bound_term(model, model(x_t, t), x_0, x_t, t) * 3 * math.log(2)
    reverse = model.reverse(x_t, t)
    assert terms[0].item() == pytest.approx(reverse.discretized_nll(x_0, 17)[0].item())
    assert terms[1].item() == pytest.approx(model.process.posterior(x_0, x_t, t).kl(reverse)[1].item())


def test_prior_term_is_l_T_in_bits() -> None:
    model = exact_model(GaussianDiffusion(LinearSchedule()), Epsilon(), BetaVariance())
    x_0 = torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64)
    assert prior_term(model, x_0).item() == pytest.approx(7.278677e-06, rel=1e-6)
    assert bits_per_dimension(torch.tensor([48 * math.log(2)]), x_0).item() == pytest.approx(1.0)


@pytest.fixture(scope="module")
def many() -> tuple[DenoisingDiffusion, Tensor, Tensor]:
    """A model, 10,000 times the same image, and the whole sum for each; x̂_0 clipped, as in the paper's evaluation."""
    model = exact_model(GaussianDiffusion(LinearSchedule(T=50, beta_T=0.3)), Epsilon(), BetaVariance(), s=0.5)
    x_0 = torch.full((10_000, 1), 0.2 * 5, dtype=torch.float64)
    terms = [measured.term for measured in every_term(model, x_0, randn_like=torch.randn_like)]
    return model, x_0, prior_term(model, x_0) + torch.stack(terms).sum(0)


def estimated(model: DenoisingDiffusion, x_0: Tensor, proposal: Tensor, number: int) -> Estimate:
    return estimate_bound(model, x_0, proposal, number, rand=lambda: torch.rand(len(x_0)), randn_like=torch.randn_like)


def test_every_term_is_each_term_once(many: tuple[DenoisingDiffusion, Tensor, Tensor]) -> None:
    model, x_0, exact = many
    terms = []
    for step in range(1, 51):
        t = torch.full((len(x_0),), step)
        x_t = model.process.q_sample(x_0, t, torch.randn_like(x_0))
        terms.append(bound_term(model, model(x_t, t), x_0, x_t, t, clip_x_0=True))
    again = prior_term(model, x_0) + torch.stack(terms).sum(0)
    assert abs(again.mean() - exact.mean()) < 4 * spread(exact, again)


PROPOSALS = {
    "harmonic": harmonic(50),
    "uniform": as_proposal(torch.ones(50, dtype=torch.float64)),
    "wrong": as_proposal(torch.linspace(0.01, 1, 50, dtype=torch.float64)),
}


@pytest.mark.parametrize("proposal", PROPOSALS.values(), ids=PROPOSALS.keys())
@pytest.mark.parametrize("number", [2, 5, 40])
def test_estimate_is_unbiased_whatever_the_proposal(
    many: tuple[DenoisingDiffusion, Tensor, Tensor], number: int, proposal: Tensor
) -> None:
    model, x_0, exact = many
    estimate = estimated(model, x_0, proposal, number)
    assert abs(estimate.bound.mean() - exact.mean()) < 4 * spread(exact, estimate.bound)


@pytest.mark.parametrize("number", [2, 5, 40])
def test_the_error_an_estimate_tells_is_no_smaller_than_its_error(
    many: tuple[DenoisingDiffusion, Tensor, Tensor], number: int
) -> None:
    """The same image 10,000 times: what spreads is the draws of t and x_t alone."""
    model, x_0, _ = many
    proposal = as_proposal(pilot(model, x_0[:500], 20, randn_like=torch.randn_like), uniform_share=0.01)
    estimate = estimated(model, x_0, proposal, number)
    true = estimate.bound.var().item()
    assert 0.9 * true < estimate.variance.mean().item() < 2.5 * true


@pytest.mark.parametrize("number", [2, 5, 24])
def test_an_estimate_whose_spread_is_all_in_one_stratum_still_tells_its_error(number: int) -> None:
    """p(1) = 1/number, so the first stratum is t = 1 alone, and x_0 lies where the decoder at x_1 spreads most."""
    model = exact_model(
        GaussianDiffusion(LinearSchedule(T=50, beta_1=0.2, beta_T=0.3)), Epsilon(), BetaVariance(), s=0.5
    )
    weights = torch.full((50,), (number - 1) / 49 / number, dtype=torch.float64)
    weights[0] = 1 / number
    x_0 = torch.full((20_000, 1), 1.0, dtype=torch.float64)
    estimate = estimated(model, x_0, as_proposal(weights, uniform_share=0.0), number)
    assert estimate.variance.mean().item() > 0.9 * estimate.bound.var().item()


def test_the_pilots_proposal_beats_the_others(many: tuple[DenoisingDiffusion, Tensor, Tensor]) -> None:
    model, x_0, _ = many
    best = as_proposal(pilot(model, x_0[:500], 20, randn_like=torch.randn_like), uniform_share=0.01)
    variances = [estimated(model, x_0, p, 8).bound.var().item() for p in (best, *PROPOSALS.values())]
    assert variances[0] == min(variances)


@pytest.mark.parametrize("T", [2, 3, 50, 1000])
@pytest.mark.parametrize("number", [2, 7, 64, 5000])
def test_grid_has_both_ends_and_a_proposal_sums_to_1(T: int, number: int) -> None:
    steps = grid(T, number)
    assert steps[0] == 1
    assert steps[-1] == T
    assert len(steps) == len(set(steps)) <= max(number, 2)
    for p in (harmonic(T), as_proposal(torch.ones(T, dtype=torch.float64))):
        assert p[0] == 0
        assert (p[1:] > 0).all()
        assert p.sum().item() == pytest.approx(1)


def test_pilot_measures_the_root_of_the_mean_square(many: tuple[DenoisingDiffusion, Tensor, Tensor]) -> None:
    """On the grid of every t, nothing is interpolated: the terms of the exact network, over many draws of x_t."""
    model, x_0, _ = many
    weights = pilot(model, x_0, 5000, randn_like=torch.randn_like)
    for t in (1, 2, 25, 50):
        x_t = model.process.q_sample(x_0, torch.full((len(x_0),), t), torch.randn_like(x_0))
        term = bound_term(model, model(x_t, torch.full((len(x_0),), t)), x_0, x_t, torch.full((len(x_0),), t), True)
        assert weights[t - 1].item() == pytest.approx(term.square().mean().sqrt().item(), rel=0.1)


def test_decoder_with_a_perfect_mean_has_the_floor_of_its_variance() -> None:
    """σ_1 = √β̃_2 is a sixteenth of the distance between two of 17 levels: its discrete decoder misses nothing. Between
    two of 256 it is 0.94 of it: bits/dim of an inner pixel by SciPy's normal distribution, from outside the house."""
    process = GaussianDiffusion(LinearSchedule())
    sigma = process.beta_tilde[2].sqrt().item()
    for levels in (17, 256):
        half = 1 / (levels - 1)
        inside = -math.log2(norm.cdf(half / sigma) - norm.cdf(-half / sigma))
        x_0 = torch.full((1, 1), 2 * (levels // 2) / (levels - 1) - 1, dtype=torch.float64)
        perfect = Gaussian(x_0, torch.full((1, 1), 2 * math.log(sigma), dtype=torch.float64))
        found = bits_per_dimension(perfect.discretized_nll(x_0, levels), x_0).item()
        assert found == pytest.approx(inside, abs=1e-9)


def spread(*samples: Tensor) -> float:
    return math.sqrt(sum(sample.var().item() / len(sample) for sample in samples))


class Wavy(nn.Module):
    """A network that was not trained for anything: the identity below holds for every p_θ."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(2 * x + t.reshape(-1, 1)) + 0.3 * x


@pytest.mark.slow
def test_eq_16_is_the_bound_rewritten_for_discrete_data_and_any_network() -> None:
    """L = D_KL(q(x_T) ‖ p(x_T)) + E_q Σ_{t≥1} D_KL(q(x_{t−1} | x_t) ‖ p_θ(x_{t−1} | x_t)) + H(x_0), the autoregressive
    view of Section 4.3, for one pixel of three levels: both forms by quadrature. q(x_{t−1} | x_t) is a mixture of three
    Gaussians, and at t = 1 three probabilities."""
    process = GaussianDiffusion(ConstantSchedule(T=4, beta=0.3))
    model = DenoisingDiffusion(Wavy(), process, Epsilon(), BetaVariance(), levels=3)
    points, weights = torch.tensor([-1.0, 0.0, 1.0]).double(), torch.tensor([0.5, 0.2, 0.3]).double()
    x = torch.linspace(-9, 9, 3001, dtype=torch.float64)
    dx = x[1] - x[0]
    T = process.T

    def log_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
        """log N(x; mean, σ²) on the grid, the last axis."""
        mean, log_variance = mean[..., None], log_variance[..., None]
        return -0.5 * (math.log(2 * math.pi) + log_variance + (x - mean).square() / log_variance.exp())

    def density(t: int) -> Tensor:
        """q(x_t | x_0) on the grid for each point: [3, grid]."""
        alpha_bar = process.alpha_bar[t]
        return log_normal(alpha_bar.sqrt() * points, (1 - alpha_bar).log().expand(3)).exp()

    eq_5 = (weights * model.process.prior_kl(points[:, None])).sum()
    eq_16 = -(weights * weights.log()).sum()
    prior = (weights @ density(T)).clamp(min=1e-300)
    eq_16 = eq_16 + (prior * (prior.log() - log_normal(torch.zeros(()).double(), torch.zeros(()).double()))).sum() * dx
    for t in range(T, 0, -1):
        q, steps = density(t), torch.full((len(x),), t)
        for point, weight, q_given in zip(points, weights, q, strict=True):
            x_0 = point.expand(len(x), 1).contiguous()
            term = bound_term(model, model(x[:, None], steps), x_0, x[:, None], steps) * math.log(2)
            eq_5 = eq_5 + weight * (q_given * term).sum() * dx
        share = weights[:, None] * q / (weights @ q).clamp(min=1e-300)  # q(x_0 | x_t): [3, grid]
        reverse = model.reverse(x[:, None], steps)
        if t == 1:
            log_p = torch.stack([-reverse.discretized_nll(point.expand(len(x), 1), 3) for point in points])
            divergence = torch.where(share > 0, share * (share.clamp(min=1e-300).log() - log_p), 0.0).sum(0)
        else:
            log_variance = process.log_beta_tilde[t].expand(len(x))
            of_points = [
                log_normal(process.c_x_0[t] * point + process.c_x_t[t] * x, log_variance).exp() for point in points
            ]
            mixture = sum(s[:, None] * part for s, part in zip(share, of_points, strict=True)).clamp(min=1e-300)
            log_p = log_normal(reverse.mean[:, 0], reverse.log_variance.reshape(-1).expand(len(x)))
            divergence = (mixture * (mixture.log() - log_p)).sum(1) * dx
        eq_16 = eq_16 + ((weights @ q) * divergence).sum() * dx
    assert eq_16.item() == pytest.approx(eq_5.item(), rel=1e-6)
