"""Gaussians against torch.distributions, SciPy and arithmetic of many digits."""

import math

import mpmath
import pytest
import torch
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from ddpm_lightning.diffusion.gaussian import Gaussian


def some_gaussian(dtype: torch.dtype = torch.float64) -> Gaussian:
    return Gaussian(torch.randn(3, 2, 4, 4, dtype=dtype), torch.randn(3, 2, 4, 4, dtype=dtype))


def as_normal(gaussian: Gaussian) -> Normal:
    return Normal(gaussian.mean, (0.5 * gaussian.log_variance).exp().expand_as(gaussian.mean))


def test_kl_is_torchs() -> None:
    p, q = some_gaussian(), some_gaussian()
    assert torch.allclose(p.kl(q), kl_divergence(as_normal(p), as_normal(q)).sum((1, 2, 3)))
    assert p.kl(p).abs().max() < 1e-12


def test_kl_broadcasts_a_variance_for_all_dimensions() -> None:
    p = Gaussian(torch.randn(3, 5), torch.zeros(3, 1))
    q = Gaussian(torch.randn(3, 5), torch.ones(()))
    assert torch.allclose(p.kl(q), kl_divergence(as_normal(p), as_normal(q)).sum(1))


def test_nll_is_torchs() -> None:
    p, x = some_gaussian(), torch.randn(3, 2, 4, 4, dtype=torch.float64)
    assert torch.allclose(p.nll(x), -as_normal(p).log_prob(x).sum((1, 2, 3)))


def test_sample_has_mean_and_variance() -> None:
    p = Gaussian(torch.full((100_000, 1), 2.0), torch.tensor(math.log(9.0)))
    x = p.sample(torch.randn(100_000, 1))
    assert x.mean().item() == pytest.approx(2.0, abs=0.03)
    assert x.std().item() == pytest.approx(3.0, rel=0.01)


def grid(levels: int) -> torch.Tensor:
    return torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("mean", [-3.0, -0.31, 0.0, 1.0])
@pytest.mark.parametrize("sigma", [1e-3, 0.05, 2.0])
def test_probabilities_of_all_levels_sum_to_one(levels: int, mean: float, sigma: float) -> None:
    decoder = Gaussian(
        torch.full((levels, 1), mean, dtype=torch.float64), torch.tensor(2 * math.log(sigma), dtype=torch.float64)
    )
    assert (-decoder.discretized_nll(grid(levels), levels)).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("k", "mean", "sigma"), [(8, 0.0, 0.1), (3, 0.9, 0.02), (0, 0.4, 0.03), (16, -0.8, 0.05)])
def test_discretized_nll_is_the_integral_of_eq_13(k: int, mean: float, sigma: float) -> None:
    """The bin's mass by mpmath with 60 digits, far out in the tails too, where a difference of cdfs would be 0."""
    levels, x = 17, 2 * k / 16 - 1
    with mpmath.workdps(60):
        upper = mpmath.inf if k == levels - 1 else mpmath.mpf(x) + mpmath.mpf(1) / 16
        lower = -mpmath.inf if k == 0 else mpmath.mpf(x) - mpmath.mpf(1) / 16
        cdf = lambda value: mpmath.ncdf(value, mean, sigma)  # noqa: E731
        tail = lambda value: mpmath.ncdf(-value, -mean, sigma)  # noqa: E731
        mass = tail(lower) - tail(upper) if lower > mean else cdf(upper) - cdf(lower)
        expected = float(-mpmath.log(mass))
    decoder = Gaussian(
        torch.full((1, 1), mean, dtype=torch.float64), torch.tensor(2 * math.log(sigma), dtype=torch.float64)
    )
    ours = decoder.discretized_nll(torch.full((1, 1), x, dtype=torch.float64), levels)
    assert ours.item() == pytest.approx(expected, rel=1e-9)


def test_perfect_mean_has_the_known_floor() -> None:
    """σ² = β̃_2 of the linear schedule and 256 levels: what no network can go below.

    The official code's tanh for the normal distribution makes it 1.3057 bits inside and 0.5099 at an edge; the integral
    of Eq. 13 itself, by SciPy, is 1.3054 and 0.5098.
    """
    variance = 5.4531876613021935e-05
    z = 1 / 255 / math.sqrt(variance)
    inside, edge = -math.log2(2 * norm.cdf(z) - 1), -math.log2(norm.cdf(z))
    assert (inside, edge) == pytest.approx((1.3054, 0.5098), abs=5e-5)
    for k, bits in ((100, inside), (0, edge), (255, edge)):
        x = torch.full((1, 1), 2 * k / 255 - 1, dtype=torch.float64)
        decoder = Gaussian(x, torch.tensor(math.log(variance), dtype=torch.float64))
        assert decoder.discretized_nll(x, 256).item() / math.log(2) == pytest.approx(bits, rel=1e-9)


def test_discretized_nll_has_finite_gradients_everywhere() -> None:
    mean = torch.linspace(-50, 50, 1001)[:, None].requires_grad_()
    log_variance = torch.linspace(-12, 12, 1001)[:, None].requires_grad_()
    for k in (0, 3, 16):
        x = torch.full((1001, 1), 2 * k / 16 - 1)
        nll = Gaussian(mean, log_variance).discretized_nll(x, 17)
        assert nll.dtype == torch.float32
        assert nll.isfinite().all()
        gradients = torch.autograd.grad(nll.sum(), (mean, log_variance))
        assert all(gradient.isfinite().all() for gradient in gradients)
