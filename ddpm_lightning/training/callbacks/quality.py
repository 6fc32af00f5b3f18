"""How good the images are while it trains: a Fréchet distance to the training images, on averaged weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler, end_of
from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.metrics.extractor import Extractor
from ddpm_lightning.training.build import EvaluationData
from ddpm_lightning.training.callbacks.ema import averaged, keeps_average
from ddpm_lightning.training.callbacks.when import Periodic
from ddpm_lightning.training.generate import walk
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.results import metric_name
from ddpm_lightning.typing import Pixels


class SampleQuality(Periodic):
    """Every so many optimizer steps and at the end, all processes together make num_images images of one seed.

    name: what the distance is called with this extractor: fid, fd_digits … sampler: a cheap one, whose name the result
    bears. raw: also on the weights as the optimizer left them. batch_size: images that a process makes at once.
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
        super().__init__("callbacks.quality", every_n_steps)
        check_whole("callbacks.quality.batch_size", batch_size, 1, "give a number of images to make at once")
        check_whole(
            "callbacks.quality.num_images",
            num_images,
            extractor.num_features + 1,
            f"with no more images than the extractor's {extractor.num_features} features the covariance is singular",
        )
        self.name, self.extractor, self.sampler = name, extractor, sampler
        self.num_images, self.batch_size, self.raw, self.seed = num_images, batch_size, raw, seed
        # Our Inception resizes as torch-fidelity does, which for torchmetrics' own is antialias=False.
        self.distance = FrechetInceptionDistance(extractor, reset_real_features=False, antialias=False)

    def on_fit_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        data = _data(trainer)
        if len(data.images("train")) <= self.extractor.num_features:
            raise UserError(
                f"{len(data.images('train'))} training images do not exceed {self.extractor.name}'s "
                f"{self.extractor.num_features} features, so no Fréchet distance to them exists; use quality=none"
            )
        self.sampler.chain(module.model)  # raises where there is no such chain
        self.extractor.extract(torch.zeros(1, data.channels, *data.size, dtype=torch.uint8))  # and here

    @torch.no_grad()
    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        self.distance.to(module.device)
        self._see_real_images(trainer, module)
        self._measure(trainer, module, averaged(trainer, module), "" if keeps_average(trainer) else "_raw")
        if self.raw and keeps_average(trainer):
            self._measure(trainer, module, nullcontext(), "_raw")

    def _see_real_images(self, trainer: L.Trainer, module: DDPM) -> None:
        if self.distance.real_features_num_samples > 0:
            return
        data = _data(trainer)
        ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        for batch in data.in_order("train", module.device, **ranks):
            self.distance.update(data.pixels.to_bytes(batch.x_0), real=True)

    def _measure(self, trainer: L.Trainer, module: DDPM, weights: AbstractContextManager[None], suffix: str) -> None:
        with weights:
            for images in self._images(trainer, module):
                self.distance.update(images, real=False)
        value = float(self.distance.compute())
        self.distance.reset()
        suffix = f"_{self.sampler.label(module.model)}{suffix}"
        name = metric_name(self.name, self.num_images, "train", suffix)
        weights_used = "raw" if suffix.endswith("_raw") else "ema"
        self.tell(trainer, {name: {**self._record(value, trainer, module.model), "weights": weights_used}})

    def _images(self, trainer: L.Trainer, module: DDPM) -> Iterator[Pixels]:
        data = _data(trainer)
        starts = range(0, self.num_images, self.batch_size)[trainer.global_rank :: trainer.world_size]
        for first in starts:
            count = min(self.batch_size, self.num_images - first)
            steps = walk(module.model, self.sampler, (data.channels, *data.size), count, seed=self.seed, first=first)
            yield data.pixels.to_bytes(end_of(steps))

    def _record(self, value: float, trainer: L.Trainer, model: DenoisingDiffusion) -> dict[str, Any]:
        return {
            "value": value,
            "num_images": self.num_images,
            "reference": "train split, not mirrored",
            "extractor": self.extractor.name,
            "extractor_sha256": self.extractor.fingerprint,
            "sampler": repr(self.sampler),
            "sampler_steps": self.sampler.chain(model).process.T,
            "image_seed": self.seed,
            "variance": model.variance.name,
            "step": trainer.global_step,
        }


def _data(trainer: L.Trainer) -> EvaluationData:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, EvaluationData)
    return data
