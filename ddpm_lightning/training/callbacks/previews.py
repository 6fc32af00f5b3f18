"""Pictures while it trains: a grid of samples and a strip of x̂_0 along t, from averaged weights and fixed noise."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image

from ddpm_lightning.configuration.build import data_of
from ddpm_lightning.diffusion.samplers import DDIMSampler, Sampler, Step, end_of
from ddpm_lightning.errors import check_at_most, check_whole
from ddpm_lightning.runtime.phases import PHASES
from ddpm_lightning.runtime.pictures import check_drawable, picture, save
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.training.callbacks.ema import averaged
from ddpm_lightning.training.callbacks.periodic import Periodic
from ddpm_lightning.training.generate import walk
from ddpm_lightning.training.loggers.all_loggers import log_picture
from ddpm_lightning.training.loggers.media import media_of
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.typing import Images, Pixels

PerImage = tuple[np.ndarray, np.ndarray]
"""Brightness and contrast of each of some images."""


class Preview(Periodic):
    """Draws a picture every so many optimizer steps, with DDIM on a few of the steps, and at the end with the module's
    own sampler. The noise has its own seed, so training is not disturbed and pictures of different steps compare.
    """

    name: str

    def __init__(self, num_images: int, every_n_steps: int = 1000, num_steps: int = 50, seed: int = 0) -> None:
        check_whole(f"callbacks.{self.name}.num_images", num_images, 1, "give a number of images")
        check_at_most(f"callbacks.{self.name}.num_images", num_images, 4096, "no eye takes in more; use 64")
        check_whole(f"callbacks.{self.name}.num_steps", num_steps, 1, "give a number of DDIM steps")
        super().__init__(f"callbacks.{self.name}", every_n_steps)
        self.num_images = num_images
        self.num_steps = num_steps
        self.seed = seed

    def on_fit_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        advice = "train without pictures: callbacks.grid=null callbacks.strip=null"
        check_drawable(image_shape(trainer)[0], advice)

    @abstractmethod
    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, called: str) -> dict[str, Image.Image]:
        """Pictures of the model as it now is, by name. called: what the names of numbers end in."""

    def walk(self, trainer: L.Trainer, module: DDPM, sampler: Sampler) -> Iterator[Step]:
        """The steps of the chain for the fixed noise, with a bar, for there may be many."""
        steps = walk(module.model, sampler, image_shape(trainer), self.num_images, seed=self.seed)
        length = sampler.chain(module.model).process.T
        return iter(progress_bar(iterable=steps, total=length, desc=f"Drawing {self.name}", unit="step", leave=False))

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        # Not on_train_end: a run that was stopped here has no step left to train, and still wants its pictures.
        with PHASES.timed(self.phase):
            self._show(trainer, module, module.sampler, called="_final")

    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        self._show(trainer, module, DDIMSampler(num_steps=self.num_steps).at_most_all(module.model))

    def _show(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, called: str = "") -> None:
        if not trainer.is_global_zero:
            return
        with averaged(trainer, module):
            drawn = self.draw(trainer, module, sampler, called)
        for name, image in drawn.items():
            file = f"{name}{called or f'_{trainer.global_step:07d}'}.png"
            save(image, Path(trainer.default_root_dir) / "samples" / file)
            log_picture(trainer, f"samples/{name}{called}", image)


class SampleGrid(Preview):
    """num_images samples of the same noise each time, as one grid; and their brightness and contrast against those of
    as many training images, where a shift of all colours shows before an eye sees it."""

    name = "grid"
    of_data: PerImage | None = None

    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, called: str) -> dict[str, Image.Image]:
        samples = to_bytes(trainer, end_of(self.walk(trainer, module, sampler)))
        self.of_data = self.of_data or brightness_and_contrast(self._real(trainer))  # the images are always the same
        compare_pixels(trainer, brightness_and_contrast(samples), self.of_data, called)
        return {self.name: picture(samples)}

    def _real(self, trainer: L.Trainer) -> Pixels:
        batches = data_of(trainer).in_order("train", first=self.num_images)
        return torch.cat([to_bytes(trainer, batch.x_0) for batch in batches])


class DenoisingStrip(Preview):
    """The way from noise on the left to the sample on the right, a row an image: as "strip" x̂_0 along t (Eq. 15; the
    paper's Fig. 6), as "chain" x_t itself."""

    name = "strip"

    def __init__(self, num_images: int = 8, num_columns: int = 10, **options: Any) -> None:
        super().__init__(num_images, **options)
        check_whole("callbacks.strip.num_columns", num_columns, 2, "a strip has a start and an end")
        self.num_columns = num_columns

    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, called: str) -> dict[str, Image.Image]:
        last = sampler.chain(module.model).process.T - 1
        shown = torch.linspace(0, last, min(self.num_columns, last + 1)).round().long().tolist()
        steps = [step for i, step in enumerate(self.walk(trainer, module, sampler)) if i in shown]
        return {
            self.name: in_columns(trainer, [step.x_0_hat for step in steps]),
            "chain": in_columns(trainer, [step.x for step in steps]),
        }


def in_columns(trainer: L.Trainer, moments: list[Images]) -> Image.Image:
    """A column a moment, a row an image."""
    rows = torch.stack(moments, dim=1)
    return picture(to_bytes(trainer, rows.flatten(0, 1)), columns=len(moments))


def compare_pixels(trainer: L.Trainer, ours: PerImage, theirs: PerImage, called: str) -> None:
    """Logs how much brighter (train-set mean taken off) and richer in contrast the samples are, of 0..255, and to W&B
    the histograms of both by image. called: what the names end in."""
    for name, our, their in zip(("brightness", "contrast"), ours, theirs, strict=True):
        shift = float(our.mean() - their.mean())
        for logger in trainer.loggers:
            logger.log_metrics({f"samples/{name}_shift{called}": shift}, step=trainer.global_step)
            histograms = {f"samples/{name}{called}": our.tolist(), f"data/{name}": their.tolist()}
            media_of(logger).show_histograms(histograms, trainer.global_step)


def brightness_and_contrast(images: Pixels) -> PerImage:
    """Mean and standard deviation of each image's pixels."""
    flat = images.cpu().float().flatten(1)
    return flat.mean(1).numpy(), flat.std(1).numpy()


def image_shape(trainer: L.Trainer) -> tuple[int, ...]:
    """(c, h, w) of the trainer's data."""
    data = data_of(trainer)
    return (data.channels, *data.size)


def to_bytes(trainer: L.Trainer, x: torch.Tensor) -> torch.Tensor:
    """From the model's scale to 0..255, as the trainer's data are."""
    return data_of(trainer).pixels.to_bytes(x)
