"""`python sample.py labels= guidance=`: images of the classes that are asked for, a row for each in the grid."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning.training.checkpoint import CONFIG, read_checkpoint
from tests.commands import command, error_of
from tests.training.test_conditional import DIGITS

COUNT = "num_images=4"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of digits whose weights are random, but each class's own."""
    run = tmp_path_factory.mktemp("run")
    options = ["conditioning=class", "trainer.max_steps=1", "optimizer.lr=0.05", "module.warmup_steps=0"]
    command("train", f"hydra.run.dir={run}", *DIGITS, *options)
    path = run / "checkpoints" / "last.ckpt"
    found = read_checkpoint(path)
    for name, weight in found["ema"].items():
        weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
    torch.save(found, path)
    return path


def sample(checkpoint: Path, folder: Path, *overrides: str) -> np.ndarray:
    command("sample", f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", "output=npz", COUNT, *overrides)
    with np.load(folder / "samples.npz") as file:
        return np.array(file["images"])


def test_images_are_of_the_classes_in_turn(checkpoint: Path, tmp_path: Path) -> None:
    both = sample(checkpoint, tmp_path / "both", "labels=[3,7]")
    threes, sevens = (sample(checkpoint, tmp_path / digit, f"labels=['{digit}']") for digit in ("3", "7"))
    unknown = sample(checkpoint, tmp_path / "unknown", "labels=[null]")
    everything = sample(checkpoint, tmp_path / "everything")
    assert (both[::2] == threes[::2]).mean() > 0.99  # a batch of other classes may differ in the last bit
    assert (both[1::2] == sevens[1::2]).mean() > 0.99
    assert (both[::2] == sevens[::2]).mean() < 0.9
    assert (unknown == threes).mean() < 0.9
    assert (everything[3] == threes[3]).mean() > 0.99  # each class in turn


def test_the_grid_has_a_row_for_each_class(checkpoint: Path, tmp_path: Path) -> None:
    options = (f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", "num_images=5")
    command("sample", *options, "labels=[3,7]")
    grid = np.asarray(Image.open(tmp_path / "grid.png").convert("L")).astype(int)
    assert grid.shape == (2 * 50 + 2, 3 * 50 + 2)
    images = sample(checkpoint, tmp_path / "npz", "num_images=5", "labels=[3,7]")
    for number, image in enumerate(images):
        row, column = number % 2, number // 2
        shown = grid[2 + 50 * row : 50 + 50 * row, 2 + 50 * column : 50 + 50 * column]
        assert np.array_equal(shown[::6, ::6], image[:, :, 0])
    assert (grid[52:, 102:] == 128).all()  # there is no sixth


def test_guidance_changes_images_but_not_at_scale_1(checkpoint: Path, tmp_path: Path) -> None:
    plain = sample(checkpoint, tmp_path / "plain", "labels=[3,7]")
    one = sample(checkpoint, tmp_path / "one", "labels=[3,7]", "guidance=cfg", "guidance.scale=1")
    two = sample(checkpoint, tmp_path / "two", "labels=[3,7]", "guidance=cfg", "guidance.scale=2")
    part = sample(checkpoint, tmp_path / "part", "labels=[3,7]", "guidance=interval")
    weak = sample(
        checkpoint, tmp_path / "weak", "labels=[3,7]", "guidance=autoguidance", f"guidance.checkpoint={checkpoint}"
    )
    far = ["labels=[3,7]", "guidance=cfg", "guidance.scale=9"]
    clipped, divided = (sample(checkpoint, tmp_path / name, *far, f"clipping={name}") for name in ("static", "dynamic"))
    assert np.array_equal(one, plain)
    assert (divided == clipped).mean() < 0.95
    assert (two == plain).mean() < 0.95
    assert not np.array_equal(part, two)
    assert not np.array_equal(part, plain)
    assert (weak == plain).mean() > 0.99  # away from itself there is no way


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("labels=[12]", "names 12, which is none of the 10 classes; choose a number in 0..9"),
        ("labels=[three]", "names three, which is none of the 10 classes"),
        ("labels=3", "labels=3 is no list of classes; write it like labels=[0,1]"),
        ("guidance=cfg guidance.scale=-1", "guidance.scale=-1"),
        ("guidance=interval guidance.t_low=9", "guidance.t_low=9 exceeds T=8"),
        ("guidance=interval guidance.t_high=0", "guidance.t_high=0"),
        ("guidance=autoguidance", "guidance.checkpoint is missing; add guidance.checkpoint="),
        ("guidance=autoguidance guidance.checkpoint=nowhere.ckpt", "there is no checkpoint"),
        ("guidance=cgf", "did you mean cfg?"),
        ("clipping=dynamic sampler.clip_x_0=false", "clip_x_0=false clips nothing"),
        ("clipping=dynamic clipping.percentile=2", "clipping.percentile=2"),
    ],
)
def test_what_cannot_be_asked_for(
    options: str, words: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", COUNT]
    assert words in error_of(capsys, "sample", *given, *options.split())


def test_a_model_without_classes_is_asked_for_none(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("train", f"hydra.run.dir={tmp_path}", *DIGITS, "trainer.max_steps=1")
    given = [f"checkpoint={tmp_path}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}/samples", COUNT]
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")[CONFIG]["conditioning"]["_target_"].endswith(
        "NoConditioning"
    )
    assert "labels=[3] ask for classes, and this model was trained" in error_of(capsys, "sample", *given, "labels=[3]")
    assert "guidance=cfg needs a model of classes" in error_of(capsys, "sample", *given, "guidance=cfg")
    said = error_of(capsys, "sample", *given, "guidance=autoguidance", f"guidance.checkpoint={checkpoint}")
    assert "another schedule, parameterization or classes" in said
