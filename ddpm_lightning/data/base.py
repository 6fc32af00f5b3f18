"""What every DataModule of images does; a data set adds its shape and how a split is loaded."""

from abc import abstractmethod

import lightning as L
import torch
from torch.utils.data import DataLoader

from ddpm_lightning.data.batches import Batch, ImageDataset, OnePass, Share, TrainingStream
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.typing import Examples


class ImageDataModule(L.LightningDataModule):
    """Batches of images on the scale [−1, 1]; integers travel to the device and are mirrored and scaled there.

    channels, size (height, width) and pixels (the number of levels) are known before anything is read.
    batch_size: of all processes together, for training. eval_batch_size: of each process, for testing.
    flip: mirror half of the training images. num_workers: processes that read ahead, for data on disk.
    """

    channels: int
    size: tuple[int, int]
    pixels: PixelRange = PixelRange(256)
    train: ImageDataset | None = None
    test: ImageDataset | None = None

    def __init__(
        self,
        *,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        flip: bool = False,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            check_whole(f"data.{name}", value, 1, "a batch holds at least one image; the paper uses 128")
        check_whole("data.num_workers", num_workers, 0, "0 reads in the main process")
        check_whole("seed", seed, 0, "it numbers the run's randomness; use 0")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.flip = flip
        self.num_workers = num_workers
        self.seed = seed

    @abstractmethod
    def load(self, split: str) -> ImageDataset:
        """The "train" or "test" split."""

    def setup(self, stage: str) -> None:
        """Loads what the stage needs, once; so it can be called before a trainer is there, to fail early."""
        if stage == "fit":
            self.train = self.load("train") if self.train is None else self.train
            self._check_batch_size(len(self.train))
        if stage == "test":
            self.test = self.load("test") if self.test is None else self.test

    def _check_batch_size(self, n: int) -> None:
        world_size = self._share().world_size
        if self.batch_size > n:
            raise UserError(f"data.batch_size={self.batch_size} exceeds the {n} training images; choose at most {n}")
        if self.batch_size % world_size:
            raise UserError(
                f"data.batch_size={self.batch_size} does not divide among {world_size} processes (it counts the images "
                f"of all of them together); choose a multiple of {world_size}"
            )

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        assert self.train is not None
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]
        stream = TrainingStream(len(self.train), self.batch_size, self.flip, self.seed, self._share(), start=done)
        return self._loader(self.train, stream)

    def test_dataloader(self) -> DataLoader[Batch]:
        assert self.test is not None
        return self._loader(self.test, OnePass(len(self.test), self.eval_batch_size, self._share()))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Examples:
        """Mirrors and scales, on the device."""
        mirrored = torch.where(batch.flip[:, None, None, None], batch.images.flip(-1), batch.images)
        return Examples(self.pixels.encode(mirrored), batch.indices)

    def _share(self) -> Share:
        return Share() if self.trainer is None else Share(self.trainer.global_rank, self.trainer.world_size)

    def _loader(self, images: ImageDataset, plans: TrainingStream | OnePass) -> DataLoader[Batch]:
        # A generator of its own: else every `iter` would draw from the global one.
        return DataLoader(
            images,  # type: ignore[arg-type]  # gathers by Plan, not by int
            sampler=plans,
            batch_size=None,
            num_workers=self.num_workers,
            generator=torch.Generator(),
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
