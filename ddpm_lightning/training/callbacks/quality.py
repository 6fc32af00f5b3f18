"""Measures the quality of generated images while the model trains, as a Fréchet distance to the training images."""

import math
from typing import Any

import lightning as L
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from ddpm_lightning.configuration.build import data_of, real_images
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.errors import Diverged, UserError, check_at_most, check_whole, counted
from ddpm_lightning.metrics.extractor import Extractor
from ddpm_lightning.runtime.results import add_up, metric_name
from ddpm_lightning.training.callbacks.periodic import PeriodicMeasurement
from ddpm_lightning.training.generate import make_images
from ddpm_lightning.training.labelling import default_labelling
from ddpm_lightning.training.module import DDPM


class SampleQuality(PeriodicMeasurement):
    """Logs the Fréchet distance of generated images every `every_n_steps` optimizer steps and at the end of training.

    All processes together generate `num_images` images, always from the same noise.

    Args:
        name: name of the distance with this extractor, such as "fid" or "fd_digits".
        extractor: computes the features that are compared.
        sampler: generates the images. The result's name contains its label. It uses all steps of a shorter chain.
        num_images: number of images, more than the extractor has features.
        every_n_steps: optimizer steps between two measurements, at least 1.
        batch_size: images that a process generates at once, at least 1.
        raw: whether to measure the raw weights in addition to the averaged ones.
        seed: seed of the images' noise.

    Raises:
        UserError: if a number is out of bounds, or the training images are too few for the extractor.
    """

    def __init__(
        self,
        name: str,
        extractor: Extractor,
        sampler: Sampler,
        num_images: int,
        every_n_steps: int,
        batch_size: int = 256,
        raw: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__("callbacks.quality", every_n_steps, raw)
        check_whole("callbacks.quality.batch_size", batch_size, 1, "give a number of images to generate at once")
        check_whole(
            "callbacks.quality.num_images",
            num_images,
            extractor.num_features + 1,
            f"with no more images than the extractor's {extractor.num_features} features the covariance is singular",
        )
        check_at_most("callbacks.quality.num_images", num_images, 1_000_000, "the paper has 50000")
        self.name, self.extractor, self.sampler = name, extractor, sampler
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        # Like torch-fidelity, our Inception resizes without antialiasing.
        self.distance = FrechetInceptionDistance(extractor, reset_real_features=False, antialias=False)

    def on_fit_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        data = data_of(trainer)
        n = len(data.images("train"))
        if n <= self.extractor.num_features:
            raise UserError(
                f"{counted(n, 'training image does', 'training images do')} not exceed {self.extractor.name}'s "
                f"{self.extractor.num_features} features, so no Fréchet distance to them exists; use quality=none"
            )
        self.sampler = self.sampler.at_most_all(module.model)
        self.sampler.chain(module.model)  # raises UserError if the model has no such chain
        self.extractor.extract(
            torch.zeros(1, data.channels, *data.size, dtype=torch.uint8)
        )  # raises if it takes no such images

    @torch.no_grad()
    def measure(self, trainer: L.Trainer, module: DDPM, suffix: str) -> None:
        self.distance.to(module.device)
        self._see_real_images(trainer, module)
        is_finite = self._see_generated_images(trainer, module)
        value = float(self.distance.compute()) if is_finite else math.nan
        self.distance.reset()
        record = {**self._record(value, trainer, module), "weights": "raw" if suffix else "ema"}
        self.log_and_keep(trainer, {self.result_name(module.model, suffix): record})

    def result_name(self, model: DenoisingDiffusion, suffix: str) -> str:
        """Returns the name of the distance, such as fid_5k_train_ddim50, and the suffix, "_raw" for raw weights."""
        how = f"{self.extractor.suffix}_{self.sampler.at_most_all(model).label(model)}{suffix}"
        return metric_name(self.name, self.num_images, "train", how)

    def _see_real_images(self, trainer: L.Trainer, module: DDPM) -> None:
        if self.distance.real_features_num_samples > 0:
            return
        share = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        for images in real_images(data_of(trainer), "train", module.device, **share):
            self.distance.update(images, real=True)

    def _see_generated_images(self, trainer: L.Trainer, module: DDPM) -> bool:
        """Generates this process's share. Returns whether all images of all processes are finite."""
        failed, conditioning = torch.zeros(()), module.model.conditioning
        labels = default_labelling(data_of(trainer), conditioning, self.seed)
        for first in range(0, self.num_images, self.batch_size)[trainer.global_rank :: trainer.world_size]:
            numbers = range(first, min(first + self.batch_size, self.num_images))
            try:
                model = module.model.given(labels.of(numbers))
                images = make_images(model, self.sampler, data_of(trainer), numbers, seed=self.seed)
            except Diverged:
                failed += 1
                break
            self.distance.update(images, real=False)
        return float(add_up(trainer, failed)) == 0

    def _record(self, value: float, trainer: L.Trainer, module: DDPM) -> dict[str, Any]:
        return {
            "value": value,
            "num_images": self.num_images,
            "reference": "train split, not mirrored",
            **self.extractor.origin,
            "sampler": repr(self.sampler),
            "sampler_steps": self.sampler.chain(module.model).process.T,
            "image_seed": self.seed,
            "variance": module.model.variance.name,
            "step": trainer.global_step,
        }
