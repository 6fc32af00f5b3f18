"""`figure=[schedules,timesteps]`: how much estimates of the bound and of its gradient vary."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ddpm_lightning.configuration.build import make
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.studies.figures.timesteps_compared import Variation
from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.commands import command, error_of, results
from tests.studies.figures.test_plane import NO_IMAGES, TOY

DISTRIBUTIONS = ("uniform", "low_discrepancy", "importance", "by_weight")
SCHEDULES = ("linear", "cosine", "quadratic", "constant", "jsd", "logsnr_linear", "least_variance", "its_own")
SMALL = [*TOY, *NO_IMAGES, "callbacks.bound.num_images=8", "module.test_strata=2", "network.width=16"]
SMALL += ["trainer.accelerator=cpu", "schedule.beta_T=0.6"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    command("train", *SMALL, f"hydra.run.dir={folder}")
    return folder


@pytest.fixture(scope="module")
def drawn(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    where = [f"checkpoint={run}/checkpoints/last.ckpt", f"hydra.run.dir={folder}", "trainer.accelerator=cpu"]
    few = ["figure.schedules.num_images=60", "figure.timesteps.batch_size=20", "figure.timesteps.num_pairs=150"]
    command("figure", *where, "figure=[schedules,timesteps]", *few)
    return folder


def test_every_schedule_and_every_distribution_is_measured_and_drawn(drawn: Path) -> None:
    assert {path.name for path in drawn.glob("*.png")} == {"schedules.png", "timesteps.png"}
    names = [f"bound_std_{name}" for name in SCHEDULES] + [f"gradient_variance_{name}" for name in DISTRIBUTIONS]
    assert list(results(drawn)["metrics"]) == names


def test_the_mean_is_the_rate_of_evaluate(run: Path, drawn: Path, tmp_path: Path) -> None:
    """Another draw of x_t, so equal within the errors of both."""
    more = ["metrics=[bpd]", "metrics.bpd.clip_x_0=false", "trainer.accelerator=cpu"]
    command("evaluate", f"checkpoint={run}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}", *more)
    bound = results(tmp_path)["metrics"]
    terms = bound["test/rate_beta_unclipped"]["value"] - bound["test/prior_beta_unclipped"]["value"]
    ours = results(drawn)["metrics"]["bound_std_its_own"]["mean"]
    assert ours == pytest.approx(terms, abs=4 * bound["test/bpd_beta_unclipped"]["standard_error"])


def test_a_run_trains_with_the_schedule_that_was_written(drawn: Path, tmp_path: Path) -> None:
    more = [option for option in SMALL if not option.startswith("schedule.")]  # a list is as long as it is
    command("train", f"--config-dir={drawn}", *more, f"hydra.run.dir={tmp_path}", "schedule=least_variance")
    config: dict[str, Any] = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["config"]
    learned = GaussianDiffusion(make(config["schedule"]))
    linear = GaussianDiffusion(LinearSchedule(T=8, beta_T=0.6))
    assert learned.T == 8
    assert torch.allclose(learned.snr[[1, 8]], linear.snr[[1, 8]], rtol=1e-6)
    assert not torch.allclose(learned.snr[4], linear.snr[4], rtol=0.01)


def test_all_ways_to_draw_t_have_one_loss_and_one_mean_gradient(drawn: Path) -> None:
    found = [results(drawn)["metrics"][f"gradient_variance_{name}"] for name in DISTRIBUTIONS]
    for key in ("loss", "square_of_mean_gradient"):
        value = "loss_mean" if key == "loss" else key
        for record in found[1:]:
            error = math.hypot(record[f"{key}_error"], found[0][f"{key}_error"])
            assert abs(record[value] - found[0][value]) < 4 * error, key


def test_variation_is_that_of_normal_draws() -> None:
    """g ~ N(m, diag(s²)): its variance is Σ s², the square of its mean ‖m‖²."""
    draw = torch.Generator().manual_seed(0)
    m, s = torch.randn(2, 30, generator=draw, dtype=torch.float64)
    found = Variation()
    for _ in range(3000):
        g, g_ = m + s * torch.randn(2, 30, generator=draw, dtype=torch.float64)
        found.add((g, g.sum()), (g_, g_.sum()))
    assert found.variance.mean == pytest.approx(s.square().sum().item(), abs=4 * found.variance.standard_error)
    assert found.variance.standard_error < 0.01 * found.variance.mean
    assert found.square_of_mean.mean == pytest.approx(
        m.square().sum().item(), abs=4 * found.square_of_mean.standard_error
    )
    assert found.loss.mean == pytest.approx(m.sum().item(), abs=4 * found.loss.standard_error)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("figure.schedules.num_images=61", "num_images=61 exceeds 60"),
        ("figure.timesteps.batch_size=61", "batch_size=61 exceeds 60"),
        ("figure.timesteps.num_pairs=1", "num_pairs=1"),
    ],
)
def test_what_cannot_be_is_refused(run: Path, tmp_path: Path, capsys: Any, option: str, said: str) -> None:
    figure = option.split(".")[1]
    where = [f"checkpoint={run}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}", f"figure=[{figure}]", option]
    few = ["figure.timesteps.batch_size=20"] if option.endswith("pairs=1") else []
    assert said in " ".join(error_of(capsys, "figure", *where, *few).split())
