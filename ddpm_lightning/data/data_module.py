"""The base class of all data sets of images."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from ddpm_lightning.data.batches import (
    AnyBatch,
    ImageDataset,
    LabelledImages,
    OnePass,
    Share,
    TrainingStream,
)
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.errors import UserError, check_boolean, check_whole, counted
from ddpm_lightning.typing import AnyExamples, Labels


class ImageDataModule(L.LightningDataModule):
    """A data set of images, which hands batches in [−1, 1] to the model.

    Integers travel to the device, and are mirrored and scaled there.

    Args:
        batch_size: the images of an optimizer step, all processes and accumulated batches together.
        eval_batch_size: the images of a test batch of each process.
        flip: whether to mirror half of the training images at random.
        num_workers: processes that read ahead, in 0..256; 0 reads in the main process.
        max_train_images: how many images to train on, the first of the split; None takes all.
        seed: the seed of order and flips.

    Attributes:
        channels: the channels of an image.
        size: its height and width.
        pixels: the number of levels of a pixel. All three are known before anything is read.
        class_names: the names of the classes of the images, in their order; empty if the data have no labels.
        yields_classes: whether batches hold the classes of their images; a model that is conditioned on them sets it.

    Raises:
        UserError: an argument is out of its range.

    Example:
        >>> from ddpm_lightning.data.batches import InMemoryImages
        >>> class Stripes(ImageDataModule):
        ...     channels, size, pixels = 1, (8, 8), PixelRange(2)
        ...
        ...     def load(self, split):
        ...         stripes = torch.arange(8).reshape(8, 1, 1, 1) == torch.arange(8)
        ...         return InMemoryImages(stripes.expand(8, 1, 8, 8).to(torch.uint8))
        >>> next(Stripes().in_order("train")).x_0.shape
        torch.Size([8, 1, 8, 8])
    """

    channels: int
    size: tuple[int, int]
    pixels: PixelRange = PixelRange(256)
    class_names: Sequence[str] = ()
    yields_classes: bool = False

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
        check_whole("data.num_workers", num_workers, 0, "each is a process, and 0 reads in the main one; use 4", 256)
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
        self.labelled: dict[str, LabelledImages] = {}

    @abstractmethod
    def load(self, split: str) -> ImageDataset:
        """Loads the "train" or "test" split."""

    def images(self, split: str) -> ImageDataset:
        """Returns the "train" or "test" split, which is loaded once."""
        if split not in self.loaded:
            self.loaded[split] = self.load(split)
        return self.loaded[split]

    def labels(self, split: str) -> Labels:
        """Returns the class of each image of a split, in 0..K−1 for K class names: [n].

        Raises:
            UserError: the data have no labels.
        """
        raise UserError(f"{type(self).__name__} has no labels; choose data= with labels, such as digits")

    def train_labels(self) -> Labels:
        """Returns the class of each image to train on: [n]."""
        return self.labels("train")[: self.train_images]

    def _source(self, split: str) -> ImageDataset | LabelledImages:
        """Returns the images of a split, with their classes if these were asked for."""
        if not self.yields_classes:
            return self.images(split)
        if split not in self.labelled:
            self.labelled[split] = LabelledImages(self.images(split), self.labels(split))
        return self.labelled[split]

    def in_order(
        self,
        split: str,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world_size: int = 1,
        first: int | None = None,
    ) -> Iterator[AnyExamples]:
        """Yields every image of a split once, in order, not mirrored, in batches of eval_batch_size.

        Args:
            split: "train" or "test".
            device: where the batches lie.
            rank, world_size: which process this is, of how many; it gets every world_size-th image.
            first: how many images of the split to visit; None visits all.
        """
        images = self.images(split)
        n = len(images) if first is None else min(first, len(images))
        for batch in self._loader(split, OnePass(n, self.eval_batch_size, Share(rank, world_size))):
            yield self.on_after_batch_transfer(batch.on(device), 0)

    @property
    def train_images(self) -> int:
        """The number of images to train on."""
        n = len(self.images("train"))
        return n if self.max_train_images is None else min(self.max_train_images, n)

    def setup(self, stage: str) -> None:
        """Loads what the stage needs, once. It works without a trainer, too, to fail early.

        Args:
            stage: "fit" or "test".

        Raises:
            UserError: the batch size does not suit the data or the number of processes.
        """
        if stage == "fit":
            self._check_batch_size(self.train_images)
        if stage == "test":
            self.images("test")

    def _check_batch_size(self, n: int) -> None:
        world_size, accumulated = self._share().world_size, self._accumulated()
        if self.batch_size > n:
            images = counted(n, "training image")
            raise UserError(f"data.batch_size={self.batch_size} exceeds the {images}; choose at most {n}")
        if self.batch_size % (world_size * accumulated):
            raise UserError(
                f"data.batch_size={self.batch_size} does not divide among "
                f"{counted(world_size, 'process', 'processes')} × "
                f"{counted(accumulated, 'accumulated batch', 'accumulated batches')} (it counts the images of them "
                f"all, which make one step); choose a multiple of {world_size * accumulated}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns the number of training images, which decides their order."""
        return {"num_images": self.train_images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = state_dict.get("num_images"), self.train_images
        if before != now:
            raise UserError(
                f"the run began with {before} training images, and now there are {now}: their number decides their "
                "order, so it would see some again and others never; give it the same data, or start another run in "
                "another hydra.run.dir="
            )

    def train_dataloader(self) -> DataLoader[AnyBatch]:
        assert self.trainer is not None
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]
        stream = TrainingStream(
            self.train_images, self.batch_size, self.flip, self.seed, self._share(), done, self._accumulated()
        )
        return self._loader("train", stream)

    def test_dataloader(self) -> DataLoader[AnyBatch]:
        test = self.images("test")
        return self._loader("test", OnePass(len(test), self.eval_batch_size, self._share()))

    def on_after_batch_transfer(self, batch: AnyBatch, dataloader_idx: int) -> AnyExamples:
        """Mirrors the chosen images and scales all to [−1, 1], on the device."""
        mirrored = torch.where(batch.flip[:, None, None, None], batch.images.flip(-1), batch.images)
        return batch.examples(self.pixels.encode(mirrored))

    def _share(self) -> Share:
        return Share() if self.trainer is None else Share(self.trainer.global_rank, self.trainer.world_size)

    def _accumulated(self) -> int:
        return 1 if self.trainer is None else self.trainer.accumulate_grad_batches

    def _loader(self, split: str, plans: TrainingStream | OnePass) -> DataLoader[AnyBatch]:
        # Without a generator of its own, every `iter` would draw from the global one.
        return DataLoader(
            self._source(split),  # type: ignore[arg-type]  # gathers by Plan, not by int
            sampler=plans,
            batch_size=None,
            num_workers=self.num_workers,
            generator=torch.Generator(),
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
