"""Scores against closed forms and SciPy; on features made up so that the answer is known."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.extractor import Extracted
from ddpm_lightning.metrics.reference import Reference, frechet_distance, statistics_of
from ddpm_lightning.metrics.scores import ClassifierScore, FrechetDistance, KernelDistance, PrecisionRecall, Score

SCORES = [FrechetDistance(), ClassifierScore(), KernelDistance(), PrecisionRecall()]


def seen(features: Tensor) -> Extracted:
    return Extracted(features, features)


def normal(n: int, d: int = 5, shift: float = 0.0, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def test_frechet_distance_is_its_formula_by_scipy() -> None:
    mix = torch.tensor([[2.0, 0.3, 0.0], [0.0, 1.0, 0.5], [0.1, 0.0, 0.4]])
    one, other = normal(500, 3), normal(400, 3, shift=0.7, seed=1) @ mix
    means = [x.double().mean(0).numpy() for x in (one, other)]
    covariances = [np.cov(x.double().numpy(), rowvar=False) for x in (one, other)]
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(statistics_of(one), statistics_of(other)) == pytest.approx(expected, rel=1e-5)
    assert FrechetDistance()(seen(one), Reference(other))[0].value == pytest.approx(expected, rel=1e-5)


def test_classifier_score_of_sure_and_even_predictions_is_the_number_of_classes() -> None:
    sure = 100 * torch.eye(7).repeat(100, 1)
    assert ClassifierScore(splits=1)(seen(sure), Reference())[0].value == pytest.approx(7)
    one_class = 100 * torch.eye(7)[:1].repeat(100, 1)
    assert ClassifierScore()(seen(one_class), Reference())[0].value == pytest.approx(1)


def test_kernel_distance_is_unbiased_and_rises_with_the_shift() -> None:
    kid = KernelDistance(subsets=50, subset_size=100)
    same, near, far = (kid(seen(normal(1000, shift=s, seed=1)), Reference(normal(1000)))[0] for s in (0, 0.3, 1.0))
    assert same.standard_deviation is not None
    assert abs(same.value) < 3 * same.standard_deviation / math.sqrt(10)
    assert same.value < near.value < far.value


def test_precision_and_recall_know_copies_strangers_and_a_missing_half() -> None:
    real = torch.cat([normal(300), normal(300, shift=50)])
    values = {
        name: [value.value for value in PrecisionRecall()(seen(generated), Reference(real))]
        for name, generated in {
            "copies": real.clone(),
            "strangers": normal(600, shift=500),
            "half": torch.cat([normal(300, seed=1), normal(300, seed=2)]),
        }.items()
    }
    assert values["copies"] == [1, 1]
    assert values["strangers"] == [0, 0]
    precision, recall = values["half"]
    assert precision > 0.8
    assert recall < 0.51


def test_floor_is_what_fresh_real_images_score() -> None:
    """Over many sets from one distribution, against the same real ones."""
    floors, fresh = [], []
    for seed in range(20):
        real = Reference(normal(2000, 20, seed=100 + seed))
        floors.append(real.floor(500))
        fresh.append(FrechetDistance()(seen(normal(500, 20, seed=seed)), real)[0].value)
    assert np.mean(fresh) == pytest.approx(np.mean(floors), rel=0.1)


def test_an_implausible_distance_is_reported_as_such() -> None:
    real = Reference(normal(1000, 20))
    (copies,) = FrechetDistance()(seen(normal(1000, 20)), real)
    assert copies.warning is not None
    assert "copies of the reference" in copies.warning
    (honest,) = FrechetDistance()(seen(normal(1000, 20, shift=0.3, seed=1)), real)
    assert honest.warning is None


@pytest.mark.parametrize("score", SCORES, ids=lambda score: type(score).__name__)
def test_too_few_images_are_refused(score: Score) -> None:
    with pytest.raises(UserError, match="2 generated images"):
        score.check(2, 5, "generated")
    score.check(1000, 5, "generated")


def test_too_few_real_images_are_refused() -> None:
    with pytest.raises(UserError, match="5 real images do not exceed"):
        FrechetDistance().check_reference(Reference(normal(5)), 5)
    with pytest.raises(UserError, match="50 real images"):
        KernelDistance().check_reference(Reference(normal(50)), 5)


@pytest.mark.parametrize("score", [KernelDistance(), PrecisionRecall()], ids=["kid", "prc"])
def test_mean_and_covariance_are_not_enough_for_all(score: Score) -> None:
    with pytest.raises(UserError, match="holds only mean and covariance"):
        score.check_reference(Reference(given=statistics_of(normal(10))), 5)
    FrechetDistance().check_reference(Reference(given=statistics_of(normal(10))), 5)


def test_settings_that_are_not_the_usual_ones_have_a_name() -> None:
    assert [score.suffix for score in SCORES] == [""] * 4
    assert KernelDistance(subsets=7, subset_size=10).suffix == "_subsets7_subset_size10"
