"""What every DataModule of images does; a data set adds its shape and how a split is loaded."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from ddpm_lightning.data.batches import Batch, ImageDataset, OnePass, Share, TrainingStream
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.errors import UserError, check_at_most, check_boolean, check_whole
from ddpm_lightning.typing import Examples


class ImageDataModule(L.LightningDataModule):
    """Batches of images on the scale [−1, 1]; integers travel to the device and are mirrored and scaled there.

    channels, size (height, width) and pixels (the number of levels) are known before anything is read.
    batch_size: of an optimizer step, all processes and all batches that are accumulated together. eval_batch_size: of
    each process, for testing. flip: mirror half of the training images. num_workers: processes that read ahead, for
    data on disk. max_train_images: trains on the first so many images alone, None on all.
    """

    channels: int
    size: tuple[int, int]
    pixels: PixelRange = PixelRange(256)

    def __init__(
        self,
        *,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        flip: bool = False,
        num_workers: int = 0,
        max_train_images: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            check_whole(f"data.{name}", value, 1, "a batch holds at least one image; the paper uses 128")
        check_whole("data.num_workers", num_workers, 0, "0 reads in the main process")
        check_at_most("data.num_workers", num_workers, 256, "each is a process; some per core are enough")
        check_boolean("data.flip", flip, "true mirrors half of the training images")
        if max_train_images is not None:
            check_whole("data.max_train_images", max_train_images, 1, "null trains on all of them")
        check_whole("seed", seed, 0, "it numbers the run's randomness; use 0")
        self.max_train_images = max_train_images
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.flip = flip
        self.num_workers = num_workers
        self.seed = seed
        self.loaded: dict[str, ImageDataset] = {}

    @abstractmethod
    def load(self, split: str) -> ImageDataset:
        """The "train" or "test" split."""

    def images(self, split: str) -> ImageDataset:
        """The "train" or "test" split, loaded once."""
        if split not in self.loaded:
            self.loaded[split] = self.load(split)
        return self.loaded[split]

    def in_order(
        self,
        split: str,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world_size: int = 1,
        first: int | None = None,
    ) -> Iterator[Examples]:
        """Every image of a split once (or the first so many), in order, not mirrored, on the device; of several
        processes, each has every world_size-th."""
        images = self.images(split)
        n = len(images) if first is None else min(first, len(images))
        for batch in self._loader(images, OnePass(n, self.eval_batch_size, Share(rank, world_size))):
            yield self.on_after_batch_transfer(Batch(*(part.to(device) for part in batch)), 0)

    @property
    def train_images(self) -> int:
        """How many images it trains on."""
        n = len(self.images("train"))
        return n if self.max_train_images is None else min(self.max_train_images, n)

    def setup(self, stage: str) -> None:
        """Loads what the stage needs, once; so it can be called before a trainer is there, to fail early."""
        if stage == "fit":
            self._check_batch_size(self.train_images)
        if stage == "test":
            self.images("test")

    def _check_batch_size(self, n: int) -> None:
        world_size, turns = self._share().world_size, self._turns()
        if self.batch_size > n:
            raise UserError(f"data.batch_size={self.batch_size} exceeds the {n} training images; choose at most {n}")
        if self.batch_size % (world_size * turns):
            raise UserError(
                f"data.batch_size={self.batch_size} does not divide among {world_size} processes × "
                f"{turns} accumulated batches (it counts the images of them all, which make one step); choose a "
                f"multiple of {world_size * turns}"
            )

    def state_dict(self) -> dict[str, Any]:
        """How many images it trains on, for their order is drawn by that."""
        return {"num_images": self.train_images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = state_dict.get("num_images"), self.train_images
        if before != now:
            raise UserError(
                f"the run began with {before} training images, and now there are {now}: their order is drawn by their "
                "number, so it would see some again and others never; give it the same data, or begin anew in another "
                "hydra.run.dir="
            )

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        train = self.images("train")
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]
        stream = TrainingStream(
            self.train_images, self.batch_size, self.flip, self.seed, self._share(), done, self._turns()
        )
        return self._loader(train, stream)

    def test_dataloader(self) -> DataLoader[Batch]:
        test = self.images("test")
        return self._loader(test, OnePass(len(test), self.eval_batch_size, self._share()))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Examples:
        """Mirrors and scales, on the device."""
        mirrored = torch.where(batch.flip[:, None, None, None], batch.images.flip(-1), batch.images)
        return Examples(self.pixels.encode(mirrored), batch.indices)

    def _share(self) -> Share:
        return Share() if self.trainer is None else Share(self.trainer.global_rank, self.trainer.world_size)

    def _turns(self) -> int:
        return 1 if self.trainer is None else self.trainer.accumulate_grad_batches

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
