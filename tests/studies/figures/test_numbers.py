"""The numbers behind the figures, against SciPy and against their definitions written out."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from scipy import stats

from ddpm_lightning.data.fake import FakeDataModule
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import AncestralSampler, DDIMSampler, Sampler, end_of
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.diffusion.variances import LearnedVariance
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.evaluation.image_sets import Generated
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.memorisation import nearest, share_nearer
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.studies.figures.lossy_coding import table
from ddpm_lightning.studies.figures.shared_latents import rmse_of_pairs, share_of_pairs
from tests.diffusion.samplers.test_samplers import best_log_variance
from tests.exact import exact_model

S = 0.5
"""The standard deviation of the data that the exact network knows."""


def chain(folder: Path, sampler: Sampler, batch_size: int = 64) -> Chain:
    """Of the exact model of N(0, S²), its variance too, with 2×2 images."""
    process = GaussianDiffusion(LinearSchedule(T=100, beta_1=1e-3, beta_T=0.15))
    images = Generated(
        model=exact_model(process, Epsilon(), LearnedVariance(), s=S, v=best_log_variance(process, S)),
        data=FakeDataModule(channels=1, size=(2, 2), num_images=4),
        sampler=sampler,
        shards=GeneratedShards(folder),
        recipe={},
        n=4,
        batch_size=batch_size,
        seed=0,
        suffix="",
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    return Chain(Subject(fabric, folder, 0, images, "train", folder), images)


def test_share_nearer_is_the_statistic_of_mann_and_whitney() -> None:
    draw = torch.Generator().manual_seed(0)
    ours = torch.randint(0, 50, (300,), generator=draw).double()  # integers, so that there are ties
    theirs = torch.randint(10, 60, (200,), generator=draw).double()
    found = share_nearer(ours, theirs)
    said = stats.mannwhitneyu(theirs.numpy(), ours.numpy()).statistic / (300 * 200)
    assert found.value == pytest.approx(said, rel=1e-12)


def test_the_error_of_share_nearer_is_that_of_repeated_draws() -> None:
    draw = torch.Generator().manual_seed(0)
    shares, errors = [], []
    for _ in range(400):
        found = share_nearer(torch.randn(60, generator=draw), torch.randn(40, generator=draw) + 0.5)
        shares.append(found.value)
        errors.append(found.standard_error)
    expected = stats.norm.cdf(0.5 / 2**0.5)  # P(d < d') of two normal distances
    assert sum(shares) / 400 == pytest.approx(expected, abs=0.01)
    assert torch.tensor(shares).std().item() == pytest.approx(sum(errors) / 400, rel=0.12)


def test_nearest_are_the_nearest() -> None:
    draw = torch.Generator().manual_seed(0)
    of, among = torch.randn(20, 5, generator=draw), torch.randn(30, 5, generator=draw)
    distances, places = nearest(of, torch.split(among, 7), 3)
    by_hand = torch.cdist(of, among).sort(1)
    assert torch.equal(places, by_hand.indices[:, :3])
    assert torch.allclose(distances.float(), by_hand.values[:, :3], atol=1e-5)


def test_pairs_are_counted_as_pairs() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (6, 5), generator=draw)
    images = torch.randint(0, 256, (6, 5, 1, 2, 2), generator=draw, dtype=torch.uint8)
    pairs = list(combinations(range(5), 2))
    same = [sum(bool(row[i] == row[j]) for i, j in pairs) / len(pairs) for row in labels]
    apart = [sum((row[i].double() - row[j].double()).square().mean() for i, j in pairs) / len(pairs) for row in images]
    assert share_of_pairs(labels).tolist() == pytest.approx(same)
    assert rmse_of_pairs(images).tolist() == pytest.approx([float(each) ** 0.5 for each in apart])  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_is_encoded_and_decoded_is_distributed_as_the_data(tmp_path: Path) -> None:
    """For data N(0, S²) and the exact network, x_0 given x_t is N(g x_t, v), v = S² (1 − ᾱ_t)/(ᾱ_t S² + 1 − ᾱ_t): many
    draws from one x_t have this mean and variance."""
    here = chain(tmp_path, AncestralSampler(clip_x_0=False))
    t, n = 40, 4000
    x_t = torch.full((n, 1, 2, 2), 0.8)
    x_0 = here.decode(x_t, t, range(n), "test")
    alpha_bar = here.images.model.process.alpha_bar[t]
    gain = alpha_bar.sqrt() * S**2 / (alpha_bar * S**2 + 1 - alpha_bar)
    assert x_0.mean().item() == pytest.approx(float(gain * 0.8), abs=0.01)
    assert x_0.var().item() == pytest.approx(
        float(S**2 * (1 - alpha_bar) / (alpha_bar * S**2 + 1 - alpha_bar)), rel=0.03
    )


@pytest.mark.slow
def test_there_and_back_gives_the_data(tmp_path: Path) -> None:
    """x_0 ~ N(0, S²), x_t ~ q(x_t | x_0), x_0' ~ p(x_0 | x_t): x_0' is distributed as x_0, and correlated with it by
    ᾱ_t S²/(ᾱ_t S² + 1 − ᾱ_t)."""
    here = chain(tmp_path, AncestralSampler(clip_x_0=False))
    n, t = 4000, 30
    x_0 = S * torch.randn(n, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    x_t = here.encode(x_0, t, range(n), "there")
    back = here.decode(x_t, t, range(n), "back")
    alpha_bar = float(here.images.model.process.alpha_bar[t])
    correlation = torch.corrcoef(torch.stack([x_0.flatten(), back.flatten()]))[0, 1].item()
    assert back.std().item() == pytest.approx(S, rel=0.02)
    assert correlation == pytest.approx(alpha_bar * S**2 / (alpha_bar * S**2 + 1 - alpha_bar), abs=0.02)


def test_the_noise_of_an_encoding_is_the_same_at_every_t(tmp_path: Path) -> None:
    here = chain(tmp_path, AncestralSampler())
    x_0 = torch.zeros(5, 1, 2, 2)
    alpha_bar = here.images.model.process.alpha_bar
    eps = [here.encode(x_0, t, range(5), "test") / (1 - alpha_bar[t]).sqrt() for t in (10, 90)]
    assert torch.allclose(eps[0].float(), eps[1].float(), atol=1e-6)


def test_table_4_has_ten_moments_where_the_chain_has() -> None:
    for T, count in ((1000, 10), (20, 10), (5, 5), (2, 2)):
        t = np.arange(1, T + 1)
        rows = table({"t": t, "rate": 1.0 / t, "rmse": 2.0 * t})
        assert [row["steps"] for row in rows[:2]] == [T, T - max(1, round(T / 10))] or T < 10
        assert len(rows) == count
        assert all(row["t"] == T - row["steps"] + 1 and row["rate"] == 1 / row["t"] for row in rows)


def test_the_rest_of_the_way_is_the_rest_of_the_whole_way(tmp_path: Path) -> None:
    """Without randomness, x_0 follows from any x_t on the way."""
    here = chain(tmp_path, DDIMSampler(num_steps=20, clip_x_0=False))
    noise = here.noise(range(3), "image")
    steps = list(here.walk(here.start(noise), here.length, noise))
    midway = next(step for step in steps if step.t == 11)
    rest = end_of(here.walk(midway.x, 10, noise))
    assert torch.equal(rest, steps[-1].x)


def test_figures_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    x_t = torch.randn(10, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    whole = chain(tmp_path, AncestralSampler()).decode(x_t, 50, range(10), "test")
    parts = chain(tmp_path, AncestralSampler(), batch_size=3).decode(x_t, 50, range(10), "test")
    assert torch.equal(whole, parts)


def test_the_nearest_step_is_the_nearest(tmp_path: Path) -> None:
    here = chain(tmp_path, DDIMSampler(num_steps=5))
    visited = [here.known_as(step) for step in range(1, here.length + 1)]
    for t in range(1, 101):
        assert abs(here.nearest(t) - t) == min(abs(each - t) for each in visited)
    assert here.nearest(0) == 0
