"""The usual data pipeline: torchvision's transforms, image by image, in a DataLoader."""

from collections.abc import Iterator

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import VisionDataset


class CIFAR10Shaped(VisionDataset):
    """A data set that reads an image as torchvision's CIFAR10 does: array, PIL image, transform."""

    def __init__(self, pixels: torch.Tensor) -> None:
        transform = [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
        super().__init__("", transform=transforms.Compose(transform))
        self.data = pixels.permute(0, 2, 3, 1).contiguous().numpy()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> torch.Tensor:
        assert self.transform is not None
        image = self.transform(Image.fromarray(self.data[index]))
        assert isinstance(image, torch.Tensor)
        return image


def torchvision_loader(pixels: torch.Tensor, batch_size: int, num_workers: int) -> DataLoader[torch.Tensor]:
    """Returns shuffled batches in [−1, 1]. pixels: [n, 3, h, w] uint8."""
    return DataLoader(
        CIFAR10Shaped(pixels),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def endless(loader: DataLoader[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yields batches of pass after pass without end."""
    while True:
        yield from loader
