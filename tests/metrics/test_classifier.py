"""The shipped classifiers: small, as good as they say, and refused where they do not belong."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ddpm_lightning.data.digits import DigitsDataModule
from ddpm_lightning.errors import UserError
from ddpm_lightning.metrics.classifier import DESCRIPTION, DataSetClassifier, load_classifier, shipped_weights
from ddpm_lightning.studies.classifier_training import accuracy_of, as_bytes
from tests.commands import command, error_of

SHIPPED = ("digits", "fashion_mnist", "fashion_mnist16")


def facts(path: Path) -> dict[str, object]:
    with safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()[DESCRIPTION]))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_small_and_say_where_they_come_from(name: str) -> None:
    path = shipped_weights(name)
    assert path.stat().st_size < 500_000
    assert facts(path).keys() >= {"test_accuracy", "steps", "seed", "commit"}
    assert "dirty" not in str(facts(path)["commit"])
    accuracy = f"{100 * float(str(facts(path)['test_accuracy'])):.2f} %"
    assert accuracy in (path.parent / "README.md").read_text()


def test_the_digits_classifier_is_as_good_as_it_says() -> None:
    data = DigitsDataModule()
    network = load_classifier(shipped_weights("digits"))
    accuracy = accuracy_of(network, as_bytes(data, "test"), data.labels("test"))
    assert accuracy == pytest.approx(facts(shipped_weights("digits"))["test_accuracy"], abs=1 / 297)
    assert accuracy > 0.95


def test_a_classifier_stays_fixed_and_sees_each_image_alone() -> None:
    extractor = DataSetClassifier("digits").train()
    assert not extractor.training
    images = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8)
    whole, part = extractor.extract(images), extractor.extract(images[3:4])
    assert torch.allclose(whole.features[3:4], part.features, atol=1e-6)
    assert whole.features.shape == (9, extractor.num_features)
    assert whole.logits.shape == (9, 10)


def test_images_of_another_kind_are_refused() -> None:
    with pytest.raises(UserError, match=r"images of \(3, 32, 32\) .* cannot be judged by classifier_digits"):
        DataSetClassifier("digits").extract(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_wrong_files_are_named(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(3)}, other)
    (tmp_path / "text.safetensors").write_text("no weights")
    for path in (other, tmp_path / "text.safetensors"):
        with pytest.raises(UserError, match="holds no classifier"):
            load_classifier(path)
    with pytest.raises(UserError, match=r"train one with: python train_classifier\.py"):
        DataSetClassifier("nonsuch")


def test_the_command_trains_a_classifier_that_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("train_classifier", f"hydra.run.dir={tmp_path}", "steps=30")
    extractor = DataSetClassifier("digits", str(tmp_path / "classifier.safetensors"))
    assert extractor.fingerprint != DataSetClassifier("digits").fingerprint
    assert float(str(facts(tmp_path / "classifier.safetensors")["test_accuracy"])) > 0.5
    before = (tmp_path / "classifier.safetensors").read_bytes()
    command("train_classifier", f"hydra.run.dir={tmp_path}", "steps=30")
    assert "This classifier is finished" in capsys.readouterr().out
    said = error_of(capsys, "train_classifier", f"hydra.run.dir={tmp_path}", "steps=31", "lr=0.1")
    assert "holds a classifier of another steps (30) than this command's (31), another lr (0.002)" in said
    assert (tmp_path / "classifier.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("mistake", "words"),
    [("data=fake", "has no labels"), ("steps=0", "steps=0"), ("lr=0", "lr=0"), ("seed=-1", "seed=-1")],
)
def test_wrong_options(mistake: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in error_of(capsys, "train_classifier", f"hydra.run.dir={tmp_path}", mistake)
