"""Shards: the same images in the same order as the data that they were made of; readable by others; damage told."""

import io
import json
import random
import tarfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.sides.ours import idle_trainer
from ddpm_lightning.data.batches import Batch, TrainingStream
from ddpm_lightning.data.encoded import EncodedImagesDataModule
from ddpm_lightning.data.image_folder import ImageFolderDataModule
from ddpm_lightning.data.lsun import LSUNDataModule
from ddpm_lightning.data.shards import ShardsDataModule
from ddpm_lightning.errors import UserError
from tests.commands import command
from tests.data.formats import encoded, everything, picture, write_folder, write_lsun

N, TRAIN = 40, 36
OPTIONS = {"side": 16, "batch_size": 4, "eval_batch_size": 8, "flip": True, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images, of which every tenth tests."""
    return write_folder(tmp_path_factory.mktemp("folder") / "images", N)


@pytest.fixture(scope="module")
def shards(folder: Path) -> Path:
    """Made of them, ten in each."""
    command(
        "prepare",
        f"data.root={folder}",
        "data.side=16",
        f"into={folder.parent}/shards",
        "images_per_shard=10",
        "workers=1",
    )
    return folder.parent / "shards"


def batches(
    data: EncodedImagesDataModule, count: int, start: int = 0, rank: int = 0, world_size: int = 1
) -> list[Batch]:
    """Of training, from batch number `start`; this process's part of each."""
    data.trainer = trainer = idle_trainer()
    trainer.fit_loop.epoch_loop.batch_progress.current.processed = start
    with patch.multiple(type(trainer), global_rank=rank, world_size=world_size):
        return list(islice(data.train_dataloader(), count))


def same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert all(map(torch.equal, one, other))


def test_training_sees_what_it_would_see_of_the_folder(folder: Path, shards: Path) -> None:
    """Images, order and flips, over two passes and a bit."""
    of_folder = ImageFolderDataModule(root=str(folder), **OPTIONS)
    of_shards = ShardsDataModule(root=str(shards), **OPTIONS)
    same(batches(of_shards, 20), batches(of_folder, 20))
    for split in ("train", "test"):
        assert torch.equal(everything(of_shards, split), everything(of_folder, split))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_shows_every_image_once_and_goes_on_anywhere_with_any_number_of_processes(
    shards: Path, workers: int
) -> None:
    def data() -> ShardsDataModule:
        return ShardsDataModule(root=str(shards), num_workers=workers, **OPTIONS)

    whole = batches(data(), 12)
    assert Counter(i for batch in whole[: TRAIN // 4] for i in batch.indices.tolist()) == Counter(range(TRAIN))
    same(batches(data(), 7, start=5), whole[5:])
    halves = [batches(data(), 7, start=5, rank=rank, world_size=2) for rank in (0, 1)]
    joined = [Batch(*map(torch.cat, zip(*pair, strict=True))) for pair in zip(*halves, strict=True)]
    same(joined, whole[5:])


def test_each_process_reads_its_own_part_of_the_files_and_nothing_twice(shards: Path) -> None:
    """Counted where bytes are read, over a pass of three processes."""
    read: Counter[int] = Counter()
    for rank in range(3):
        data = ShardsDataModule(root=str(shards), **{**OPTIONS, "batch_size": 12})
        source = data.load("train").source
        original = type(source).read

        def counted(self: object, place: int, original: Callable[..., bytes] = original) -> bytes:
            read[place] += 1
            return original(self, place)

        with patch.object(type(source), "read", counted):
            batches(data, TRAIN // 12, rank=rank, world_size=3)
    assert read == Counter(range(TRAIN))


def test_the_order_is_a_shuffle_of_all_not_of_neighbours() -> None:
    """Places in a pass and in the data do not correlate, nor do images of one batch lie near each other."""
    n, size = 20_000, 50
    stream = TrainingStream(n, size, flip=False, seed=0, share=ShardsDataModule(root="x")._share())
    order = torch.stack([stream.plan(step).indices for step in range(n // size)]).double()
    correlation = np.corrcoef(np.arange(n), order.flatten().numpy())[0, 1]
    assert abs(correlation) < 4 / n**0.5
    apart = (order[:, :, None] - order[:, None]).abs().sum() / (n // size * size * (size - 1))
    assert float(apart) == pytest.approx(n / 3, rel=0.02)  # of two uniform draws


def test_webdataset_reads_the_same_images(shards: Path) -> None:
    wds = pytest.importorskip("webdataset")
    files = sorted(str(path) for path in shards.glob("train-*.tar"))
    samples = list(wds.WebDataset(files, shardshuffle=False).decode("rgb8"))
    theirs = np.stack([sample["webp"] for sample in samples]).transpose(0, 3, 1, 2)
    assert np.array_equal(theirs, everything(ShardsDataModule(root=str(shards), **OPTIONS), "train").numpy())
    assert [sample["__key__"] for sample in samples] == [f"{place:09d}" for place in range(TRAIN)]


def test_any_tar_reads_them_too(shards: Path) -> None:
    with tarfile.open(shards / "test-000000.tar") as tar:
        members = tar.getmembers()
        files = [tar.extractfile(member) for member in members]
        images = [np.asarray(Image.open(file)) for file in files if file is not None]
    assert [member.name for member in members] == [f"{place:09d}.webp" for place in range(N - TRAIN)]
    ours = everything(ShardsDataModule(root=str(shards), **OPTIONS), "test")
    assert np.array_equal(np.stack(images).transpose(0, 3, 1, 2), ours.numpy())


def test_lsun_s_own_bytes_are_kept_where_nothing_is_to_be_resized(tmp_path: Path) -> None:
    for part, numbers in (("train", range(5)), ("val", range(5, 7))):
        write_lsun(tmp_path / f"bedroom_{part}_lmdb", [encoded(picture(i, (48, 32)), quality=75) for i in numbers])
    command("prepare", "data=lsun", f"data.root={tmp_path}", "data.side=32", f"into={tmp_path}/shards", "workers=0")
    options = {**OPTIONS, "side": 32}
    of_lsun, of_shards = (
        LSUNDataModule(root=str(tmp_path), **options),
        ShardsDataModule(root=f"{tmp_path}/shards", **options),
    )
    for split in ("train", "test"):
        ours, theirs = (data.load(split) for data in (of_shards, of_lsun))
        assert [ours.source.read(i) for i in range(len(ours))] == [theirs.source.read(i) for i in range(len(theirs))]
        assert torch.equal(everything(of_shards, split), everything(of_lsun, split))


@pytest.mark.parametrize(("channels", "kind"), [(1, "png"), (1, "bmp"), (3, "png"), (3, "tif")])
@pytest.mark.parametrize("side", [16, 32])
def test_nothing_is_lost_on_the_way(tmp_path: Path, channels: int, kind: str, side: int) -> None:
    """Grey or in colour, kept as it came or not."""
    write_folder(tmp_path / "images", 10, kind, mode="L" if channels == 1 else "RGB")
    shape = [f"data.side={side}", f"data.channels={channels}"]
    command("prepare", f"data.root={tmp_path}/images", *shape, f"into={tmp_path}/shards", "workers=0")
    options = {**OPTIONS, "side": side, "channels": channels}
    ours = everything(ShardsDataModule(root=f"{tmp_path}/shards", **options), "train")
    assert torch.equal(ours, everything(ImageFolderDataModule(root=f"{tmp_path}/images", **options), "train"))


def damaged_copy(shards: Path, folder: Path) -> Path:
    for path in shards.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def error_of(root: Path, **options: int) -> str:
    """What is said when everything is read."""
    with pytest.raises(UserError) as caught:
        everything(ShardsDataModule(root=str(root), **{**OPTIONS, **options}), "train")
    return str(caught.value)


def test_damaged_and_missing_files_are_named_with_the_mend(shards: Path, tmp_path: Path) -> None:
    root = damaged_copy(shards, tmp_path)
    tar, index, list_ = root / "train-000001.tar", root / "train-000001.json", root / "shards.json"
    content = {path: path.read_bytes() for path in (tar, index, list_)}
    told = "copy the folder again, or delete that shard's .tar and .json"

    def assert_told(path: Path, *words: str) -> None:
        said = error_of(root)
        assert all(word in said for word in (str(path), *words)), said
        for each, bytes_ in content.items():
            each.write_bytes(bytes_)

    tar.write_bytes(content[tar][:3000])
    assert_told(tar, "has 3000 bytes, and its images need", told)
    tar.unlink()
    assert_told(tar, "has 0 bytes", told)
    index.write_bytes(content[index][:-9])
    assert_told(index, "is damaged or missing", told)
    index.unlink()
    assert_told(index, "is damaged or missing", told)
    index.write_bytes((root / "train-000003.json").read_bytes())  # of a shard of six
    assert_told(index, "lists 6 images, and shards.json 10")
    list_.write_text('{"side": 16, "channels": 3, "splits": {"train": {}, "test": {}}}')
    assert_told(list_, "a split has no images")
    list_.write_text("{}")
    assert_told(list_, "is damaged or missing")
    list_.write_text(json.dumps({**json.loads(content[list_]), "splits": {"train": {"../x.tar": 1}, "test": {}}}))
    assert_told(list_, "its shards lie elsewhere")
    list_.unlink()
    assert_told(root, "is not finished, so give the same prepare.py command again")
    assert "prepare.py makes them" in error_of(root.parent / "absent")
    assert "data.side=8, but the shards in" in error_of(root, side=8)
    assert "say data.channels=3" in error_of(root, channels=1)


def test_every_flipped_bit_of_an_image_is_noticed(shards: Path, tmp_path: Path) -> None:
    root = damaged_copy(shards, tmp_path)
    tar = root / "train-000002.tar"
    index, content = json.loads(tar.with_suffix(".json").read_text()), tar.read_bytes()
    draws = random.Random(0)
    for _ in range(30):
        flipped, image = bytearray(content), draws.randrange(len(index["offsets"]))
        flipped[index["offsets"][image] + draws.randrange(index["lengths"][image])] ^= 1 << draws.randrange(8)
        tar.write_bytes(flipped)
        assert "is damaged: its checksum differs" in error_of(root)


def test_a_shard_that_is_deleted_is_made_again(folder: Path, shards: Path, tmp_path: Path) -> None:
    root = damaged_copy(shards, tmp_path)
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    (root / "train-000001.tar").unlink()
    (root / "train-000002.json").unlink()
    command("prepare", f"data.root={folder}", "data.side=16", f"into={root}", "images_per_shard=10", "workers=0")
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


def test_the_fingerprint_is_that_of_the_images_wherever_they_lie(shards: Path, tmp_path: Path) -> None:
    copies = [ShardsDataModule(root=str(root), **OPTIONS) for root in (shards, damaged_copy(shards, tmp_path))]
    train, test = ([data.images(split).fingerprint() for data in copies] for split in ("train", "test"))
    assert train[0] == train[1] != test[0] == test[1]


def test_an_image_file_is_what_it_was() -> None:
    """What the other tests rest on: no two pictures are alike."""
    assert len({encoded(picture(number)) for number in range(N)}) == N
    assert Image.open(io.BytesIO(encoded(picture(0)))).size == (40, 32)
