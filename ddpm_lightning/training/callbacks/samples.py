"""Pictures while it trains: a grid of samples and a strip of x̂_0 along t, from averaged weights and fixed noise."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from tqdm import tqdm

from ddpm_lightning.diffusion.samplers import DDIMSampler, Sampler, Step, end_of
from ddpm_lightning.errors import check_at_most, check_whole
from ddpm_lightning.training.callbacks.ema import averaged
from ddpm_lightning.training.callbacks.recurrent import Recurrent
from ddpm_lightning.training.generate import walk
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.pictures import check_drawable, picture, save


class Preview(Recurrent):
    """Draws a picture every so many optimizer steps, with DDIM on a few of the steps, and at the end with the module's
    own sampler. The noise has its own seed, so training is not disturbed and pictures of different steps compare.
    """

    name: str

    def __init__(self, num_images: int, every_n_steps: int = 1000, num_steps: int = 50, seed: int = 0) -> None:
        check_whole(f"callbacks.{self.name}.num_images", num_images, 1, "give a number of images")
        check_at_most(f"callbacks.{self.name}.num_images", num_images, 4096, "no eye takes in more; use 64")
        check_whole(f"callbacks.{self.name}.num_steps", num_steps, 2, "give a number of DDIM steps")
        super().__init__(f"callbacks.{self.name}", every_n_steps)
        self.num_images = num_images
        self.num_steps = num_steps
        self.seed = seed

    def on_fit_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        check_drawable(image_shape(trainer)[0])

    @abstractmethod
    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler) -> Image.Image:
        """The picture of the model as it now is."""

    def walk(self, trainer: L.Trainer, module: DDPM, sampler: Sampler) -> Iterator[Step]:
        """The steps of the chain for the fixed noise, with a bar, for there may be many."""
        steps = walk(module.model, sampler, image_shape(trainer), self.num_images, seed=self.seed)
        length = sampler.chain(module.model).process.T
        return iter(tqdm(steps, total=length, desc=f"Drawing {self.name}", unit="step", leave=False))

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        # Not on_train_end: a run that was stopped here has no step left to train, and still wants its pictures.
        self._show(trainer, module, module.sampler, "final")

    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        fewer = self.num_steps < module.model.process.T
        sampler = DDIMSampler(num_steps=self.num_steps if fewer else None)
        self._show(trainer, module, sampler, f"{trainer.global_step:07d}")

    def _show(self, trainer: L.Trainer, module: DDPM, sampler: Sampler, when: str) -> None:
        if not trainer.is_global_zero:
            return
        with averaged(trainer, module):
            image = self.draw(trainer, module, sampler)
        save(image, Path(trainer.default_root_dir) / "samples" / f"{self.name}_{when}.png")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(f"samples/{self.name}", [image], step=trainer.global_step)


class SampleGrid(Preview):
    """num_images samples of the same noise each time, as one grid."""

    name = "grid"

    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler) -> Image.Image:
        return picture(to_bytes(trainer, end_of(self.walk(trainer, module, sampler))))


class DenoisingStrip(Preview):
    """x̂_0 along t (Eq. 15; the paper's Fig. 6): a row an image, noise on the left, the sample on the right."""

    name = "strip"

    def __init__(self, num_images: int = 8, num_columns: int = 10, **options: Any) -> None:
        super().__init__(num_images, **options)
        check_whole("callbacks.strip.num_columns", num_columns, 2, "a strip has a start and an end")
        self.num_columns = num_columns

    def draw(self, trainer: L.Trainer, module: DDPM, sampler: Sampler) -> Image.Image:
        last = sampler.chain(module.model).process.T - 1
        shown = torch.linspace(0, last, min(self.num_columns, last + 1)).round().long().tolist()
        steps = enumerate(self.walk(trainer, module, sampler))
        rows = torch.stack([step.x_0_hat for i, step in steps if i in shown], dim=1)
        return picture(to_bytes(trainer, rows.flatten(0, 1)), columns=len(shown))


def image_shape(trainer: L.Trainer) -> tuple[int, ...]:
    """(c, h, w) of the trainer's data."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return (data.channels, *data.size)


def to_bytes(trainer: L.Trainer, x: torch.Tensor) -> torch.Tensor:
    """From the model's scale to 0..255, as the trainer's data are."""
    return trainer.datamodule.pixels.to_bytes(x)  # type: ignore[attr-defined,no-any-return]
