"""Copies of training images are told, by the published percentage and by our share; and what neither tells."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_lightning.data.digits import DigitsDataModule
from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.classifier import DataSetClassifier
from ddpm_lightning.metrics.extractor import extract_all
from ddpm_lightning.metrics.memorisation import Authenticity, nearest, share_nearer
from ddpm_lightning.metrics.reference import Reference
from ddpm_lightning.studies.classifier_training import as_bytes
from tests.commands import slow
from tests.metrics.test_scores import normal, seen

TRAIN, TEST = (as_bytes(DigitsDataModule(), split) for split in ("train", "test"))
FRESH, HELD_OUT = TEST[:148], TEST[148:]


def in_pixels(images: Tensor) -> Tensor:
    return images.flatten(1).float()


def in_features(images: Tensor) -> Tensor:
    return extract_all(DataSetClassifier("digits"), [images]).features


def authpct(images: Tensor, train: Tensor) -> float:
    return Authenticity()(seen(images), Reference(train))[0].value


def share(images: Tensor, train: Tensor, held_out: Tensor) -> float:
    distances = nearest(torch.cat([images, held_out]), [train], 1)[0][:, 0]
    return share_nearer(distances[: len(images)], distances[len(images) :]).value


def by_the_paper(generated: Tensor, train: Tensor) -> float:
    """100 · mean of 1{d(g, x*) > min over other x of d(x*, x)}, x* the training image nearest to g."""
    g, x = generated.double().numpy(), train.double().numpy()
    among = np.linalg.norm(x[:, None] - x, axis=-1) + np.diag(np.full(len(x), np.inf))
    to_generated = np.linalg.norm(g[:, None] - x, axis=-1)
    closest = to_generated.argmin(1)
    return 100 * float(np.mean(to_generated.min(1) > among.min(1)[closest]))


def test_the_percentage_is_that_of_the_paper() -> None:
    train = normal(200)
    for generated in (normal(150, seed=1), train[:60] + 0.3 * normal(60, seed=2), train[:9], normal(50, shift=2.0)):
        assert authpct(generated, train) == pytest.approx(by_the_paper(generated, train))


@pytest.mark.slow
def test_its_error_is_that_of_repeated_draws() -> None:
    train = normal(300)
    found = [Authenticity()(seen(normal(100, seed=1 + seed)), Reference(train))[0] for seed in range(200)]
    spread = np.std([each.value for each in found], ddof=1)
    assert spread == pytest.approx(np.mean([each.standard_error for each in found]), rel=0.15)


@pytest.mark.parametrize("space", [in_pixels, *slow(in_features)])
def test_planted_copies_move_both_numbers_monotonically(space: object) -> None:
    assert callable(space)
    train, fresh, held_out = space(TRAIN), space(FRESH), space(HELD_OUT)
    planted = [torch.cat([train[:k], fresh[k:]]) for k in (0, 7, 15, 37, 74, 148)]
    percentages = [authpct(each, train) for each in planted]
    shares = [share(each, train, held_out) for each in planted]
    assert percentages == sorted(percentages, reverse=True)
    assert shares == sorted(shares)
    assert len(set(percentages)) == len(set(shares)) == 6
    assert (percentages[-1], shares[-1]) == (0, 1)
    assert 50 < percentages[0] < 90  # further images of the data are far from 100
    assert abs(shares[0] - 0.5) < 0.1


def test_copies_among_poor_images_and_shifted_copies_are_not_told() -> None:
    """As docs/howto/evaluate.md says: in pixels, a quarter of copies scores better than further images of the data."""
    draw = torch.Generator().manual_seed(0)
    noise = 64 * torch.randn(111, 1, 8, 8, generator=draw)
    poor = (FRESH[:111] + noise).round().clamp(0, 255)
    train, fresh, held_out = in_pixels(TRAIN), in_pixels(FRESH), in_pixels(HELD_OUT)
    for hidden in (torch.cat([train[:37], in_pixels(poor)]), in_pixels(TRAIN[:148].roll(1, -1))):
        assert authpct(hidden, train) >= authpct(fresh, train)
        assert share(hidden, train, held_out) < 0.5


def test_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="the percentage of 1 generated image means nothing"):
        Authenticity().check(1, 5, "generated")
