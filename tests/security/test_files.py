"""Files of others run nothing, write nothing and fill no memory: checkpoints, archives, images, arrays."""

import io
import pickle
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path
from struct import pack
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lightning import npz
from ddpm_lightning.data.cifar10 import FOLDER, CIFAR10DataModule, read_batch
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.generated_shards import GeneratedShards
from ddpm_lightning.evaluation.image_sets import Given
from ddpm_lightning.image_files.decoding import MAX_PIXELS
from ddpm_lightning.metrics.inception import load_inception
from ddpm_lightning.npz import read_npz
from ddpm_lightning.training.checkpoint import load_model, read_checkpoint
from tests.commands import train
from tests.data.formats import read_file


class Touch:
    """What a malicious pickle holds: unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), "trainer.max_steps=1") / "checkpoints" / "last.ckpt"


def with_pickle(path: Path, content: bytes, target: Path) -> Path:
    """The checkpoint, with another pickle in its zip."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for part in old.infolist():
            new.writestr(part.filename, content if part.filename.endswith("data.pkl") else old.read(part))
    return target


@pytest.mark.parametrize("inside", [False, True], ids=["bare", "inside a checkpoint"])
def test_a_malicious_pickle_is_not_run(checkpoint: Path, tmp_path: Path, inside: bool) -> None:
    content, path = pickle.dumps(Touch(tmp_path / "ran")), tmp_path / "evil.ckpt"
    pickle.loads(pickle.dumps(Touch(tmp_path / "it does")))
    assert (tmp_path / "it does").exists()
    if inside:
        with_pickle(checkpoint, content, path)
    else:
        path.write_bytes(content)
    for read in (read_checkpoint, load_inception):
        with pytest.raises(UserError):
            read(path)
    with pytest.raises(UserError):
        read_npz(path, ["images"], "give another")
    with pytest.raises(UserError):
        read_batch(path)
    assert not (tmp_path / "ran").exists()


def test_a_malicious_pickle_among_the_shards_is_not_run(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "000000-000003.npz", "w") as file:
        array = io.BytesIO()
        np.save(array, np.array([Touch(tmp_path / "ran")], dtype=object), allow_pickle=True)
        file.writestr("images.npy", array.getvalue())
    with pytest.raises(UserError, match="delete it, and give the command again to generate it"):
        list(GeneratedShards(tmp_path).read(4))
    assert not (tmp_path / "ran").exists()


def test_arrays_with_a_path_for_a_name_are_not_written_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "evil.npz", "w") as file:
        file.writestr("../../escaped.npy", b"x")
        file.writestr("/tmp/images.npy", b"x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="holds none of the arrays"):
        read_npz(folder / "evil.npz", ["images"], "give another")
    assert sorted(tmp_path.rglob("*")) == before


def bomb(path: Path, name: str, size: int) -> None:
    """A zip of one part that inflates to `size` zero bytes after an .npy header that says so."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open(name, "w", force_zip64=True) as part:
        np.lib.format.write_array_header_1_0(part, {"descr": "|u1", "fortran_order": False, "shape": (size, 1, 1, 1)})
        for _ in range(size // 2**20):
            part.write(bytes(2**20))


def test_a_file_that_inflates_to_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "INFLATED_BYTES", 2**23)  # of 2^30: a bomb of that takes seconds to make
    path = tmp_path / "bomb.npz"
    bomb(path, "images.npy", 2**24)
    assert path.stat().st_size < 2**17
    for read in (Given, lambda path: read_npz(path, ["images"], "give another")):
        with pytest.raises(UserError, match="claim to inflate to"):
            read(path)
    with pytest.raises(UserError, match="it is compressed"):
        read_checkpoint(path)


def test_an_array_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file, file.open("images.npy", "w") as part:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**13, 1, 1, 1)}
        np.lib.format.write_array_header_1_0(part, header)
    with pytest.raises(UserError, match=r"cannot be read as an \.npz"):
        Given(tmp_path / "huge.npz")


def test_a_checkpoint_whose_parts_overlap_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "overlapping.ckpt"
    with zipfile.ZipFile(path, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.writestr("archive/data.pkl", bytes(2**16))
        file.filelist += file.filelist * 1000
    with pytest.raises(UserError, match="claim to be larger than the file"):
        read_checkpoint(path)


def test_a_checkpoint_that_claims_a_huge_tensor_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    name = next(name for name in content["state_dict"] if name.startswith("model."))
    content["state_dict"][name] = torch.zeros(1).expand(2**40)
    torch.save(content, tmp_path / "claims.ckpt")
    with pytest.raises(UserError, match="do not fit the network"):
        load_model(tmp_path / "claims.ckpt", use_ema=False)


@pytest.mark.parametrize("trick", ["..", "absolute", "symlink", "hardlink"])
def test_an_archive_in_place_of_cifar_10_writes_nothing(
    trick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise URLError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    root, outside = tmp_path / "data", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        name = {"..": "../outside/ran", "absolute": str(outside / "ran")}.get(trick, f"{FOLDER}/data_batch_1")
        part = tarfile.TarInfo(name)
        if trick in ("symlink", "hardlink"):
            part.type = tarfile.SYMTYPE if trick == "symlink" else tarfile.LNKTYPE
            part.linkname = str(outside)
        archive.addfile(part)
    with pytest.raises(UserError, match="could not be downloaded"):
        CIFAR10DataModule(root=str(root)).load("train")
    assert [path.name for path in root.iterdir()] == ["cifar-10-python.tar.gz"]
    assert not list(outside.iterdir())


def png(width: int, height: int) -> bytes:
    """A PNG of 8 grey bits that claims this size, and has next to no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    header = pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(100_000, 100_000), (MAX_PIXELS + 1, 1), (2**31 - 1, 2**31 - 1), (12_000, 12_000)])
def test_an_image_that_claims_to_be_huge_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for read in (lambda: read_file(path, 32, 3), lambda: Given(tmp_path)):
            with pytest.raises(UserError, match=r"bomb\.png"):
                read()


def test_an_image_as_long_as_can_be_is_cut_before_it_is_resized(tmp_path: Path) -> None:
    """Resized first, it would fill the memory."""
    Image.new("L", (100_000, 1)).save(tmp_path / "long.png")
    assert read_file(tmp_path / "long.png", 256, 3).shape == (3, 256, 256)


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(2**40)  # which takes no room on disk
    with pytest.raises(UserError, match=r"large\.png is larger than an image can be"):
        read_file(tmp_path / "large.png", 256, 3)
