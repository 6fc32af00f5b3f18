"""Bits/dim of a split as evaluate.py finds them: against the sum written out, an entropy, and each other."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from ddpm_lightning.data.fake import FakeDataModule
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import BetaVariance, LearnedVariance
from ddpm_lightning.evaluation.estimated_bound import EstimatedBound
from ddpm_lightning.evaluation.exact_bound import ExactBound
from ddpm_lightning.evaluation.image_sets import Given
from ddpm_lightning.evaluation.subject import Subject, Trained
from tests.diffusion.samplers.test_samplers import best_log_variance
from tests.exact import exact_model


class FakeGaussian(FakeDataModule):
    """Images whose pixels are N(0, s²), rounded to 256 levels."""

    s = 0.25

    def load(self, split: str) -> Any:
        images = super().load(split)
        draws = torch.randn(images.images.shape, generator=torch.Generator().manual_seed(1))  # type: ignore[attr-defined]
        images.images.copy_(self.pixels.decode(self.s * draws))  # type: ignore[attr-defined]
        return images


def subject(model: DenoisingDiffusion, folder: Path, eval_batch_size: int = 64) -> Subject:
    data = FakeGaussian(channels=1, size=(4, 4), num_images=200, eval_batch_size=eval_batch_size)
    (folder / "none.npz").unlink(missing_ok=True)
    np.savez(folder / "none.npz", images=np.zeros((1, 4, 4, 1), np.uint8))
    return Subject(
        fabric=Fabric(accelerator="cpu", devices=1),
        run_dir=folder,
        seed=0,
        images=Given(folder / "none.npz"),
        split="train",
        cache=folder,
        trained=Trained(model, data, {}, {"step": 0, "variance": model.variance.name}),
    )


def gaussian_model(T: int = 200) -> DenoisingDiffusion:
    """The exact network and variance for N(0, 0.25²), on a chain whose steps are all coarser than the pixels."""
    process = GaussianDiffusion(LinearSchedule(T=T, beta_1=1e-3, beta_T=0.1))
    v = best_log_variance(process, FakeGaussian.s)
    return exact_model(process, Epsilon(), LearnedVariance(), s=FakeGaussian.s, v=v)


def test_bound_of_gaussian_pixels_is_their_cross_entropy(tmp_path: Path) -> None:
    """The exact network and variance leave no gap but D_KL(q(x_T) ‖ p(x_T)), 1e-6 here: in steps of δ, images x have
    −E log2 N(x; 0, s²) δ bits/dim. Within three standard errors of 200 images."""
    here = subject(gaussian_model(), tmp_path)
    found = ExactBound().measure(here)["test/bpd_learned"]
    assert here.trained is not None
    x = torch.cat([batch.x_0 for batch in here.trained.data.in_order("test")]).double()
    s, step = FakeGaussian.s, 2 / 255
    bits = 0.5 * math.log2(2 * math.pi * s**2 / step**2) + x.square().mean().item() / (2 * s**2 * math.log(2))
    assert found["value"] == pytest.approx(bits, abs=3 * found["standard_error"])
    assert found["standard_error"] < 0.04
    assert found["num_images"] == 200


def test_rate_and_distortion_add_up_and_are_saved_by_step(tmp_path: Path) -> None:
    model = gaussian_model()
    found = {name: record["value"] for name, record in ExactBound().measure(subject(model, tmp_path)).items()}
    assert found["test/rate_learned"] + found["test/distortion_learned"] == pytest.approx(found["test/bpd_learned"])
    with np.load(tmp_path / "bound_test_learned.npz") as saved:
        arrays = dict(saved)
    assert (tmp_path / "bound_test_learned.png").is_file()
    assert arrays["t"].tolist() == list(range(1, 201))
    assert arrays["prior"] + arrays["term"].sum() == pytest.approx(found["test/bpd_learned"])
    assert arrays["rate"][-1] == pytest.approx(arrays["prior"])  # at x_T nothing but L_T is known
    assert arrays["rate"][0] == pytest.approx(found["test/rate_learned"])
    assert (np.diff(arrays["rate"]) < 0).all()  # the rate rises as t falls
    # The exact network's error is the posterior's standard deviation: s √(1−ᾱ) / √(ᾱ s² + 1 − ᾱ), clipping aside.
    alpha_bar, s = model.process.alpha_bar[1:].numpy(), FakeGaussian.s
    expected = 127.5 * s * np.sqrt((1 - alpha_bar) / (alpha_bar * s**2 + 1 - alpha_bar))
    assert arrays["rmse"] == pytest.approx(expected, rel=0.06)


def test_every_image_counts_once_at_any_batch_size(tmp_path: Path) -> None:
    model = gaussian_model(T=20)
    one, other = (ExactBound().measure(subject(model, tmp_path, size))["test/bpd_learned"] for size in (200, 7))
    assert one["num_images"] == other["num_images"] == 200
    assert one["value"] == pytest.approx(other["value"], rel=1e-9)
    estimates = [
        EstimatedBound(strata=4).measure(subject(model, tmp_path, size))["test/bpd_learned_estimate"]
        for size in (200, 7)
    ]
    assert estimates[0]["value"] == pytest.approx(estimates[1]["value"], rel=1e-9)


@pytest.mark.slow
def test_the_estimate_agrees_with_the_whole_sum(tmp_path: Path) -> None:
    """Within three of its own standard errors, and of the whole sum's own noise from x_t."""
    model = gaussian_model()
    exact = [
        ExactBound().measure(_with_seed(subject(model, tmp_path), seed))["test/bpd_learned"]["value"]
        for seed in range(3)
    ]
    estimate = EstimatedBound(strata=16).measure(subject(model, tmp_path))["test/bpd_learned_estimate"]
    error = math.hypot(estimate["estimation_error"], float(np.std(exact)))
    assert abs(estimate["value"] - np.mean(exact)) < 3 * error
    assert estimate["estimation_error"] < 0.05
    assert 5 * estimate["network_calls"] < estimate["network_calls_of_the_exact_sum"]


def _with_seed(subject: Subject, seed: int) -> Subject:
    subject.seed = seed
    return subject


def test_variance_and_clipping_stand_in_the_result(tmp_path: Path) -> None:
    process = GaussianDiffusion(LinearSchedule(T=20, beta_T=0.3))
    model = exact_model(process, Epsilon(), BetaVariance(), s=3.0)  # which expects pixels beyond [−1, 1]
    clipped = ExactBound().measure(subject(model, tmp_path))["test/bpd_beta"]
    free = ExactBound(clip_x_0=False).measure(subject(model, tmp_path))["test/bpd_beta_unclipped"]
    assert (clipped["clip_x_0"], free["clip_x_0"]) == (True, False)
    assert clipped["value"] != free["value"]
    assert clipped["levels"] == 256
