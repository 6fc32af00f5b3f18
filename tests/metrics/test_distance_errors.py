"""Standard errors of distances, against repeated draws; the kernel distance over all pairs; and FD∞."""

import numpy as np
import pytest
from torch_fidelity.metric_kid import kid_features_to_metric

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.infinite_images import ExtrapolatedFrechetDistance
from ddpm_lightning.metrics.jackknife import jackknife
from ddpm_lightning.metrics.kernel import MaximumMeanDiscrepancy
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.metrics.scores import FrechetDistance, Score
from tests.metrics.test_scores import normal, seen

STANDARD = Reference(given={"mu": np.zeros(5, np.float32), "sigma": np.eye(5)})
"""The mean and covariance of infinitely many real images of N(0, I)."""


def test_the_kernel_distance_is_torch_fidelitys_on_one_subset_of_all_images() -> None:
    ours, real = normal(300, shift=0.3, seed=1), normal(300)
    options = {"kid_subsets": 1, "kid_subset_size": 300, "rng_seed": 0, "verbose": False}
    theirs = kid_features_to_metric(ours.double(), real.double(), **options)["kernel_inception_distance_mean"]
    assert MaximumMeanDiscrepancy()(seen(ours), Reference(real))[0].value == pytest.approx(theirs, rel=1e-9)


def test_the_error_of_the_kernel_distance_is_that_of_repeated_draws() -> None:
    real = Reference(normal(300))
    found = [MaximumMeanDiscrepancy()(seen(normal(200, shift=0.3, seed=1 + i)), real)[0] for i in range(200)]
    variances = [each.standard_error**2 for each in found if each.standard_error is not None]
    assert np.var([each.value for each in found], ddof=1) == pytest.approx(np.mean(variances), rel=0.35)


@pytest.mark.parametrize("score", [FrechetDistance(), ExtrapolatedFrechetDistance(points=3)], ids=["fd", "fd_infinity"])
def test_the_error_by_the_jackknife_is_that_of_repeated_draws(score: Score) -> None:
    found = [jackknife(score, seen(normal(400, shift=0.5, seed=i)), STANDARD, groups=10)[0] for i in range(40)]
    spread = np.std([each.value for each in found], ddof=1)
    assert spread == pytest.approx(np.mean([each.standard_error for each in found]), rel=0.3)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_extrapolation_removes_the_bias_of_the_number_of_images(shift: float) -> None:
    """N(shift, I) is 5 · shift² from N(0, I); the distance of 200 images is more, and FD∞ is not."""
    sets = [seen(normal(200, shift=shift, seed=i)) for i in range(40)]
    plain, extrapolated = (
        np.array([score(images, STANDARD)[0].value for images in sets])
        for score in (FrechetDistance(), ExtrapolatedFrechetDistance(points=5))
    )
    truth, error = 5 * shift**2, float(extrapolated.std() / 40**0.5)
    assert plain.mean() - extrapolated.mean() > 0.025
    assert extrapolated.mean() == pytest.approx(truth, abs=3 * error + 0.01)


def test_extrapolation_is_the_line_over_one_over_n() -> None:
    images = normal(300, shift=0.2)
    numbers = [30, 165, 300]
    distances = [FrechetDistance()(seen(images[:N]), STANDARD)[0].value for N in numbers]
    x = np.array([1 / N for N in numbers])
    slope = np.cov(x, distances)[0, 1] / x.var(ddof=1)
    expected = np.mean(distances) - slope * x.mean()
    assert ExtrapolatedFrechetDistance(points=3)(seen(images), STANDARD)[0].value == pytest.approx(expected)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"59 generated images are too few to extrapolate .*; 60 are the least"):
        ExtrapolatedFrechetDistance().check(59, 5, "generated")
    ExtrapolatedFrechetDistance().check(60, 5, "generated")
    with pytest.raises(UserError, match="1 real image makes no pair"):
        MaximumMeanDiscrepancy().check(1, 5, "real")
    with pytest.raises(UserError, match="points=1"):
        ExtrapolatedFrechetDistance(points=1)
