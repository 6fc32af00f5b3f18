"""Guidance against quality: distance, precision, recall and agreement with the class, by scale."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from tqdm import tqdm

from ddpm_lightning.configuration.full_keys import naming_options
from ddpm_lightning.diffusion.conditional.guidance import Extrapolation, check_scale
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.scores import FrechetDistance, PrecisionRecall
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError, Records, metric_name
from ddpm_lightning.studies.figures.canvas import draw_errors
from ddpm_lightning.studies.figures.distance_figure import DistanceFigure
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import Indices

log = logging.getLogger(__name__)

QUANTITIES = {
    "distance": "Fréchet distance ↓",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "agreement": "share of the class asked for ↑",
}
"""The measured quantities by name, each with its label in the figure."""

Measured = dict[str, dict[float, dict[str, MeanAndError]]]
"""The mean over draws of each quantity, by guidance and scale."""


@dataclass(kw_only=True)
class GuidanceScales(DistanceFigure):
    """Measures samples by the scale of their guidance, for several kinds of it.

    All samples start from the same noise. Draw k has the images from number k · num_images on; errors are over draws.
    A kind of guidance that the model cannot have is left out with a warning.

    Args:
        guidances: The kinds of guidance by name, whose scale is replaced. None leaves one out.
        scales: The scales w. At 1 there is no guidance.
        extractor: A classifier of the data's classes. Its features are compared.
        num_draws: Number of draws, in 2..1000.
    """

    guidances: dict[str, Extrapolation | None]
    scales: list[float]
    num_draws: int = 2

    name = "guidance"

    def check(self, subject: Subject) -> None:
        images = self.generated(subject)
        self.check_pictures(subject, images.n)
        self.check_count("num_draws", 2, 1000)
        if not images.model.conditioning.class_names:
            raise UserError("guidance shows how well samples fit their class, and this model has none; omit it")
        if "guidance" in images.wanted:
            raise UserError("figure=[guidance] draws guidance of its own, so guidance= has no effect; leave it out")
        if not self.scales or not any(self.guidances.values()):
            raise UserError("guidance has no kinds or no scales to compare; leave the options out for the usual ones")
        for scale in self.scales:
            check_scale(scale, self.option("scales"))
        self._check_kinds(images.model)

    def _check_kinds(self, model: DenoisingDiffusion) -> None:
        """Warns of kinds of guidance that the model cannot have. Raises UserError if it can have none."""
        errors = {name: self._error_of(name, guidance, model) for name, guidance in self._kept().items()}
        for name, error in errors.items():
            if error is None:
                continue
            if None not in errors.values():
                raise error
            log.warning("%s.%s is left out: %s", self.option("guidances"), name, error)

    def _error_of(self, name: str, guidance: Extrapolation, model: DenoisingDiffusion) -> UserError | None:
        """Returns the reason why the model cannot be guided so, or None if it can."""
        try:
            with naming_options(f"{self.option('guidances')}.{name}", (*vars(guidance), "checkpoint")):
                guidance.check(model)
        except UserError as error:
            return error
        return None

    def _kept(self) -> dict[str, Extrapolation]:
        return {name: guidance for name, guidance in self.guidances.items() if guidance is not None}

    def draw(self, subject: Subject) -> Records:
        """Returns all quantities by guidance and scale; writes guidance.png."""
        assert self.extractor is not None
        extractor, images = self.extractor.to(subject.fabric.device), self.generated(subject)
        steps = images.sampler.chain(images.model).process.T
        total, found = images.n * self.num_draws * steps * len(list(self._all(images.model))), Measured()
        with progress_bar(total=total, desc=self.name, unit="image step", unit_scale=True, leave=False) as bar:
            for name, scale, guidance in self._all(images.model):
                chain = Chain(subject, replace(images, guidance=guidance))
                found.setdefault(name, {})[scale] = self._means(subject, chain, extractor, bar)
        self._draw(subject, found)
        return self._records(subject, extractor, found)

    def _all(self, model: DenoisingDiffusion) -> Iterator[tuple[str, float, Extrapolation]]:
        """Yields every kind of guidance that the model can have with every scale."""
        possible = {name: each for name, each in self._kept().items() if self._error_of(name, each, model) is None}
        for (name, guidance), scale in product(possible.items(), self.scales):
            changed: Any = replace(guidance.for_chain(model.process.T), scale=scale)  # type: ignore[type-var]
            yield name, scale, changed

    def _means(self, subject: Subject, chain: Chain, extractor: Extractor, bar: "tqdm[Any]") -> dict[str, MeanAndError]:
        values = [self._values(subject, chain, extractor, numbers, bar) for numbers in self.draws(chain)]
        return {
            name: MeanAndError.of(torch.tensor([each[name] for each in values], dtype=torch.float64))
            for name in QUANTITIES
        }

    def _values(
        self, subject: Subject, chain: Chain, extractor: Extractor, numbers: Indices, bar: "tqdm[Any]"
    ) -> dict[str, float]:
        """Returns all quantities of the images of these numbers."""
        extracted = extract_all(extractor, map(chain.to_bytes, self.sampled(chain, numbers, bar)))
        real, y = subject.reference_features(extractor), chain.images.labels.of(numbers.tolist())
        assert y is not None
        (distance,), (precision, recall) = FrechetDistance()(extracted, real), PrecisionRecall()(extracted, real)
        agreement = float((extracted.logits.argmax(1) == y).float().mean())
        return dict(zip(QUANTITIES, (distance.value, precision.value, recall.value, agreement), strict=True))

    def _draw(self, subject: Subject, found: Measured) -> None:
        figure, all_axes = panels(len(QUANTITIES), width=16)
        for axes, (quantity, label) in zip(all_axes, QUANTITIES.items(), strict=True):
            for name, by_scale in found.items():
                draw_errors(axes, {scale: each[quantity] for scale, each in by_scale.items()}, label=name)
            axes.set(xlabel="scale w", ylabel=label)
        all_axes[0].legend(fontsize="x-small")
        samples = counted(self.generated(subject).n, "sample")
        sentence = f"{samples} by the scale of their guidance, where 1 is without; {self.over_draws('scales')}"
        self.save_curves(subject, figure, sentence)

    def _records(self, subject: Subject, extractor: Extractor, found: Measured) -> Records:
        images, origin = self.generated(subject), self.origin(subject, extractor)
        suffix, records = extractor.suffix + images.suffix, Records()
        for name, scale, guidance in self._all(images.model):
            for quantity, each in found[name][scale].items():
                against = None if quantity == "agreement" else subject.reference_name
                whole = metric_name(f"{self.name}_{name}_{scale:g}_{quantity}", images.n, against, suffix)
                records[whole] = {**self.record(subject, each), **origin, "guidance": str(guidance)}
        return records
