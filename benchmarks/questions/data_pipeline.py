"""Compares our batches of CIFAR-10's shape with torchvision's, and with the training step that uses them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks.benchmark import Benchmark
from benchmarks.device import FULL_PRECISION, cores, device
from benchmarks.findings import Comparison, Findings, compare
from benchmarks.measure import Side, take_turns
from benchmarks.sides.ours import NAME, TrainOurs, idle_trainer
from benchmarks.sides.shape import PAPER, Shape
from benchmarks.sides.torchvision_data import endless, torchvision_loader
from ddpm_lightning.data.batches import Batch, ImageDataset, InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.typing import Examples


class GivenPixels(ImageDataModule):
    """A DataModule of the given images."""

    def __init__(self, pixels: torch.Tensor, batch_size: int) -> None:
        super().__init__(batch_size=batch_size, flip=True)
        self.pixels_of_train = pixels
        self.channels, self.size = 3, (pixels.shape[2], pixels.shape[3])

    def load(self, split: str) -> ImageDataset:
        return InMemoryImages(self.pixels_of_train)


@dataclass(frozen=True, kw_only=True)
class DataPipeline(Benchmark):
    """Times batches with flips, on the device.

    Args:
        batch_size: Of the comparison with torchvision.
        step_batch_size: Of the comparison with the training step.
    """

    num_images: int = 50_000
    batch_size: int = 128
    step_batch_size: int = 16
    at_least: float = 1.0
    shape: Shape = PAPER

    question = "How long does it take to have a batch of mirrored images on the device?"

    def measure(self) -> Findings:
        pixels = torch.randint(0, 256, (self.num_images, 3, self.shape.side, self.shape.side), dtype=torch.uint8)
        return Findings([*self._against_torchvision(pixels), self._against_the_step(pixels)])

    def _against_torchvision(self, pixels: torch.Tensor) -> Iterator[Comparison]:
        peers = {f"torchvision, {workers} workers": workers for workers in (0, cores())}
        sides = {name: _their_batch(pixels, self.batch_size, workers) for name, workers in peers.items()}
        found = take_turns({NAME: _our_batch(pixels, self.batch_size), **sides}, self.rounds, self.at_least)
        for name in peers:
            yield compare(f"batch of {self.batch_size}", (NAME, name), found[NAME], found[name], target=20.0)

    def _against_the_step(self, pixels: torch.Tensor) -> Comparison:
        step = TrainOurs()(self.shape, self.step_batch_size, FULL_PRECISION)
        sides = {"batch": _our_batch(pixels, self.step_batch_size), "step": step}
        found = take_turns(sides, self.rounds, self.at_least / 10)
        what = f"batch of {self.step_batch_size} against the training step that uses it"
        return compare(what, ("batch", "training step"), found["batch"], found["step"], target=100.0)


def _our_batch(pixels: torch.Tensor, batch_size: int) -> Side:
    data = GivenPixels(pixels, batch_size)
    data.trainer = idle_trainer()
    batches = iter(data.train_dataloader())

    def batch() -> Examples:
        return data.on_after_batch_transfer(Batch(*(part.to(device()) for part in next(batches))), 0)

    return batch


def _their_batch(pixels: torch.Tensor, batch_size: int, num_workers: int) -> Side:
    batches = endless(torchvision_loader(pixels, batch_size, num_workers))
    return lambda: next(batches).to(device())
