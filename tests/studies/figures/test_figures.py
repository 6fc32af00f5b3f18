"""`python figure.py`, whole: what it writes, that its numbers are evaluate.py's where they should be, wrong input."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning.configuration.build import make, real_images
from ddpm_lightning.errors import UserError
from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.commands import command, error_of, results, train
from tests.conftest import ROOT


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


@pytest.fixture(scope="module")
def grids(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, ...]]:
    """What each picture of images is made of: cells, words of columns and rows, sentence; by its file's name."""
    found: dict[str, tuple[Any, ...]] = {}
    folder = tmp_path_factory.mktemp("grids")
    four = "figure=[progressive_generation,lossy_coding,shared_latents,interpolation]"
    keep = lambda *parts: found.update({parts[-1].name: parts})  # noqa: E731
    with patch("ddpm_lightning.studies.figures.abstract_figure.save_grid", keep):
        command("figure", *options(checkpoint, folder, four, *SMALL[1:]))
    return found


def sources(checkpoint: Path, split: str) -> torch.Tensor:
    """The checkpoint's data in 0..255."""
    return torch.cat(list(real_images(make(read_checkpoint(checkpoint)["config"]["data"]), split)))


def column(grids: dict[str, tuple[Any, ...]], name: str, place: int) -> torch.Tensor:
    """The images of one column."""
    return torch.stack([row[place] for row in grids[name][0]])


def test_the_strip_ends_in_the_images_of_sample_py(
    checkpoint: Path, grids: dict[str, tuple[Any, ...]], tmp_path: Path
) -> None:
    command("sample", f"checkpoint={checkpoint}", "num_images=8", "output=npz", f"hydra.run.dir={tmp_path}")
    samples = torch.from_numpy(np.load(tmp_path / "samples.npz")["images"]).permute(0, 3, 1, 2)
    assert grids["progressive_generation_strip.png"][1][-1] == "t = 1"
    assert torch.equal(column(grids, "progressive_generation_strip.png", -1), samples)


def test_lossy_coding_begins_with_the_images_and_ends_near_them(
    checkpoint: Path, grids: dict[str, tuple[Any, ...]]
) -> None:
    images = sources(checkpoint, "test")[:8]
    assert torch.equal(column(grids, "lossy_coding_images.png", 0), images)
    names = grids["lossy_coding_images.png"][1]
    assert [name.split("\n")[0] for name in names] == ["x_0", "t = 8", "then", "t = 4", "then", "t = 1", "then"]
    off = [(column(grids, "lossy_coding_images.png", c).double() - images).square().mean() for c in (1, 3, 5)]
    assert off[2] < off[1] < off[0]
    assert torch.equal(
        column(grids, "lossy_coding_images.png", 5), column(grids, "lossy_coding_images.png", 6)
    )  # t = 1


def test_interpolation_goes_from_source_to_source(checkpoint: Path, grids: dict[str, tuple[Any, ...]]) -> None:
    images = sources(checkpoint, "test")
    name = "interpolation_depths.png"
    assert grids[name][2] == ["t = 8", "t = 4", "t = 0"]
    in_pixels = grids[name][0][-1]
    for place, source in ((0, images[0]), (2, images[0]), (-3, images[70]), (-1, images[70])):
        assert torch.equal(in_pixels[place], source)
    middle = (images[0].double() + images[70].double()) / 2
    assert (in_pixels[7].double() - middle).abs().max() <= 255 / 16 / 2 + 1  # half a level
    assert torch.equal(column(grids, "interpolation_pairs.png", 0), images[:6])


def test_those_that_share_x_1_are_the_same(drawn: Path) -> None:
    """The last step adds no noise."""
    found = results(drawn)["metrics"]
    assert found["shared_latents_rmse_t1_5x3"]["value"] == 0
    assert found["shared_latents_same_class_classifier_digits_t1_5x3"]["value"] == 1
    assert found["shared_latents_rmse_t8_5x3"]["value"] > found["shared_latents_rmse_t4_5x3"]["value"] > 0


def test_without_an_extractor_the_pictures_are_there(grids: dict[str, tuple[Any, ...]]) -> None:
    assert len(grids) == 5


def test_the_last_step_of_progressive_generation_is_the_sample(drawn: Path, evaluated: dict[str, Any]) -> None:
    """At t = 1 the mean is x̂_0 itself, so the distance there is that of evaluate.py's images, by torch-fidelity."""
    found = results(drawn)["metrics"]["progressive_generation_classifier_digits_70_train"]
    assert list(found["by_t"]) == ["8", "6", "3", "1"]
    assert found["value"] == found["by_t"]["1"] == pytest.approx(evaluated["fd_digits_70_train"]["value"], rel=1e-3)


def test_rate_and_distortion_are_those_of_the_bound(drawn: Path, evaluated: dict[str, Any]) -> None:
    found = results(drawn)["metrics"]["lossy_coding_test_beta"]
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
    assert found["interpolation_rmse_t0_70"]["value"] == 0
    assert found["interpolation_rmse_t8_70"]["value"] > found["interpolation_rmse_t4_70"]["value"] > 10


def test_the_middle_in_pixels_is_judged_as_evaluate_judges_a_folder(
    checkpoint: Path, drawn: Path, tmp_path: Path
) -> None:
    """The means of pairs, made by hand, given to evaluate.py as images."""
    data = make(read_checkpoint(checkpoint)["config"]["data"])
    first, second = torch.cat([batch.x_0 for batch in data.in_order("test", first=140)]).chunk(2)
    means = data.pixels.to_bytes(0.5 * first + 0.5 * second)
    np.savez(tmp_path / "means.npz", images=means.permute(0, 2, 3, 1).numpy())
    judged = [f"checkpoint={checkpoint}", f"images={tmp_path}/means.npz", "metrics=[fd_digits]"]
    command("evaluate", *judged, f"hydra.run.dir={tmp_path}/judged", "trainer.accelerator=cpu")
    by_evaluate = results(tmp_path / "judged")["metrics"]["fd_digits_70_train_images"]["value"]
    ours = results(drawn)["metrics"]["interpolation_classifier_digits_t0_70_train"]["value"]
    assert ours == pytest.approx(by_evaluate, rel=1e-4)


def test_every_number_has_its_provenance(drawn: Path) -> None:
    for name, record in results(drawn)["metrics"].items():
        assert (record["step"], record["weights"], record["data"]) == (4, "ema", "FakeDataModule"), name
    assert results(drawn)["commit"]


@pytest.mark.slow
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
    assert [name for name in names if "rmse" in name] == [f"interpolation_rmse_t{t}_70_ddim2" for t in (8, 1, 0)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["figure=[]"], "no figure is chosen"),
        (["checkpoint=null", "figure=[lossy_coding]"], "no checkpoint given"),
        (["figure=[progressive_generation]", "extractor=fashion_mnist"], "cannot be judged by"),
        (["figure=[shared_latents]", "extractor=fashion_mnist"], "cannot be judged by"),
        (["figure=[nearest_neighbours]", "extractor=fashion_mnist"], "cannot be judged by"),
        (["figure=[progressive_generation]", "figure.progressive_generation.num_rows=1000"], "are the most"),
        (["figure=[progressive_generation]", "extractor=digits", "num_images=64"], "64 generated images do not exceed"),
        (["figure=[lossy_coding]", "figure.lossy_coding.t=[750]"], "figure.lossy_coding.t=750 exceeds 8"),
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


def test_a_figure_that_cannot_be_drawn_costs_no_other(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = ["figure=[shared_latents,lossy_coding]", "sampler=ddim", "sampler.num_steps=4", "figure.lossy_coding.t=[4]"]
    said = " ".join(error_of(capsys, "figure", *options(checkpoint, tmp_path, *two)).split())
    assert "shared_latents is left out: " in said
    assert "lossy_coding is left out" not in said
    assert {path.name for path in tmp_path.glob("*.png")} == {"lossy_coding.png", "lossy_coding_images.png"}
    assert list(results(tmp_path)["metrics"]) == ["lossy_coding_test_beta"]


def test_what_is_wrong_with_several_figures_is_told_once(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["figure=[progressive_generation,shared_latents]", "extractor=fashion_mnist"]
    said = error_of(capsys, "figure", *options(checkpoint, tmp_path, *wrong))
    assert said.count("cannot be judged by") == 1
    assert "Error: progressive_generation, shared_latents are left out: " in said
    assert "extractor=" in said


def test_one_that_fails_while_it_is_drawn_costs_no_other(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = ["figure=[lossy_coding,shared_latents]", *SMALL[2:5]]
    with patch(
        "ddpm_lightning.studies.figures.lossy_coding.LossyCoding.measure", side_effect=UserError("the pen broke")
    ):
        said = error_of(capsys, "figure", *options(checkpoint, tmp_path, *two))
    assert "lossy_coding is left out: the pen broke" in " ".join(said.split())
    assert (tmp_path / "shared_latents.png").is_file()


@pytest.mark.slow
def test_copies_of_training_images_are_told(checkpoint: Path, tmp_path: Path) -> None:
    """A copy is at distance 0, nearer than any other image."""
    copies = sources(checkpoint, "train").permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "copies.npz", images=copies)
    command(
        *("figure", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}/drawn", f"images={tmp_path}/copies.npz"),
        *("figure=[nearest_neighbours]", "extractor=digits", "trainer.accelerator=cpu"),
    )
    found = results(tmp_path / "drawn")["metrics"]
    assert found["memorisation_in_pixels_160_images"]["value"] == 1
    assert found["memorisation_in_classifier_digits_160_images"]["value"] == 1
    assert found["memorisation_in_pixels_160_images"]["median_distance"] == pytest.approx(0, abs=1e-6)


def test_mirrored_copies_are_told_where_training_mirrors(checkpoint: Path, tmp_path: Path) -> None:
    mirrored = sources(checkpoint, "train")[:20].flip(-1).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "mirrored.npz", images=mirrored)
    here = [f"checkpoint={checkpoint}", f"images={tmp_path}/mirrored.npz", "figure=[nearest_neighbours]"]
    command("figure", *here, f"hydra.run.dir={tmp_path}/drawn", "trainer.accelerator=cpu")
    assert read_checkpoint(checkpoint)["config"]["data"]["flip"] is True
    assert results(tmp_path / "drawn")["metrics"]["memorisation_in_pixels_20_images"]["value"] == 1


def test_images_of_another_shape_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "other.npz", images=np.zeros((20, 4, 4, 3), np.uint8))
    here = [f"checkpoint={checkpoint}", f"images={tmp_path}/other.npz", "figure=[nearest_neighbours]"]
    said = error_of(capsys, "figure", *here, f"hydra.run.dir={tmp_path}/drawn", "trainer.accelerator=cpu")
    assert "the model's data are of (1, 8, 8)" in " ".join(said.split())


@pytest.mark.slow
def test_colours_a_learned_variance_raw_weights_and_single_images(tmp_path: Path) -> None:
    """What else a model may be; with a chain of three steps, which has no ten moments."""
    model = ["data.channels=3", "variance=learned_range", "loss=hybrid", "schedule.T=3", "schedule.beta_T=0.9"]
    last = train(tmp_path / "run", *model) / "checkpoints" / "last.ckpt"
    few = ["figure.lossy_coding.t=[3,1]", "figure.shared_latents.t=[3,2]", "figure.shared_latents.num_latents=2"]
    few += ["figure.interpolation.t=[0,3]", "figure.interpolation.shown_t=2", "figure.interpolation.num_pairs=2"]
    few += [
        "figure.interpolation.num_rows=2",
        "figure.shared_latents.num_rows=1",
        "figure.nearest_neighbours.num_rows=3",
    ]
    where = [f"checkpoint={last}", f"hydra.run.dir={tmp_path}/drawn", "num_images=3", "batch_size=1", "use_ema=false"]
    command("figure", *where, *few, "trainer.accelerator=cpu", "trainer.precision=bf16-mixed")
    found = results(tmp_path / "drawn")["metrics"]
    assert found["lossy_coding_test_learned_range_raw_bf16-mixed"]["table"][0]["t"] == 1
    assert all(record["weights"] == "raw" for record in found.values())
