"""Labels: each data set's own, read only if a model is conditioned on them, and right for every image of a batch."""

import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_lightning.data import cifar10, fashion_mnist
from ddpm_lightning.data.batches import LabelledBatch, Share, TrainingStream
from ddpm_lightning.data.cifar10 import CIFAR10DataModule
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.data.digits import DigitsDataModule
from ddpm_lightning.data.fake import FakeDataModule
from ddpm_lightning.data.fashion_mnist import FashionMNIST16DataModule
from ddpm_lightning.data.image_folder import ImageFolderDataModule
from ddpm_lightning.data.points import GaussiansDataModule
from ddpm_lightning.data.shards import ShardsDataModule
from ddpm_lightning.errors import UserError
from tests.commands import command, error_of
from tests.data.formats import picture


@pytest.mark.parametrize("workers", [0, 1])
def test_each_image_of_a_batch_has_its_own_label(workers: int) -> None:
    from sklearn.datasets import load_digits

    data = DigitsDataModule(batch_size=50, num_workers=workers, eval_batch_size=100)
    data.yields_classes = True
    y = torch.cat([batch.y for batch in data.in_order("test") if batch.y is not None])
    assert torch.equal(y, torch.from_numpy(load_digits().target)[1500:])
    stream = TrainingStream(1500, 50, False, 0, Share())
    for batch in islice(data._loader("train", stream), 2):
        assert isinstance(batch, LabelledBatch)
        assert torch.equal(batch.y, data.labels("train")[batch.indices])
        assert torch.equal(batch.images, data.images("train").images[batch.indices])  # type: ignore[attr-defined]


def test_labels_are_not_read_unless_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DigitsDataModule, "labels", lambda *_: pytest.fail("labels were read"))
    data = DigitsDataModule(eval_batch_size=10)
    batch = next(data.in_order("test", first=10))
    assert len(batch) == 2
    assert batch.y is None


def test_a_point_lies_near_the_gaussian_of_its_label() -> None:
    data = GaussiansDataModule(num_points=500)
    for split in ("train", "test"):
        x = torch.cat([batch.x_0 for batch in data.in_order(split)]).flatten(1).double()
        assert torch.equal(torch.cdist(x, data.means).argmin(1), data.labels(split))
    assert data.class_names == tuple("01234567")


@pytest.mark.skipif(not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_has_ten_kinds_of_clothes() -> None:
    data = FashionMNIST16DataModule()
    assert torch.equal(data.labels("test").bincount(), torch.full((10,), 1000))
    assert data.class_names[int(data.labels("train")[0])] == "Ankle boot"


def write_cifar10(root: Path, labels: list[int]) -> CIFAR10DataModule:
    (root / cifar10.FOLDER).mkdir()
    for names in cifar10.FILES.values():
        for name in names:
            content = {b"labels": labels, b"data": np.zeros((3, 3072), dtype=np.uint8)}
            (root / cifar10.FOLDER / name).write_bytes(pickle.dumps(content))
    return CIFAR10DataModule(root=str(root))


def test_cifar10_has_the_labels_of_its_files(tmp_path: Path) -> None:
    data = write_cifar10(tmp_path, [6, 9, 0])
    assert data.labels("train").tolist() == [6, 9, 0] * 5
    assert [data.class_names[k] for k in data.labels("test")] == ["frog", "truck", "airplane"]


@pytest.mark.parametrize("labels", [[6, 9], [6, 9, 10], ["frog", 1, 2]])
def test_labels_of_cifar10_that_cannot_be(tmp_path: Path, labels: list[int]) -> None:
    with pytest.raises(UserError, match="test_batch is not a whole batch file"):
        write_cifar10(tmp_path, labels).labels("test")


def write(root: Path, *names: str) -> ImageFolderDataModule:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(root / name)
    return ImageFolderDataModule(root=str(root), side=8, test_every=2, batch_size=1)


def test_the_class_of_a_file_is_the_folder_it_lies_in(tmp_path: Path) -> None:
    data = write(tmp_path, "cat/1.png", "cat/2.png", "dog/old/1.png", "dog/old/2.png", "owl/1.png", "owl/2.png")
    assert data.class_names == ("cat", "dog", "owl")
    assert data.labels("train").tolist() == data.labels("test").tolist() == [0, 1, 2]
    data.yields_classes = True
    assert [b.y.tolist() for b in data.in_order("test") if b.y is not None] == [[0, 1, 2]]


def test_or_in_a_split(tmp_path: Path) -> None:
    data = write(tmp_path, "train/dog/1.png", "train/cat/1.png", "test/dog/1.png")
    assert data.class_names == ("cat", "dog")
    assert (data.labels("train").tolist(), data.labels("test").tolist()) == ([0, 1], [1])
    more = write(tmp_path, "test/owl/1.png")
    with pytest.raises(UserError, match="no training images of owl"):
        more.labels("test")


def test_a_file_in_no_folder_has_no_class(tmp_path: Path) -> None:
    data = write(tmp_path, "cat/1.png", "cat/2.png", "1.png", "2.png")
    with pytest.raises(UserError, match=r"1.png lies in no folder of a class"):
        _ = data.class_names


@pytest.mark.parametrize("data", [FakeDataModule()])
def test_data_without_labels_say_so(data: ImageDataModule) -> None:
    assert data.class_names == ()
    with pytest.raises(UserError, match="FakeDataModule has no labels"):
        data.labels("train")


def test_shards_keep_the_classes_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where a broken image was left out."""
    source = write(tmp_path / "images", *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(4)))
    (tmp_path / "images" / "cat" / "0.png").write_bytes(b"broken")
    options = [f"data.root={tmp_path}/images", "data.side=8", "data.test_every=2", "workers=0", "images_per_shard=2"]
    command("prepare", *options, f"into={tmp_path}/shards", "labels=true")
    command("prepare", *options, f"into={tmp_path}/plain")
    data = ShardsDataModule(root=f"{tmp_path}/shards", side=8, batch_size=1)
    assert data.class_names == source.class_names == ("cat", "dog")
    assert (data.labels("train").tolist(), data.labels("test").tolist()) == ([0, 1, 1], [0, 0, 1, 1])
    data.yields_classes = True
    batch = next(data.in_order("train"))
    assert batch.y is not None
    assert torch.equal(batch.y, data.labels("train"))
    plain = ShardsDataModule(root=f"{tmp_path}/plain", side=8, batch_size=1)
    with pytest.raises(UserError, match=r"prepare\.py labels=true"):
        _ = plain.class_names
    same = [path.read_bytes() for path in sorted((tmp_path / "plain").glob("*.tar"))]
    assert same == [path.read_bytes() for path in sorted((tmp_path / "shards").glob("*.tar"))]
    assert "labels" not in (tmp_path / "plain" / "train-000000.json").read_text()
    said = error_of(capsys, "prepare", *options, f"into={tmp_path}/plain", "labels=true")
    assert "holds images of another class_names" in said
    index = tmp_path / "shards" / "train-000000.json"
    index.write_text(index.read_text().replace('"labels": [', '"labels": [7, '))
    with pytest.raises(UserError, match="lists differ in length"):
        data.labels("train")
