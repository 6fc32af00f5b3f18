"""`python figure.py`, whole: what it writes, that its numbers are evaluate.py's where they should be, wrong input."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning.training.build import make, real_images
from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.conftest import ROOT
from tests.training.commands import command, error_of, results, train


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("data.size=[8,8]", "data.num_images=160", "optimizer.lr=0.02", "schedule.beta_T=0.6")
    return train(tmp_path_factory.mktemp("run"), *options) / "checkpoints" / "last.ckpt"


def options(checkpoint: Path, folder: Path, *more: str) -> list[str]:
    where = [f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", f"generated={folder}/images"]
    return [*where, f"cache={folder}/cache", "num_images=70", "trainer.accelerator=cpu", *more]


SMALL = (
    "extractor=digits",
    "figure.progressive_generation.num_moments=4",
    "figure.lossy_coding.t=[8,4,1]",
    "figure.shared_latents.t=[8,4,1]",
    "figure.shared_latents.num_latents=5",
    "figure.shared_latents.num_samples=3",
    "figure.interpolation.t=[0,4,8]",
    "figure.interpolation.shown_t=4",
    "figure.interpolation.num_pairs=70",
)


@pytest.fixture(scope="module")
def drawn(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    command("figure", *options(checkpoint, folder, *SMALL))
    return folder


@pytest.fixture(scope="module")
def evaluated(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("evaluation")
    command("evaluate", *options(checkpoint, folder, "metrics=[bpd,fd_digits]"))
    return dict(results(folder)["metrics"])


def test_every_figure_is_there_and_is_a_picture(drawn: Path) -> None:
    pictures = {path.name for path in drawn.glob("*.png")}
    assert pictures == {
        *("progressive_generation.png", "progressive_generation_strip.png"),
        *("lossy_coding.png", "lossy_coding_images.png"),
        *("shared_latents.png", "shared_latents_images.png"),
        *("interpolation.png", "interpolation_pairs.png", "interpolation_depths.png"),
        *("nearest_neighbours.png", "nearest_neighbours_in_pixels.png", "nearest_neighbours_in_features.png"),
    }
    for name in pictures:
        assert np.asarray(Image.open(drawn / name)).std() > 5
    with Image.open(drawn / "progressive_generation.gif") as animation:
        assert animation.n_frames == 4  # type: ignore[attr-defined]


def test_the_last_step_of_progressive_generation_is_the_sample(drawn: Path, evaluated: dict[str, Any]) -> None:
    """At t = 1 the mean is x̂_0 itself, so the distance there is that of evaluate.py's images, by torch-fidelity."""
    found = results(drawn)["metrics"]["progressive_generation"]
    assert list(found["by_t"]) == ["8", "6", "3", "1"]
    assert found["value"] == found["by_t"]["1"] == pytest.approx(evaluated["fd_digits_70_train"]["value"], rel=1e-3)


def test_rate_and_distortion_are_those_of_the_bound(drawn: Path, evaluated: dict[str, Any]) -> None:
    found = results(drawn)["metrics"]["lossy_coding"]
    assert found["value"] == pytest.approx(evaluated["test/rate_beta"]["value"])
    assert found["rmse"] == pytest.approx(evaluated["test/rmse_beta"]["value"])
    with (drawn / "lossy_coding.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["t"]) for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]  # a chain of eight has no ten moments
    assert float(rows[0]["rate"]) == found["value"]
    rates = [float(row["rate"]) for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(evaluated["test/prior_beta"]["value"])


def test_interpolation_in_pixels_gives_the_sources_back(drawn: Path) -> None:
    found = results(drawn)["metrics"]
    assert found["interpolation_rmse_t0"]["value"] == 0
    assert found["interpolation_rmse_t8"]["value"] > found["interpolation_rmse_t4"]["value"] > 10


def test_every_number_has_its_provenance(drawn: Path) -> None:
    for name, record in results(drawn)["metrics"].items():
        assert (record["step"], record["weights"], record["data"]) == (4, "ema", "FakeDataModule"), name
    assert results(drawn)["commit"]


def test_two_processes_find_what_one_does(checkpoint: Path, drawn: Path, tmp_path: Path) -> None:
    more = (*SMALL, "trainer.devices=2", "batch_size=16")
    call = [sys.executable, "figure.py", *options(checkpoint, tmp_path, *more)]
    said = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    ours, theirs = results(drawn)["metrics"], results(tmp_path)["metrics"]
    assert ours.keys() == theirs.keys()
    for name, record in theirs.items():
        assert record["value"] == pytest.approx(ours[name]["value"], rel=2e-2, abs=1e-6), name


def test_fewer_steps_take_the_nearest_t(checkpoint: Path, tmp_path: Path) -> None:
    few = ["sampler=ddim", "sampler.num_steps=2", "figure=[interpolation]", *SMALL[:1], *SMALL[-3:]]
    command("figure", *options(checkpoint, tmp_path, *few))
    names = results(tmp_path)["metrics"]
    assert [name for name in names if "rmse" in name] == [f"interpolation_rmse_t{t}_ddim2" for t in (8, 1, 0)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["figure=[]"], "no figure asked for"),
        (["checkpoint=null", "figure=[lossy_coding]"], "figures are of a model"),
        (["figure=[progressive_generation]"], "add the extractor of the data"),
        (["figure=[progressive_generation]", "extractor=digits", "num_images=64"], "64 generated images do not exceed"),
        (["figure=[lossy_coding]"], "figure.lossy_coding.t=750 exceeds 8"),
        (["figure=[lossy_coding]", "figure.lossy_coding.t=[4,4]"], "names a step twice"),
        (["figure=[shared_latents]", "extractor=digits", "figure.shared_latents.t=[0]"], "is not a whole number"),
        (
            [
                "figure=[shared_latents]",
                "extractor=digits",
                "figure.shared_latents.t=[4]",
                "sampler=ddim",
                "sampler.num_steps=4",
            ],
            "would draw the same one each time",
        ),
        (
            ["figure=[interpolation]", "extractor=digits", *SMALL[-3:-1], "figure.interpolation.num_pairs=100"],
            "at most 80",
        ),
        (["figure=[interpolation]", "extractor=fashion_mnist", *SMALL[-3:]], "cannot be judged by"),
        (["figure=[nearest_neighbours]", "extractor=digits", "figure.nearest_neighbours.num_rows=71"], "exceeds 70"),
    ],
)
def test_wrong_input_is_told_at_once(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str], words: str
) -> None:
    assert words in " ".join(error_of(capsys, "figure", *options(checkpoint, tmp_path, *wrong)).split())
    assert not list(tmp_path.glob("*.png"))


def test_copies_of_training_images_are_told(checkpoint: Path, tmp_path: Path) -> None:
    """A copy is at distance 0, nearer than any other image."""
    data = make(read_checkpoint(checkpoint)["config"]["data"])
    copies = torch.cat(list(real_images(data, "train"))).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "copies.npz", images=copies)
    command(
        *("figure", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}/drawn", f"images={tmp_path}/copies.npz"),
        *("figure=[nearest_neighbours]", "extractor=digits", "trainer.accelerator=cpu"),
    )
    found = results(tmp_path / "drawn")["metrics"]
    assert found["memorisation_in_pixels_160_images"]["value"] == 1
    assert found["memorisation_in_pixels_160_images"]["median_distance"] == 0
