"""The subject of an evaluation: a model with its data, a set of images, and what the images are compared with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from ddpm_lightning.configuration.build import MODEL_PARTS, EvaluationData, real_images, with_variance
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.fabric import precision_of
from ddpm_lightning.evaluation.image_sets import Given, ImageSet
from ddpm_lightning.metrics.extractor import Extracted, Extractor, extract_all
from ddpm_lightning.metrics.reference import Reference, load_reference, save_reference
from ddpm_lightning.runtime.results import device_name
from ddpm_lightning.training.checkpoint import CONFIG, load_model
from ddpm_lightning.training.post_hoc_ema.snapshots import KeptAverages, set_average

CACHE_VERSION = "v1"
"""Version of the cached features. Increase it when reading images or extracting features changes."""


@dataclass(frozen=True)
class Trained:
    """A trained model and its data.

    Args:
        model: the diffusion model.
        data: the data that it was trained on.
        parts: the configuration of the model.
        origin: what each result in results.json records about the model: step, weights, data, checkpoint, …
        suffix: the suffix of a result's name; "" for averaged weights in float32.
        variance_suffix: the suffix of a result that depends on σ_t²; "" if σ_t² is that of training.
    """

    model: DenoisingDiffusion
    data: EvaluationData
    parts: dict[str, Any]
    origin: dict[str, Any]
    suffix: str = ""
    variance_suffix: str = ""

    def variance_suffix_of(self, sampler: Sampler) -> str:
        """Returns `variance_suffix` for images of this sampler, or "" if the sampler does not use σ_t²."""
        return self.variance_suffix if sampler.traits.follows_variance else ""


def load_trained(config: dict[str, Any], fabric: Fabric) -> Trained:
    """Returns the model of the checkpoint, with the weights, the data and σ_t² that the options ask for."""
    elsewhere = {key: value for key, value in config.get("data", {}).items() if value is not None}
    path = Path(config["checkpoint"])
    checkpoint, data, trained = load_model(path, config["use_ema"], **elsewhere)
    length = config.get("ema_length")
    if length is not None:
        set_average(trained, KeptAverages(path), length)
    model = with_variance(trained, config.get("variance"))
    variance_suffix = "" if model is trained else f"_{model.variance.name}"
    precision = precision_of(fabric)
    origin = {
        "step": checkpoint["global_step"],
        "weights": ("ema" if length is None else f"ema_{length:g}") if config["use_ema"] else "raw",
        "variance": model.variance.name,
        "data": type(data).__name__,
        "checkpoint": str(path),
        "precision": precision,
        "device": device_name(fabric.device),
        "compiled": config["compile"],
    }
    suffix = weights_suffix(config["use_ema"], precision, length)
    parts = {part: checkpoint[CONFIG][part] for part in MODEL_PARTS}
    return Trained(model, data, parts, origin, suffix, variance_suffix)


def weights_suffix(use_ema: bool, precision: str, length: float | None = None) -> str:
    """Returns the suffix of a result's name for these weights and this precision; "" for averaged ones in float32.

    Args:
        use_ema: whether the weights are averaged; otherwise they are raw.
        precision: the precision of the Fabric, such as "bf16-mixed".
        length: the length of a post-hoc average; None for the average of training.
    """
    weights = ("" if length is None else f"_ema_{length:g}") if use_ema else "_raw"
    return weights + ("" if precision == "32-true" else f"_{precision}")


def _no_sampler(calls: int) -> ImageSet:
    raise UserError("a number of network calls needs a sampler, but only images were given; add checkpoint=PATH")


@dataclass
class Subject:
    """Everything that a metric may use.

    Args:
        fabric: the Fabric of the processes.
        run_dir: the folder for results.
        seed: seed of all draws.
        images: the images that are measured.
        split: the split of the data that the images are compared with, if `reference` is None.
        cache: the folder of cached features of real images.
        trained: the model; None if only images were given.
        reference: a folder of images or an .npz to compare the images with.
        background: colour under transparent pixels of the reference.
        extracted: features of the images, by the extractor's fingerprint.
        real: features of the reference, by the extractor's fingerprint.
        images_within: returns the images that the sampler generates within a number of network calls per image.
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
    images_within: Callable[[int], ImageSet] = _no_sampler

    def require_model(self, metric: str) -> Trained:
        """Returns the model. Raises UserError if there is none. `metric` is the name of the metric that needs it."""
        if self.trained is None:
            raise UserError(f"{metric} needs a model, but only images were given; add checkpoint=PATH")
        return self.trained

    def check_reference(self) -> None:
        """Raises UserError if there is nothing to compare the images with."""
        if self.trained is None and self.reference is None:
            raise UserError("there is nothing to compare the images with; add reference=FOLDER or reference=FILE.npz")

    @property
    def reference_name(self) -> str:
        """The part of a result's name about the reference: the split, or "given"."""
        return self.split if self.reference is None else "given"

    @property
    def reference_described(self) -> str:
        """The entry about the reference in results.json."""
        return str(self.reference or f"{self.split} split, not mirrored")

    def generated_features(self, extractor: Extractor) -> Extracted:
        """Returns the features of the images, which are extracted once."""
        if extractor.fingerprint not in self.extracted:
            self.extracted[extractor.fingerprint] = extract_all(extractor.to(self.fabric.device), self.images.batches())
        return self.extracted[extractor.fingerprint]

    def reference_features(self, extractor: Extractor) -> Reference:
        """Returns the features of the reference, which are extracted once, and for a split cached for all runs."""
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
        """Returns the features of a split, cached for all runs. The extractor must be on the device."""
        assert self.trained is not None
        data = self.trained.data
        known_by = f"{data.images(split).fingerprint()[:16]}_{data.pixels.levels}levels"
        seen_by = f"{extractor.name}_{extractor.fingerprint[:16]}"
        path = self.cache / CACHE_VERSION / f"{type(data).__name__}_{split}_{known_by}_{seen_by}.npz"
        if not path.is_file():
            save_reference(path, extract_all(extractor, real_images(data, split)))
        return load_reference(path, extractor.num_features, "delete it, and give the command again to extract it")
