"""What is evaluated: a model with its data, a set of images, or both; and what the images are compared with."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from ddpm_lightning.configuration.build import EvaluationData, real_images
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.image_sets import Given, ImageSet
from ddpm_lightning.metrics.extractor import Extracted, Extractor, extract_all
from ddpm_lightning.metrics.reference import Reference, load_reference, save_reference

FORMAT = "v1"
"""Of the cache: to be raised when reading images or extracting features changes."""


@dataclass(frozen=True)
class Trained:
    """A model, its data, and what results.json says of it: step, weights, data, checkpoint.

    parts: the configuration that the model is made by.
    suffix: what a result's name adds where the weights are not the averaged ones, or the precision is not float32.
    swapped: what a result's name adds where σ_t² is not that of training, and has a part in it.
    """

    model: DenoisingDiffusion
    data: EvaluationData
    parts: dict[str, Any]
    origin: dict[str, Any]
    suffix: str = ""
    swapped: str = ""

    def swapped_for(self, sampler: Sampler) -> str:
        """The same for the name of images that this sampler makes."""
        return self.swapped if sampler.traits.follows_variance else ""


@dataclass
class Subject:
    """Everything that a metric may ask for.

    trained: None where only images were given. split: of the data, which the images are compared with unless
    `reference`, a folder or an .npz, is given. cache: where features of real images are kept. background: the colour
    under transparent pixels of a reference.
    """

    fabric: Fabric
    run_dir: Path
    seed: int
    images: ImageSet
    split: str
    cache: Path
    trained: Trained | None = None
    reference: Path | None = None
    background: str = "white"
    extracted: dict[str, Extracted] = field(default_factory=dict)
    real: dict[str, Reference] = field(default_factory=dict)

    def require_model(self, metric: str) -> Trained:
        """The model. Raises UserError where there is none."""
        if self.trained is None:
            raise UserError(f"{metric} is a number of a model, and only images were given; add checkpoint=PATH")
        return self.trained

    def check_reference(self) -> None:
        """Raises UserError where there is nothing to compare the images with."""
        if self.trained is None and self.reference is None:
            raise UserError("there is nothing to compare the images with; add reference=FOLDER or reference=FILE.npz")

    @property
    def reference_name(self) -> str:
        """What a result's name says of the reference."""
        return self.split if self.reference is None else "given"

    @property
    def reference_described(self) -> str:
        """What results.json says of it."""
        return str(self.reference or f"{self.split} split, not mirrored")

    def generated_features(self, extractor: Extractor) -> Extracted:
        """What the extractor says of the images; asked once."""
        if extractor.fingerprint not in self.extracted:
            self.extracted[extractor.fingerprint] = extract_all(extractor.to(self.fabric.device), self.images.batches())
        return self.extracted[extractor.fingerprint]

    def reference_features(self, extractor: Extractor) -> Reference:
        """What the extractor says of the real images; asked once, and of a data set's split once for all runs."""
        if extractor.fingerprint not in self.real:
            self.real[extractor.fingerprint] = self._reference(extractor.to(self.fabric.device))
        return self.real[extractor.fingerprint]

    def _reference(self, extractor: Extractor) -> Reference:
        if self.reference is None:
            return self.features_of(extractor, self.split)
        if self.reference.is_dir():
            return Reference(extract_all(extractor, self._given_reference.batches()).features)
        return load_reference(self.reference, extractor.num_features)

    @cached_property
    def _given_reference(self) -> Given:
        assert self.reference is not None
        return Given(self.reference, "reference=", background=self.background)

    def features_of(self, extractor: Extractor, split: str) -> Reference:
        """What the extractor, which is on the device, says of a split of the data; kept for all runs."""
        assert self.trained is not None
        data = self.trained.data
        known_by = f"{data.images(split).fingerprint()[:16]}_{data.pixels.levels}levels"
        seen_by = f"{extractor.name}_{extractor.fingerprint[:16]}"
        path = self.cache / FORMAT / f"{type(data).__name__}_{split}_{known_by}_{seen_by}.npz"
        if not path.is_file():
            save_reference(path, extract_all(extractor, real_images(data, split)))
        return load_reference(path, extractor.num_features, "delete it, and it is made anew")
