"""Power-function profiles: their length, their update and their inner products, against sums and quadrature."""

import numpy as np
import pytest

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.post_hoc_ema.profiles import (
    LONGEST,
    Profile,
    check_length,
    combine,
    decay,
    gamma_of,
    inner_product,
    length_of,
)


def density(profile: Profile, tau: np.ndarray) -> np.ndarray:
    """p(τ), which is 0 after n."""
    inside = (profile.gamma + 1) * tau**profile.gamma / profile.n ** (profile.gamma + 1)
    return np.where(tau <= profile.n, inside, 0.0)


def integral(values: np.ndarray, tau: np.ndarray) -> float:
    return float(np.trapezoid(values, tau))


@pytest.mark.parametrize("length", [0.02, 0.05, 0.1, 0.2, LONGEST])
def test_the_length_is_the_standard_deviation_of_the_profile(length: float) -> None:
    tau = np.linspace(0, 1, 200_001)
    p = density(Profile(1, gamma_of(length)), tau)
    mean = integral(p * tau, tau)
    assert integral(p, tau) == pytest.approx(1, rel=1e-6)
    assert np.sqrt(integral(p * (tau - mean) ** 2, tau)) == pytest.approx(length, rel=1e-6)
    assert length_of(gamma_of(length)) == pytest.approx(length, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 16.97])
def test_the_updates_give_each_step_the_integral_of_the_profile_over_it(gamma: float) -> None:
    shares = np.zeros(40)
    for n in range(1, 41):
        shares *= decay(gamma, n)
        shares[n - 1] = 1 - decay(gamma, n)
    ends = (np.arange(41) / 40) ** (gamma + 1)
    assert shares == pytest.approx(np.diff(ends), abs=1e-14)


@pytest.mark.parametrize("one", [Profile(70, 6.9), Profile(100, 0.0)])
@pytest.mark.parametrize("other", [Profile(100, 16.97), Profile(30, 1.2), Profile(70, 6.9)])
def test_inner_products_are_their_integrals(one: Profile, other: Profile) -> None:
    """To the end of the shorter profile, which jumps there."""
    tau = np.linspace(0, min(one.n, other.n), 200_001)
    expected = integral(density(one, tau) * density(other, tau), tau)
    assert inner_product(one, other) == pytest.approx(expected, rel=1e-6)
    assert inner_product(other, one) == inner_product(one, other)


def test_a_combined_profile_is_as_near_as_it_says() -> None:
    kept = [Profile(10 * k, gamma_of(length)) for k in range(1, 21) for length in (0.05, 0.1)]
    wanted = Profile(200, gamma_of(0.15))
    factors, error = combine(kept, wanted)
    tau = np.linspace(0, 200, 400_001)
    combined = sum(factor * density(profile, tau) for factor, profile in zip(factors, kept, strict=True))
    square = integral((combined - density(wanted, tau)) ** 2, tau)
    assert error == pytest.approx(np.sqrt(square / inner_product(wanted, wanted)), rel=1e-2)
    assert 0 < error < 0.01
    assert sum(factors) == pytest.approx(1, abs=1e-12)
    assert combine(kept, kept[7])[1] < 1e-6


@pytest.mark.parametrize("length", [0, 0.3, -1, "long"])
def test_lengths_that_no_profile_has_are_refused(length: object) -> None:
    with pytest.raises(UserError, match=r"ema_length=.* lies outside \(0, 0.288675\]"):
        check_length("ema_length", length)
