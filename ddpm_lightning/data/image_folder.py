"""Any folder of images, resized and cropped to one size as they are read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ddpm_lightning.data.base import ImageDataModule
from ddpm_lightning.data.batches import Batch, ImageDataset, Plan
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.image_files import LARGEST, find_images, open_image

MODES = {1: "L", 3: "RGB"}


class ImageFolderDataModule(ImageDataModule):
    """root: the folder, searched with all below it. With subfolders train/ and test/, these are the splits; otherwise
    every tenth image, in order of path, is of the test split.

    side: the images' height and width; the shorter side is resized to it and the middle cut out.
    channels: 3 for colour, 1 for grey.
    """

    def __init__(self, *, root: str, side: int = 256, channels: int = 3, **options: Any) -> None:
        super().__init__(**options)
        if channels not in MODES:
            raise UserError(f"data.channels={channels} is neither 3 (colour) nor 1 (grey); choose one of them")
        check_whole("data.side", side, 1, "an image has at least one pixel; the paper uses 256")
        check_at_most("data.side", side, 4096, "a batch of such images would fill the memory; the paper uses 256")
        self.root = Path(root)
        self.channels = channels
        self.size = (side, side)

    def load(self, split: str) -> ImageDataset:
        if (self.root / "train").is_dir() and (self.root / "test").is_dir():
            paths = find_images(self.root / split, "data.root=")
        else:
            everything = find_images(self.root, "data.root=")
            if len(everything) < 10:
                raise UserError(
                    f"{self.root.resolve()} holds {len(everything)} images, of which every tenth would test, so none; "
                    "give at least 10, or subfolders train/ and test/"
                )
            test = everything[9::10]
            paths = test if split == "test" else sorted(set(everything) - set(test))
        return ImageFiles(tuple(paths), self.size[0], self.channels)


@dataclass(frozen=True)
class ImageFiles(Dataset[Batch]):
    """Image files, read a batch at a time."""

    paths: tuple[Path, ...]
    side: int
    channels: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, plan: Plan) -> Batch:
        images = [read_image(self.paths[i], self.side, self.channels) for i in plan.indices.tolist()]
        return Batch(torch.stack(images), plan.flip, plan.indices)

    def fingerprint(self) -> str:
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        return hashlib.sha256(repr((files, self.side, self.channels)).encode()).hexdigest()


def read_image(path: Path, side: int, channels: int) -> torch.Tensor:
    """The image, its shorter side resized (Lanczos) to `side`, its middle cut out: [channels, side, side]."""
    square = open_image(path, lambda _: MODES[channels])
    scale = side / min(square.size)
    if max(square.size) * scale * side > LARGEST:
        raise UserError(f"{path} is of {square.width}×{square.height} pixels, too long for a square; crop it first")
    w, h = (max(side, round(length * scale)) for length in square.size)
    left, top = (w - side) // 2, (h - side) // 2
    square = square.resize((w, h), Image.Resampling.LANCZOS).crop((left, top, left + side, top + side))
    return torch.from_numpy(np.array(square)).reshape(side, side, channels).permute(2, 0, 1).contiguous()
