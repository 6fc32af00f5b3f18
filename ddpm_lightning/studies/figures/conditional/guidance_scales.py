"""Guidance against quality: distance, precision, recall and agreement with the class, by scale."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from tqdm import tqdm

from ddpm_lightning.diffusion.conditional.guidance import Extrapolation
from ddpm_lightning.diffusion.samplers import end_of
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extracted, Extractor, extract_all
from ddpm_lightning.metrics.scores import FrechetDistance, PrecisionRecall
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError, Records, metric_name
from ddpm_lightning.studies.figures.abstract_figure import SingleProcessFigure
from ddpm_lightning.studies.figures.canvas import draw_errors
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.training.generate import with_progress

QUANTITIES = {
    "distance": "Fréchet distance ↓",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "agreement": "share of the class asked for ↑",
}
"""What is measured, and how the figure calls it."""

Measured = dict[str, dict[float, dict[str, MeanAndError]]]
"""The mean over draws of each quantity, by guidance and scale."""


@dataclass(kw_only=True)
class GuidanceScales(SingleProcessFigure):
    """Measures samples by the scale of their guidance, for several kinds of it.

    All samples start from the same noise. Draw k has the images from number k · num_images on; errors are over draws.

    Args:
        guidances: The kinds of guidance by name, whose scale is replaced. None leaves one out.
        scales: The scales w. At 1 there is no guidance.
        extractor: A classifier of the data's classes. Its features are compared.
        num_draws: Number of draws, in 2..1000.
    """

    guidances: dict[str, Extrapolation | None]
    scales: list[float]
    extractor: Extractor | None = None
    num_draws: int = 2

    name = "guidance"
    measures_distance = True

    def check(self, subject: Subject) -> None:
        trained, n = self.check_model(subject), self.generated(subject).n
        if self.extractor is None:
            raise UserError("guidance measures a distance of features, and there is no extractor; add extractor=digits")
        self.check_distance(n, "generated")
        self.check_count("num_draws", 2, 1000)
        if not trained.model.conditioning.class_names:
            raise UserError("guidance shows how well samples fit their class, and this model has none; omit it")
        if not self.scales or not any(self.guidances.values()):
            raise UserError("guidance has no kinds or no scales to compare; leave the options out for the usual ones")
        for _, _, guidance in self._all():
            guidance.check(trained.model)

    def draw(self, subject: Subject) -> Records:
        """Returns all quantities by guidance and scale; writes guidance.png."""
        assert self.extractor is not None
        extractor, images = self.extractor.to(subject.fabric.device), self.generated(subject)
        steps = images.sampler.chain(images.model).process.T
        total, found = images.n * self.num_draws * steps * len(list(self._all())), Measured()
        with progress_bar(total=total, desc=self.name, unit="image step", unit_scale=True, leave=False) as bar:
            for name, scale, guidance in self._all():
                chain = Chain(subject, replace(images, guidance=guidance))
                found.setdefault(name, {})[scale] = self._means(subject, chain, extractor, bar)
        self._draw(subject, found)
        return self._records(subject, extractor, found)

    def _all(self) -> Iterator[tuple[str, float, Extrapolation]]:
        """Yields every kind of guidance with every scale."""
        kept = {name: guidance for name, guidance in self.guidances.items() if guidance is not None}
        for (name, guidance), scale in product(kept.items(), self.scales):
            changed: Any = replace(guidance, scale=scale)  # type: ignore[type-var]
            yield name, scale, changed

    def _means(self, subject: Subject, chain: Chain, extractor: Extractor, bar: "tqdm[Any]") -> dict[str, MeanAndError]:
        draws = torch.split(torch.arange(self.num_draws * chain.images.n), chain.images.n)
        values = [self._values(subject, chain, extractor, numbers.tolist(), bar) for numbers in draws]
        return {
            name: MeanAndError.of(torch.tensor([each[name] for each in values], dtype=torch.float64))
            for name in QUANTITIES
        }

    def _values(
        self, subject: Subject, chain: Chain, extractor: Extractor, numbers: list[int], bar: "tqdm[Any]"
    ) -> dict[str, float]:
        """Returns all quantities of the images of these numbers."""
        size = chain.images.batch_size
        parts = [numbers[first : first + size] for first in range(0, len(numbers), size)]
        shown = (chain.to_bytes(end_of(with_progress(chain.whole(part), bar, len(part)))) for part in parts)
        extracted: Extracted = extract_all(extractor, shown)
        real, y = subject.reference_features(extractor), chain.images.labels.of(numbers)
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
        sentence = (
            f"{counted(self.generated(subject).n, 'sample')} of classes as frequent as the data's, by the scale of "
            f"their guidance; 1 is without. Means and standard errors over {counted(self.num_draws, 'draw')}, each "
            "from the same noise."
        )
        self.save_curves(subject, figure, sentence)

    def _records(self, subject: Subject, extractor: Extractor, found: Measured) -> Records:
        n, origin = self.generated(subject).n, self.origin(subject, extractor)
        records: Records = {}
        for name, scale, guidance in self._all():
            for quantity, each in found[name][scale].items():
                against = None if quantity == "agreement" else subject.reference_name
                records[metric_name(f"{self.name}_{name}_{scale:g}_{quantity}", n, against, extractor.suffix)] = {
                    "value": each.mean,
                    "standard_error_over_draws": each.standard_error,
                    "num_draws": self.num_draws,
                    "num_images": n,
                    **origin,
                    "guidance": str(guidance),
                }
        return records
