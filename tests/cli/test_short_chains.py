"""A chain of few steps works with every default: training, samples, metrics, figures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm_lightning.studies.figures.abstract_figure import steps_at
from ddpm_lightning.studies.figures.interpolation import Interpolation
from ddpm_lightning.studies.figures.lossy_coding import LossyCoding
from ddpm_lightning.studies.figures.plane import Plane
from ddpm_lightning.studies.figures.shared_latents import SharedLatents
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.commands import WITH_PLOTS, command, error_of, results
from tests.configuration.test_choices import options

DEFAULTS = [option for option in WITH_PLOTS if not option.startswith(("schedule.", "module.test_strata", "data."))]
DEFAULTS += ["data.channels=1", "data.size=[8,8]", "data.levels=17", "data.num_images=140", "data.batch_size=4"]
DEFAULTS += ["quality=digits", "callbacks.quality.num_images=70", "callbacks.quality.every_n_steps=2"]
FIGURES = ["progressive_generation", "lossy_coding", "shared_latents", "interpolation", "steps"]
SCORED = ["metrics=[score_digits]", "evaluation.num_images=70"]
QUICK = ["num_images=70", "extractor=digits", "figure.interpolation.num_pairs=70", "figure.steps.num_draws=2"]
QUICK += ["figure.shared_latents.num_latents=4", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module", params=[2, pytest.param(20, marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    short = [f"schedule.T={request.param}", "schedule.beta_T=0.6"]
    command(
        "train", f"hydra.run.dir={folder}", *DEFAULTS, *short, "sampler=ddim", *SCORED, f"evaluation.cache={folder}"
    )
    return folder


def test_training_measures_and_draws(run: Path) -> None:
    measured = [
        row["fd_digits_70_train_ddim"] for row in read_rows(run / "metrics.csv") if "fd_digits_70_train_ddim" in row
    ]
    assert any(measured)
    assert {"test/bpd_beta_estimate", "score_digits_70_ddim"} <= set(results(run)["metrics"])
    assert {"grid_0000002.png", "strip_0000002.png"} < {path.name for path in (run / "samples").iterdir()}


def test_samples_and_metrics(run: Path, tmp_path: Path) -> None:
    where = f"checkpoint={run}/checkpoints/last.ckpt"
    command("sample", where, f"hydra.run.dir={tmp_path}/samples", "num_images=2", "output=npz")
    assert np.load(tmp_path / "samples" / "samples.npz")["images"].shape == (2, 8, 8, 1)
    metrics = ["metrics=[bpd,bpd_estimate,bpd_ode]", "metrics.bpd_ode.num_steps=2", "trainer.accelerator=cpu"]
    command("evaluate", where, f"hydra.run.dir={tmp_path}/metrics", *metrics)
    found = results(tmp_path / "metrics")["metrics"]
    assert found["test/bpd_beta_estimate"]["value"] == pytest.approx(found["test/bpd_beta"]["value"], rel=0.2)


@pytest.mark.parametrize("sampler", options("sampler"))
def test_every_sampler_has_a_default_that_works(
    run: Path, tmp_path: Path, sampler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"checkpoint={run}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}", "num_images=2", "output=npz"]
    command("sample", *where, f"sampler={sampler}")
    assert (tmp_path / "samples.npz").is_file()
    said = error_of(capsys, "sample", *where, f"sampler={sampler}", "sampler.num_steps=21")
    assert "sampler.num_steps=21 lies outside 1.." in said


def test_figures(run: Path, tmp_path: Path) -> None:
    where = [f"checkpoint={run}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}", f"cache={tmp_path}/cache"]
    command("figure", *where, f"figure=[{','.join(FIGURES)}]", *QUICK)
    assert {f"{figure}.png" for figure in FIGURES} < {path.name for path in tmp_path.glob("*.png")}
    for picture in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(picture)).std() > 0


def test_the_usual_steps_of_the_papers_chain() -> None:
    assert steps_at(LossyCoding.usual, 1000) == [750, 500, 250, 100, 50, 10]
    assert steps_at(SharedLatents.usual, 1000) == [1000, 750, 500, 250, 125]
    assert steps_at(Interpolation.usual, 1000) == [0, 125, 250, 375, 500, 625, 750, 875, 1000]
    assert steps_at(Plane.usual, 1000) == [1000, 500, 250, 100, 30, 1]


@pytest.mark.parametrize("T", [1, 2, 3, 10, 101, 999, 4000])
def test_the_usual_steps_are_steps_of_every_chain(T: int) -> None:
    for figure in (LossyCoding, SharedLatents, Interpolation, Plane):
        steps = steps_at(figure.usual, T)
        assert len(steps) == len(set(steps))
        assert all(t in range(0 if figure is Interpolation else 1, T + 1) for t in steps)
