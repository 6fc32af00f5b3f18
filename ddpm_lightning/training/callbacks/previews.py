"""Draws pictures while the model trains: a grid of samples, and strips of x̂_0 and x_t along t."""

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
from ddpm_lightning.training.labelling import Labelling, in_turn
from ddpm_lightning.training.loggers.all_loggers import log_picture
from ddpm_lightning.training.loggers.media import media_of
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.typing import Images, Pixels

PixelStatistics = tuple[np.ndarray, np.ndarray]
"""The brightness and the contrast of each image, [n] each: mean and standard deviation of its pixels, in 0..255."""


class Preview(Periodic):
    """Base class of callbacks that draw generated images every `every_n_steps` optimizer steps.

    During training, DDIM generates the images in a few steps. At the end, the module's own sampler does. The model runs
    on averaged weights, if there are any. All pictures start from the same noise, so that they compare.

    Args:
        num_images: number of images, from 1 to 4096.
        every_n_steps: optimizer steps between two pictures, at least 1.
        num_steps: DDIM steps of each picture during training, at least 1.
        seed: seed of the noise, which is independent of training.

    Raises:
        UserError: if a number is out of bounds.

    Example:
        >>> class LastImages(Preview):
        ...     name = "last"
        ...
        ...     def draw(
        ...         self, trainer: L.Trainer, module: DDPM, sampler: Sampler, ending: str
        ...     ) -> dict[str, Image.Image]:
        ...         x_0 = end_of(self.walk(trainer, module, sampler))
        ...         return {self.name: picture(to_bytes(trainer, x_0))}
        >>> LastImages(num_images=16).every_n_steps
        1000
    """

    name: str
    """Key of the callback in the configuration, under `callbacks`."""

    def __init__(self, num_images: int, every_n_steps: int = 1000, num_steps: int = 50, seed: int = 0) -> None:
        check_whole(f"callbacks.{self.name}.num_images", num_images, 1, "give a number of images")
        check_at_most(f"callbacks.{self.name}.num_images", num_images, 4096, "a picture shows no more; use 64")
        check_whole(f"callbacks.{self.name}.num_steps", num_steps, 1, "give a number of DDIM steps")
        super().__init__(f"callbacks.{self.name}", every_n_steps)
        self.num_images = num_images
        self.num_steps = num_steps
        self.seed = seed

    def on_fit_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        advice = "train without pictures: callbacks.grid=null callbacks.strip=null"
        check_drawable(image_shape(trainer)[0], advice)

    @abstractmethod
    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, ending: str) -> dict[str, Image.Image]:
        """Returns pictures of the model with its current weights, by name.

        Args:
            trainer: the trainer, with its data.
            module: the module that is trained.
            sampler: generates the images.
            ending: the suffix of the names of logged numbers: "" during training, "_final" at the end.
        """

    def walk(self, trainer: L.Trainer, module: DDPM, sampler: Sampler) -> Iterator[Step]:
        """Yields the sampler's steps from the fixed noise to images, with a progress bar."""
        model = module.model.given(self.labels(module).of(range(self.num_images)))
        steps = walk(model, sampler, image_shape(trainer), self.num_images, seed=self.seed)
        length = sampler.chain(module.model).process.T
        return iter(progress_bar(iterable=steps, total=length, desc=f"Drawing {self.name}", unit="step", leave=False))

    def labels(self, module: DDPM) -> Labelling:
        """Returns the classes of the images: all in turn, or none if the model is not conditioned on them."""
        return in_turn(None, module.model.conditioning)

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        # Not on_train_end: Lightning skips it when a resumed run has no step left to train.
        with PHASES.timed(self.phase):
            self._show(trainer, module, module.sampler, ending="_final")

    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        self._show(trainer, module, DDIMSampler(num_steps=self.num_steps).at_most_all(module.model))

    def _show(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, ending: str = "") -> None:
        if not trainer.is_global_zero:
            return
        with averaged(trainer, module):
            drawn = self.draw(trainer, module, sampler, ending)
        for name, image in drawn.items():
            file = f"{name}{ending or f'_{trainer.global_step:07d}'}.png"
            save(image, Path(trainer.default_root_dir) / "samples" / file)
            log_picture(trainer, f"samples/{name}{ending}", image)


class SampleGrid(Preview):
    """Draws samples as one grid, and logs how their brightness and contrast differ from those of training images.

    The arguments are those of `Preview`. The difference shows a shift of all colours before it is visible. If the model
    is conditioned on classes, the grid has a row for each class, and at the end of training the loggers that show
    tables get one with the samples of each class.
    """

    name = "grid"
    of_data: PixelStatistics | None = None

    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, ending: str) -> dict[str, Image.Image]:
        samples = to_bytes(trainer, end_of(self.walk(trainer, module, sampler)))
        self.of_data = self.of_data or brightness_and_contrast(self._real(trainer))  # always of the same images
        compare_pixels(trainer, brightness_and_contrast(samples), self.of_data, ending)
        rows = self.labels(module).period
        if rows is not None and ending:
            self._show_by_class(trainer, module, samples)
        return {self.name: picture(samples, rows=rows)}

    def _show_by_class(self, trainer: L.Trainer, module: DDPM, samples: Pixels) -> None:
        names = module.model.conditioning.class_names
        by_class = [samples[k :: len(names)] for k in range(min(len(names), len(samples)))]
        rows = [[names[k], picture(of_one, columns=len(of_one))] for k, of_one in enumerate(by_class)]
        for logger in trainer.loggers:
            media_of(logger).show_table("samples/by_class", ["class", "samples"], rows)

    def _real(self, trainer: L.Trainer) -> Pixels:
        batches = data_of(trainer).in_order("train", first=self.num_images)
        return torch.cat([to_bytes(trainer, batch.x_0) for batch in batches])


class DenoisingStrip(Preview):
    """Draws the chain from noise on the left to the sample on the right, one image per row.

    The picture "strip" shows x̂_0 along t (Eq. 15, the paper's Fig. 6), and "chain" shows x_t.

    Args:
        num_images: number of rows, from 1 to 4096.
        num_columns: number of moments of the chain, at least 2.
        options: further arguments of `Preview`.
    """

    name = "strip"

    def __init__(self, num_images: int = 8, num_columns: int = 10, **options: Any) -> None:
        super().__init__(num_images, **options)
        check_whole("callbacks.strip.num_columns", num_columns, 2, "a strip has a start and an end")
        self.num_columns = num_columns

    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, ending: str) -> dict[str, Image.Image]:
        last = sampler.chain(module.model).process.T - 1
        columns = torch.linspace(0, last, min(self.num_columns, last + 1)).round().long().tolist()
        steps = [step for i, step in enumerate(self.walk(trainer, module, sampler)) if i in columns]
        return {
            self.name: in_columns(trainer, [step.x_0_hat for step in steps]),
            "chain": in_columns(trainer, [step.x for step in steps]),
        }


def in_columns(trainer: L.Trainer, moments: list[Images]) -> Image.Image:
    """Returns a picture with one column per moment and one row per image.

    Args:
        trainer: the trainer, whose data define the pixels.
        moments: the n images at each moment, in [−1, 1], [n, c, h, w] each.
    """
    rows = torch.stack(moments, dim=1)
    return picture(to_bytes(trainer, rows.flatten(0, 1)), columns=len(moments))


def compare_pixels(trainer: L.Trainer, ours: PixelStatistics, theirs: PixelStatistics, ending: str) -> None:
    """Logs the difference in mean brightness and contrast, and shows histograms of both over images.

    Args:
        trainer: logs at its current optimizer step.
        ours: statistics of generated images.
        theirs: statistics of training images.
        ending: the suffix of the names of the logged numbers.
    """
    for name, our, their in zip(("brightness", "contrast"), ours, theirs, strict=True):
        shift = float(our.mean() - their.mean())
        for logger in trainer.loggers:
            logger.log_metrics({f"samples/{name}_shift{ending}": shift}, step=trainer.global_step)
            histograms = {f"samples/{name}{ending}": our.tolist(), f"data/{name}": their.tolist()}
            media_of(logger).show_histograms(histograms, trainer.global_step)


def brightness_and_contrast(images: Pixels) -> PixelStatistics:
    """Returns the mean and the standard deviation of each image over all its pixels and channels, [n] each."""
    flat = images.cpu().float().flatten(1)
    return flat.mean(1).numpy(), flat.std(1).numpy()


def image_shape(trainer: L.Trainer) -> tuple[int, ...]:
    """Returns the shape (c, h, w) of the trainer's images."""
    data = data_of(trainer)
    return (data.channels, *data.size)


def to_bytes(trainer: L.Trainer, x: torch.Tensor) -> torch.Tensor:
    """Converts images in [−1, 1] to pixels in 0..255, as the trainer's data define it: [n, c, h, w]."""
    return data_of(trainer).pixels.to_bytes(x)
