"""`figure=plane` on toys, whole, and its ruler."""

import math
from pathlib import Path

import pytest
import torch
from scipy import stats

from ddpm_lightning.metrics.energy import energy_distance
from tests.commands import command, error_of, results, train

TOY = ["network=mlp", "data=gaussians", "data.num_points=60", "data.batch_size=20", "data.eval_batch_size=60"]
NO_IMAGES = ["callbacks.grid=null", "callbacks.strip=null", "schedule.T=8", "trainer.max_steps=3", "logger=none"]


FEW = ["callbacks.bound.num_images=8", "module.test_strata=2", "network.width=16", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    command("train", *TOY, *NO_IMAGES, *FEW, f"hydra.run.dir={folder}")
    return folder / "checkpoints" / "last.ckpt"


def test_the_plane_is_drawn_and_measured(checkpoint: Path, tmp_path: Path) -> None:
    where = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", "trainer.accelerator=cpu", "num_images=31"]
    command("figure", *where, "figure=[plane]", "figure.plane.t=[8,4,1]", "batch_size=25")
    found = results(tmp_path)["metrics"]
    assert {path.name for path in tmp_path.glob("*.png")} == {"plane.png", "plane_paths.png", "plane_score.png"}
    assert list(found) == [
        *("energy_distance_samples_31", "energy_distance_train_60"),
        *(f"score_error_t{t}" for t in (8, 4, 1)),
    ]
    train_points = found["energy_distance_train_60"]
    assert abs(train_points["value"]) < 6 * train_points["standard_error"]
    assert found["score_error_t1"]["value"] > 0.1  # three steps teach little


def test_pictures_are_not_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = train(tmp_path / "run", "trainer.max_steps=1") / "checkpoints" / "last.ckpt"
    said = error_of(capsys, "figure", f"checkpoint={last}", f"hydra.run.dir={tmp_path}/f", "figure=[plane]")
    assert "plane shows points" in " ".join(said.split())


def test_points_are_not_pictures(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", "figure=[progressive_generation]"]
    assert "images of 2 channels cannot be drawn" in " ".join(error_of(capsys, "figure", *here).split())


def test_the_energy_distance_of_a_line_is_that_of_scipy() -> None:
    """SciPy has the square root of it, biased: of n and m points, the means over all pairs."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 1, generator=draw), 1 + torch.randn(200, 1, generator=draw)
    within = [torch.cdist(z.double(), z.double()).mean().item() for z in (x, y)]
    biased = energy_distance(x, y) + within[0] / (300 - 1) + within[1] / (200 - 1)
    assert biased == pytest.approx(stats.energy_distance(x.flatten().numpy(), y.flatten().numpy()) ** 2, rel=1e-9)


def test_the_energy_distance_of_one_density_to_itself_is_0_on_average() -> None:
    draw = torch.Generator().manual_seed(0)
    found = torch.tensor(
        [energy_distance(*torch.randn(2, 20, 2, generator=draw).unbind(0)) for _ in range(600)], dtype=torch.float64
    )
    assert abs(found.mean().item()) < 4 * found.std().item() / math.sqrt(600)
