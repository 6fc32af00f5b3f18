"""Every data set in its real format: whole, damaged and missing."""

import gzip
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning.data import cifar10, fashion_mnist
from ddpm_lightning.data.batches import Batch
from ddpm_lightning.data.cifar10 import CIFAR10DataModule
from ddpm_lightning.data.digits import DigitsDataModule
from ddpm_lightning.data.fake import FakeDataModule
from ddpm_lightning.data.fashion_mnist import FashionMNISTDataModule, read_idx
from ddpm_lightning.data.image_folder import ImageFolderDataModule
from ddpm_lightning.errors import UserError
from tests.data.formats import everything, read_file


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    train, test = everything(DigitsDataModule(), "train"), everything(DigitsDataModule(), "test")
    assert (train.shape, test.shape) == ((1500, 1, 8, 8), (297, 1, 8, 8))
    assert torch.equal(torch.cat([train, test])[:, 0].double(), torch.from_numpy(load_digits().images))


def test_batches_arrive_mirrored_and_scaled() -> None:
    data = DigitsDataModule()
    images = torch.randint(0, 17, (2, 1, 8, 8), dtype=torch.uint8)
    x_0 = data.on_after_batch_transfer(Batch(images, torch.tensor([False, True]), torch.arange(2)), 0).x_0
    assert torch.equal(data.pixels.decode(x_0[:1]), images[:1])
    assert torch.equal(data.pixels.decode(x_0[1:]), images[1:].flip(-1))


def idx(images: np.ndarray, magic: int = 2051) -> bytes:
    return struct.pack(">iiii", magic, *images.shape) + images.astype(np.uint8).tobytes()


@pytest.fixture
def some_images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("where", [".", "FashionMNIST/raw"])
@pytest.mark.parametrize("zipped", [False, True])
def test_fashion_mnist_reads_idx_files_raw_or_gzipped(
    tmp_path: Path, some_images: np.ndarray, where: str, zipped: bool
) -> None:
    folder = tmp_path / where
    folder.mkdir(parents=True, exist_ok=True)
    for name in fashion_mnist.FILES.values():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(some_images)))
        else:
            (folder / name).write_bytes(idx(some_images))
    data = FashionMNISTDataModule(root=str(tmp_path))
    for split in ("train", "test"):
        assert np.array_equal(everything(data, split)[:, 0].numpy(), some_images)


@pytest.mark.skipif(not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian_is_whole(tmp_path: Path) -> None:
    data = FashionMNISTDataModule(root=str(tmp_path))
    assert everything(data, "train").shape == (60_000, 1, 28, 28)
    assert everything(data, "test").shape == (10_000, 1, 28, 28)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda whole: whole[:-5], "is truncated or too long"),
        (lambda whole: whole + b"x", "is truncated or too long"),
        (lambda whole: whole[:9], "too few for an idx file's header"),
        (lambda whole: struct.pack(">i", 2049) + whole[4:], "is not an idx file of 3 dimensions"),
        (lambda whole: b"<html>not found</html>", "is not an idx file of 3 dimensions"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, some_images: np.ndarray, damage: Any, words: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(idx(some_images)))
    with pytest.raises(UserError, match=words) as caught:
        read_idx(path, dimensions=3)
    assert str(path) in str(caught.value)


def test_a_damaged_gzip_is_named(tmp_path: Path, some_images: np.ndarray) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(some_images))[:-20])
    with pytest.raises(UserError, match="cannot be unpacked") as caught:
        read_idx(path, dimensions=3)
    assert str(path) in str(caught.value)


def test_images_of_another_size_are_no_fashion_mnist(tmp_path: Path) -> None:
    (tmp_path / fashion_mnist.FILES["train"]).write_bytes(idx(np.zeros((2, 8, 8), np.uint8)))
    with pytest.raises(UserError, match="images of"):
        FashionMNISTDataModule(root=str(tmp_path)).load("train")


def no_network(*args: Any, **kwargs: Any) -> None:
    raise OSError("no network")


def test_missing_data_say_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.__init__", no_network)
    monkeypatch.setattr("torchvision.datasets.CIFAR10.__init__", no_network)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match=r"put train-images-idx3-ubyte\.gz and .* there"):
        FashionMNISTDataModule(root=str(tmp_path)).load("train")
    with pytest.raises(UserError, match=r"unpack cifar-10-python\.tar\.gz there"):
        CIFAR10DataModule(root=str(tmp_path)).load("train")


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes bytes as Python 2 wrote its strings, as in CIFAR-10's real files."""

    def save_bytes(self, content: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_bytes}  # type: ignore[attr-defined]  # noqa: RUF012


def python2_pickle(content: Any) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core", b"numpy.core")


def write_cifar(root: Path, rows: np.ndarray) -> None:
    folder = root / cifar10.FOLDER
    folder.mkdir(parents=True)
    for name in (*cifar10.FILES["train"], *cifar10.FILES["test"]):
        content = {b"batch_label": b"", b"labels": [0] * len(rows), b"data": rows, b"filenames": [b"x"] * len(rows)}
        (folder / name).write_bytes(python2_pickle(content))


def test_cifar10_reads_torchvisions_files(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    write_cifar(tmp_path, rows)
    data = CIFAR10DataModule(root=str(tmp_path))
    train, test = everything(data, "train"), everything(data, "test")
    assert (train.shape, test.shape) == ((15, 3, 32, 32), (3, 3, 32, 32))
    assert np.array_equal(test.numpy().reshape(3, 3072), rows)


def test_a_damaged_cifar_file_is_named(tmp_path: Path) -> None:
    write_cifar(tmp_path, np.zeros((3, 3072), np.uint8))
    path = tmp_path / cifar10.FOLDER / "test_batch"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="not a whole batch file of CIFAR-10") as caught:
        CIFAR10DataModule(root=str(tmp_path)).load("test")
    assert str(path) in str(caught.value)


class Malicious:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


def test_a_cifar_file_with_code_inside_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": Malicious()}))
    with pytest.raises(UserError, match=r"asks for builtins\.print"):
        cifar10.read_batch(path)
    assert "must not run" not in capsys.readouterr().out


def write_image(path: Path, size: tuple[int, int], color: Any, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


def test_image_folder_splits_every_tenth_for_testing(tmp_path: Path) -> None:
    for i in range(20):
        write_image(tmp_path / "deep" / f"{i:02d}.png", (10, 8), (i, 0, 0))
    data = ImageFolderDataModule(root=str(tmp_path), side=8)
    test, train = everything(data, "test"), everything(data, "train")
    assert test[:, 0, 0, 0].tolist() == [9, 19]
    assert train[:, 0, 0, 0].tolist() == [i for i in range(20) if i not in (9, 19)]


def test_image_folder_takes_given_splits(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "a.jpg", (8, 8), (255, 0, 0))
    write_image(tmp_path / "test" / "b.png", (8, 8), (0, 0, 255))
    data = ImageFolderDataModule(root=str(tmp_path), side=8)
    assert everything(data, "train")[0, 0, 0, 0] > 200
    assert everything(data, "test")[0, 2, 0, 0] == 255


def test_image_folder_takes_val_for_a_test_split(tmp_path: Path) -> None:
    """As CelebA-HQ comes with StarGAN v2, and split in two more."""
    for split, sex, red in (("train", "female", 1), ("train", "male", 2), ("val", "female", 3), ("val", "male", 4)):
        write_image(tmp_path / split / sex / "0.png", (8, 8), (red, 0, 0))
    data = ImageFolderDataModule(root=str(tmp_path), side=8)
    assert everything(data, "train")[:, 0, 0, 0].tolist() == [1, 2]
    assert everything(data, "test")[:, 0, 0, 0].tolist() == [3, 4]


def test_images_are_resized_and_their_middle_cut_out(tmp_path: Path) -> None:
    picture = Image.new("RGB", (32, 16), (0, 0, 0))
    picture.paste((255, 255, 255), (8, 0, 24, 16))  # the middle square is white
    picture.save(tmp_path / "wide.png")
    assert read_file(tmp_path / "wide.png", 16, 3).min() == 255
    assert read_file(tmp_path / "wide.png", 8, 1).shape == (1, 8, 8)
    assert read_file(tmp_path / "wide.png", 32, 3).shape == (3, 32, 32)


def test_grey_and_colour_are_converted(tmp_path: Path) -> None:
    write_image(tmp_path / "grey.png", (8, 8), 77, mode="L")
    write_image(tmp_path / "alpha.png", (8, 8), (255, 0, 0, 128), mode="RGBA")
    assert read_file(tmp_path / "grey.png", 8, 3)[:, 0, 0].tolist() == [77, 77, 77]
    assert read_file(tmp_path / "alpha.png", 8, 3)[:, 0, 0].tolist() == [255, 0, 0]


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png cannot be read as an image"):
        read_file(tmp_path / "broken.png", 8, 3)


def test_a_folder_too_small_to_test_with_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (8, 8), (0, 0, 0))
    with pytest.raises(UserError, match="holds 1 image, of which every 10th would test"):
        ImageFolderDataModule(root=str(tmp_path)).load("train")


def test_a_photograph_taken_sideways_is_turned(tmp_path: Path) -> None:
    picture = Image.new("L", (8, 8), 0)
    picture.paste(255, (0, 0, 8, 4))  # white above, as stored
    exif = Image.Exif()
    exif[0x0112] = 3  # "turned by 180°"
    picture.save(tmp_path / "turned.jpg", exif=exif)
    image = read_file(tmp_path / "turned.jpg", 8, 1)
    assert image[0, 0, 0] < 50
    assert image[0, 7, 0] > 200


def test_an_image_of_16_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png has 16 or more bits a pixel"):
        read_file(tmp_path / "deep.png", 8, 1)


def test_folders_without_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match="holds no images"):
        ImageFolderDataModule(root=str(tmp_path)).load("train")
    with pytest.raises(UserError, match="is not a folder"):
        ImageFolderDataModule(root=str(tmp_path / "absent")).load("train")


def test_fake_data_have_the_shape_and_levels_asked_for() -> None:
    data = FakeDataModule(channels=2, size=[4, 6], levels=5, num_images=9)
    images = everything(data, "train")
    assert images.shape == (9, 2, 4, 6)
    assert images.max() == 4
    assert torch.equal(images, everything(data, "train"))
    assert not torch.equal(images, everything(data, "test"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": -3}, "data.batch_size=-3"),
        ({"eval_batch_size": 0}, "data.eval_batch_size=0"),
        ({"num_workers": -1}, "data.num_workers=-1"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DigitsDataModule(**options)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    data = DigitsDataModule(batch_size=2000)
    with pytest.raises(UserError, match="exceeds the 1500 training images"):
        data.setup("fit")


def test_an_image_folder_is_grey_or_colour(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.channels=2"):
        ImageFolderDataModule(root=str(tmp_path), channels=2)
    with pytest.raises(UserError, match=r"data\.side=0"):
        ImageFolderDataModule(root=str(tmp_path), side=0)
