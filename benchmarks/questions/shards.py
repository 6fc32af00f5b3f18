"""Compares large images from shards with folders and WebDataset: speed, shuffling and file format."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from benchmarks.benchmark import Benchmark
from benchmarks.device import cores
from benchmarks.findings import Comparison, Figure, Findings, compare
from benchmarks.measure import Side, Spread, spread, take_turns
from benchmarks.sides.photographs import photograph, write_numbers, write_photographs
from benchmarks.sides.streams import Batches, image_folder, our_shards, webdataset_endless, webdataset_stream
from ddpm_lightning.cli.prepare import convert
from ddpm_lightning.data.image_folder import ImageFolderDataModule

NAME = "shards"
FORMS = {
    "raw": ("BMP", {}),
    "PNG": ("PNG", {"compress_level": 1}),
    "PNG, small": ("PNG", {"compress_level": 9}),
    "WebP without loss": ("WEBP", {"lossless": True, "quality": 0, "method": 0}),
    "WebP without loss, small": ("WEBP", {"lossless": True, "quality": 80, "method": 4}),
    "WebP of quality 75, as LSUN's": ("WEBP", {"quality": 75}),
}
"""Formats of a stored image."""


@dataclass(frozen=True, kw_only=True)
class Shards(Benchmark):
    """Times the reading of photographs, and measures how well they are shuffled.

    Args:
        num_images: Number of photographs.
        side: Their side after resizing.
        original_side: Their side on disk.
        num_numbers: Number of tiny images whose order is measured.
        buffer: Size of WebDataset's shuffle buffer.

    """

    num_images: int = 256
    side: int = 256
    original_side: int = 1024
    batch_size: int = 64
    num_numbers: int = 5000
    buffer: int = 500
    at_least: float = 0.3

    question = "How long does a batch of large images take from disk, and how well is it shuffled?"

    def measure(self) -> Findings:
        with TemporaryDirectory() as folder:
            return Findings([*self._speed(Path(folder))], [*self._order(Path(folder)), *self._forms()])

    def _speed(self, folder: Path) -> Iterator[Comparison]:
        originals = write_photographs(folder / "originals", self.num_images, self.original_side, "jpg")
        same = write_photographs(folder / "same", self.num_images, self.side, "png")
        shards = _converted(originals, folder / "shards", self.side)
        how = self.side, self.batch_size, 0  # workers would read ahead while the others have their turn
        streams: dict[str, Batches] = {
            NAME: our_shards(shards, *how),
            f"ImageFolder of {self.original_side}² JPEG": image_folder(originals, *how),
            f"ImageFolder of {self.side}² PNG": image_folder(same, *how),
            "WebDataset on our shards": webdataset_endless(shards, self.buffer, *how[1:]),
        }
        found = take_turns({name: _next(stream) for name, stream in streams.items()}, self.rounds, self.at_least)
        for theirs in list(streams)[1:]:
            what = f"shuffled batch of {self.batch_size}"
            yield compare(what, (NAME, theirs), found[NAME], found[theirs], target=1.0)

    def _order(self, folder: Path) -> Iterator[Figure]:
        n = self.num_numbers
        shards = _converted(write_numbers(folder / "numbers", n), folder / "number_shards", 2)
        batches = n * 9 // 10 // self.batch_size
        ours = [_numbers(our_shards(shards, 2, self.batch_size, workers), batches) for workers in (0, 2)]
        theirs = [_numbers(webdataset_stream(shards, self.buffer, self.batch_size, w), batches) for w in (0, 2)]
        for name, (order, with_two) in ((NAME, ours), (f"WebDataset, buffer {self.buffer}", theirs)):
            yield Figure(f"{name}: distance of two images of a batch, of that of two at random", _apart(order, n), "")
            resumed = [*order[: batches // 2], *with_two[batches // 2 :]]
            missed = order.size - len(np.unique(np.stack(resumed)))
            what = f"{name}: images missed, if a pass is resumed in its middle with 2 workers instead of 0"
            yield Figure(what, spread([100 * missed / order.size]), "%")

    def _forms(self) -> Iterator[Figure]:
        photographs = [photograph(number, self.side) for number in range(min(64, self.num_images))]
        files = {name: [_file(image, *form) for image in photographs] for name, form in FORMS.items()}
        decoding = {name: _decoding(contents) for name, contents in files.items()}
        found = take_turns(decoding, self.rounds)
        for name, contents in files.items():
            yield Figure(f"{name}: size of an image", spread([len(each) / 1000 for each in contents]), "kB")
            yield Figure(f"{name}: decoding it", spread([1000 * s / len(contents) for s in found[name]]), "ms")


def _converted(folder: Path, into: Path, side: int) -> Path:
    convert(ImageFolderDataModule(root=str(folder), side=side), into, images_per_shard=256, workers=cores())
    return into


def _next(batches: Batches) -> Side:
    return lambda: next(batches)


def _numbers(batches: Batches, count: int) -> np.ndarray:
    """Returns the numbers of the images in the batches of a pass: [batch, image]."""
    colours = torch.stack(list(islice(batches, count)))[..., 0, 0].long()
    return (colours[..., 0] * 65536 + colours[..., 1] * 256 + colours[..., 2]).numpy()


def _apart(order: np.ndarray, n: int) -> Spread:
    """Returns for each batch how far apart two of its images are in the data, relative to a random pair (n/3)."""
    size = order.shape[1]
    distances = np.abs(order[:, :, None] - order[:, None]).sum((1, 2)) / (size * (size - 1))
    return spread(list(distances / (n / 3)))


def _file(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _decoding(contents: list[bytes]) -> Side:
    return lambda: [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
