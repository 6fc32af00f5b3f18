"""Pictures, histograms, tables and files for loggers: one interface, whatever the logger can show."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL import Image


class MediaLogger:
    """Shows or stores what a logger takes besides numbers: pictures, histograms, tables, pages and files.

    A subclass overrides the methods that its logger supports. The others do nothing.

    Example:
        >>> from lightning.pytorch.loggers.logger import DummyLogger
        >>> class PicturesInMemory(DummyLogger, MediaLogger):
        ...     pictures: dict[str, Image.Image] = {}
        ...
        ...     def show_picture(self, name: str, image: Image.Image, step: int) -> None:
        ...         self.pictures[name] = image
        >>> media_of(PicturesInMemory()).show_picture("samples/grid", Image.new("L", (32, 32)), step=100)
        >>> list(PicturesInMemory.pictures)
        ['samples/grid']
    """

    def show_picture(self, name: str, image: Image.Image, step: int) -> None:
        """Shows a picture at an optimizer step."""

    def show_histograms(self, histograms: Mapping[str, Sequence[float]], step: int) -> None:
        """Shows the distribution of values, by name, at an optimizer step."""

    def show_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Shows a table."""

    def show_page(self, name: str, html: str) -> None:
        """Shows a page of HTML."""

    def keep_files(self, kind: str, paths: Sequence[Path]) -> None:
        """Stores those of the files that exist, as one set of this kind."""

    def keep_checkpoint(self, path: Path) -> None:
        """Stores a checkpoint, if the user has asked the logger for that."""


class TensorBoardMedia(MediaLogger):
    """Shows pictures in Lightning's TensorBoardLogger."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.logger = logger

    def show_picture(self, name: str, image: Image.Image, step: int) -> None:
        self.logger.experiment.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")


class WandbMedia(MediaLogger):
    """Shows pictures in Lightning's WandbLogger."""

    def __init__(self, logger: WandbLogger) -> None:
        self.logger = logger

    def show_picture(self, name: str, image: Image.Image, step: int) -> None:
        self.logger.log_image(name, [image], step=step)


def media_of(logger: Logger) -> MediaLogger:
    """Returns what shows pictures and files for a logger: the logger itself, or an adapter around Lightning's own."""
    if isinstance(logger, MediaLogger):
        return logger
    if isinstance(logger, TensorBoardLogger):
        return TensorBoardMedia(logger)
    return WandbMedia(logger) if isinstance(logger, WandbLogger) else MediaLogger()
