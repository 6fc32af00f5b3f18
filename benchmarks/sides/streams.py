"""Shuffled batches of images from disk, uint8 [b, 3, side, side]: ours, torchvision's and WebDataset's."""

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.sides.ours import idle_trainer
from benchmarks.sides.torchvision_data import endless
from ddpm_lightning.data.shards import ShardsDataModule
from ddpm_lightning.errors import UserError

Batches = Iterator[torch.Tensor]


def our_shards(folder: Path, side: int, batch_size: int, workers: int) -> Batches:
    """Yields batches of our shards as train.py reads them, without the flips, which happen on the device."""
    data = ShardsDataModule(root=str(folder), side=side, batch_size=batch_size, num_workers=workers)
    data.trainer = idle_trainer()
    return (batch.images for batch in data.train_dataloader())


def image_folder(folder: Path, side: int, batch_size: int, workers: int) -> Batches:
    """Yields batches of torchvision's ImageFolder, which opens, resizes and crops each image in each pass."""
    resize = transforms.Resize(side, Image.Resampling.LANCZOS)
    images = ImageFolder(
        str(folder), transforms.Compose([resize, transforms.CenterCrop(side), transforms.PILToTensor()])
    )
    loader = DataLoader(images, batch_size, shuffle=True, drop_last=True, num_workers=workers)
    return (batch[0] for batch in endless(loader))


def webdataset_stream(folder: Path, buffer: int, batch_size: int, workers: int) -> Batches:
    """Yields one pass of WebDataset over the training shards, which shuffles shards, and images in a buffer."""
    try:
        import webdataset
    except ImportError as error:
        raise UserError("WebDataset is not installed; pip install 'ddpm-lightning[bench]'") from error
    tars = sorted(str(path) for path in folder.glob("train-*.tar"))
    images = webdataset.WebDataset(tars, shardshuffle=len(tars), empty_check=False).shuffle(buffer).decode("torchrgb8")
    batches = images.map(_pixels).batched(batch_size, collation_fn=torch.stack, partial=False)
    return iter(DataLoader(batches, batch_size=None, num_workers=workers))


def webdataset_endless(folder: Path, buffer: int, batch_size: int, workers: int) -> Batches:
    """Yields passes of WebDataset without end."""
    while True:
        yield from webdataset_stream(folder, buffer, batch_size, workers)


def _pixels(sample: dict[str, torch.Tensor]) -> torch.Tensor:
    return next(value for value in sample.values() if isinstance(value, torch.Tensor))
