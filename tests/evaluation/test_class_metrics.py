"""Metrics of images whose class was asked for, and what a training run shows of classes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_lightning.data.digits import DigitsDataModule
from ddpm_lightning.diffusion.conditional.conditioning import ClassConditioning
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.metrics.classifier import DataSetClassifier
from ddpm_lightning.metrics.extractor import extract_all
from ddpm_lightning.metrics.reference import frechet_distance, statistics_of
from ddpm_lightning.training.checkpoint import read_checkpoint
from ddpm_lightning.training.labelling import LabelsOfData, labels_like
from tests.cli.test_sample_classes import checkpoint  # noqa: F401  # a fixture
from tests.commands import command, error_of, results
from tests.data.formats import everything

SMALL = ["sampler=ddim", "sampler.num_steps=2", "trainer.accelerator=cpu", "batch_size=500"]


def test_classes_are_drawn_as_often_as_the_data_have_them() -> None:
    labels = torch.tensor([0] * 700 + [2] * 300)
    drawn = labels_like(labels, ClassConditioning(class_names=("a", "b", "c")), seed=1)
    assert drawn == LabelsOfData((0.7, 0.0, 0.3), 1)
    y = drawn.of(range(2000))
    assert y is not None
    counts = y.bincount(minlength=3)
    assert counts[1] == 0
    assert int(counts[0]) == pytest.approx(1400, abs=4 * 20.5)
    later = drawn.of(range(1990, 2000))
    assert later is not None
    assert torch.equal(later, y[1990:])  # a class belongs to the number of its image


def evaluated(checkpoint: Path, folder: Path, *overrides: str) -> Path:  # noqa: F811
    command("evaluate", f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", *SMALL, *overrides)
    return folder


def test_accuracy_and_distances_of_real_digits(checkpoint: Path, tmp_path: Path) -> None:  # noqa: F811
    """In place of generated images lie the test split's, by their labels: what is measured is known by other code."""
    data = DigitsDataModule()
    images, y = everything(data, "train"), data.labels("train")
    wanted = [int((y == k).nonzero()[i]) for i in range(70) for k in (3, 7)]  # in turn
    folder = tmp_path / "generated"
    options = ["labels=[3,7]", "num_images=140", f"generated={folder}", f"cache={tmp_path}"]
    evaluated(checkpoint, tmp_path / "makes", *options, "metrics=[class_accuracy]")
    shown = data.pixels.to_bytes(data.pixels.encode(images[wanted]))
    for path in folder.glob("*.npz"):
        path.unlink()
    GeneratedShards(folder).write(range(140), shown)
    found = results(evaluated(checkpoint, tmp_path / "reads", *options, "metrics=[class_accuracy,fd_digits_by_class]"))
    values = {name: record["value"] for name, record in found["metrics"].items()}
    extracted = extract_all(DataSetClassifier("digits"), [shown])
    right = (extracted.logits.argmax(1) == y[wanted]).double().mean()
    assert values["class_accuracy_140_ddim2_of_3-7"] == pytest.approx(float(right))
    assert float(right) > 0.97
    real = extract_all(DataSetClassifier("digits"), [data.pixels.to_bytes(data.pixels.encode(images))]).features
    expected = [
        frechet_distance(statistics_of(extracted.features[k::2]), statistics_of(real[y == digit]))
        for k, digit in enumerate((3, 7))
    ]
    for digit, distance in zip((3, 7), expected, strict=True):
        assert values[f"fd_digits_class{digit}_140_train_ddim2_of_3-7"] == pytest.approx(distance, rel=1e-4)
    assert values["fd_digits_by_class_140_train_ddim2_of_3-7"] == pytest.approx(np.mean(expected), rel=1e-4)


def test_names_of_results_say_how_images_were_guided(checkpoint: Path, tmp_path: Path) -> None:  # noqa: F811
    guided = [
        "guidance=cfg",
        "guidance.scale=1.5",
        "num_images=70",
        "metrics=[class_accuracy,fd_digits]",
        f"cache={tmp_path}",
    ]
    found = results(evaluated(checkpoint, tmp_path, *guided, "metrics=[class_accuracy,fd_digits]"))["metrics"]
    assert set(found) == {"class_accuracy_70_ddim2_cfg1.5", "fd_digits_70_train_ddim2_cfg1.5"}
    record = found["class_accuracy_70_ddim2_cfg1.5"]
    assert record["guidance"]["scale"] == 1.5
    assert record["standard_error"] >= 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("metrics=[class_accuracy] labels=[null] num_images=70", "labels= has null"),
        ("metrics=[fd_digits_by_class] num_images=200", "image of class"),
        ("metrics=[class_accuracy_fashion_mnist16] num_images=70", "cannot be judged by classifier_fashion_mnist16"),
        ("metrics=[class_accuracy] images=. labels=[3]", "labels= is for images that are generated"),
        ("metrics=[class_accuracy] images=. guidance=cfg", "guidance= is for images that are generated"),
        ("metrics=[bpd_estimate] guidance=cfg", "guidance= would have no effect on bpd_estimate"),
        ("metrics=[bpd,gamma] labels=[3] clipping=dynamic", "labels= and clipping= would have no effect on bpd, gamma"),
    ],
)
def test_what_cannot_be_measured(
    options: str,
    words: str,
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}", f"generated={tmp_path}/images", *SMALL]
    assert words in error_of(capsys, "evaluate", *given, *options.split())


def test_a_weaker_model_is_known_by_its_content(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weaker = tmp_path / "weaker.ckpt"
    shutil.copy(checkpoint, weaker)
    given = ["guidance=autoguidance", f"guidance.checkpoint={weaker}", "num_images=4", f"generated={tmp_path}/images"]
    evaluated(checkpoint, tmp_path / "results", *given, "metrics=[class_accuracy]")
    found = read_checkpoint(weaker)
    next(iter(found["ema"].values())).add_(1)
    torch.save(found, weaker)
    again = [f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}/results", *SMALL, *given]
    assert "another guidance_sha256" in error_of(capsys, "evaluate", *again, "metrics=[class_accuracy]")
