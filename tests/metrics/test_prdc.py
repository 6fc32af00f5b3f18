"""Density and coverage against the formulas of Naeem et al. (2020) and their package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_lightning.metrics.classifier import DataSetClassifier
from ddpm_lightning.metrics.extractor import extract_all
from ddpm_lightning.metrics.prdc import PrecisionRecallDensityCoverage
from ddpm_lightning.metrics.reference import Reference
from tests.commands import command, error_of, results
from tests.metrics.test_scores import normal, seen

K = 5
FLOAT32 = 1e-7
"""torch-fidelity's means are in float32; one image counts 2e-3."""
REAL = normal(300, shift=1.0)
SETS = {
    "further images": normal(400, shift=1.0, seed=1),
    "shifted": normal(200, shift=1.6, seed=2),
    "a few modes": REAL[:7].repeat(30, 1) + 0.01 * normal(210, seed=3),
    "copies": REAL.clone(),
    "copies and noise": torch.cat([REAL[:50], 3 * normal(80, seed=4)]),
}


def measured(generated: Tensor, real: Tensor = REAL, k: int = K) -> dict[str, float]:
    score = PrecisionRecallDensityCoverage(k)
    return {name: v.value for name, v in zip(score.names, score(seen(generated), Reference(real)), strict=True)}


def by_the_paper(generated: Tensor, real: Tensor) -> dict[str, float]:
    """Equations 1 to 4 of the paper, with all differences of all pairs."""
    x, y = real.double().numpy(), generated.double().numpy()

    def radii(points: np.ndarray) -> np.ndarray:
        return np.sort(np.linalg.norm(points[:, None] - points, axis=-1), axis=1)[:, K]

    apart = np.linalg.norm(x[:, None] - y, axis=-1)  # [real, generated]
    in_ball_of_real, in_ball_of_generated = apart < radii(x)[:, None], apart < radii(y)
    return {
        "precision": in_ball_of_real.any(0).mean(),
        "recall": in_ball_of_generated.any(1).mean(),
        "density": in_ball_of_real.sum() / (K * len(y)),
        "coverage": in_ball_of_real.any(1).mean(),
    }


@pytest.mark.parametrize("name", SETS)
def test_the_four_numbers_are_those_of_the_paper(name: str) -> None:
    assert measured(SETS[name]) == pytest.approx(by_the_paper(SETS[name], REAL), abs=FLOAT32)


@pytest.mark.parametrize("name", SETS)
def test_the_four_numbers_are_those_of_the_package(name: str) -> None:
    package = pytest.importorskip("prdc")
    theirs = package.compute_prdc(REAL.double().numpy(), SETS[name].double().numpy(), nearest_k=K)
    assert measured(SETS[name]) == pytest.approx(theirs, abs=FLOAT32)


def test_copies_have_density_and_coverage_1_and_strangers_0() -> None:
    assert measured(SETS["copies"]) == pytest.approx(dict.fromkeys(("precision", "recall", "density", "coverage"), 1))
    assert measured(normal(300, shift=500)) == dict.fromkeys(("precision", "recall", "density", "coverage"), 0)


def test_further_real_images_have_the_expected_density_and_coverage() -> None:
    """E density = 1 and E coverage = 1 − (m − 1)…(m − k) / ((m + n − 1)…(m + n − k)), whatever the distribution."""
    n = m = 200
    found = [measured(normal(n, seed=seed), normal(m, seed=100 + seed), k=3) for seed in range(30)]
    i = np.arange(1, 4)
    assert np.mean([each["density"] for each in found]) == pytest.approx(1, abs=0.03)
    expected = 1 - np.prod((m - i) / (m + n - i))
    assert np.mean([each["coverage"] for each in found]) == pytest.approx(expected, abs=0.01)


def given_images(folder: Path, n: int, extractor: DataSetClassifier) -> list[str]:
    """Options that name n images and n + 5 real ones, the latter by their features."""
    pixels = np.random.default_rng(0).integers(0, 256, (2 * n + 5, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "images.npz", images=pixels[:n])
    features = extract_all(extractor, [torch.from_numpy(pixels[n:]).permute(0, 3, 1, 2)]).features
    np.savez(folder / "reference.npz", features=features.numpy())
    return [f"images={folder / 'images.npz'}", f"reference={folder / 'reference.npz'}"]


def test_a_metric_of_any_features_takes_the_extractor_and_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extractor = DataSetClassifier("digits")
    sets = [*given_images(tmp_path, 40, extractor), f"hydra.run.dir={tmp_path / 'out'}", "extractor=digits"]
    command("evaluate", *sets, "metrics=[prdc]")
    found = results(tmp_path / "out")["metrics"]
    pixels = torch.from_numpy(np.load(tmp_path / "images.npz")["images"]).permute(0, 3, 1, 2)
    real = torch.from_numpy(np.load(tmp_path / "reference.npz")["features"])
    expected = measured(extract_all(extractor, [pixels]).features, real)
    assert {name: record["value"] for name, record in found.items()} == pytest.approx(
        {f"{name}_digits_40_given_k5_images": value for name, value in expected.items()}
    )
    assert found["density_digits_40_given_k5_images"]["extractor"] == "classifier_digits"
    said = error_of(
        capsys, "evaluate", *sets[:2], f"hydra.run.dir={tmp_path}/no", sets[3], "metrics=[prc_fashion_mnist]"
    )
    assert "extractor= would have no effect on prc_fashion_mnist; leave it out" in said
