"""Shared latents (Section 4.3, Fig. 7): several x_0 from one x_t have in common what t has fixed already."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import by_t, save_curves, save_grid
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import Images, ImageSets, LabelSets, PerExample, Pixels


class Family(NamedTuple):
    """What one t gives: x_t, [n, …], and num_samples draws of x_0 from each, [n · num_samples, …], both in 0..255."""

    x_t: Pixels
    x_0: Pixels


@dataclass
class SharedLatents(Figure):
    """num_samples draws x_0 ~ p_θ(x_0 | x_t) from each of num_latents x_t, for every t (None: T … T/8).

    How alike they are: how far apart in pixels, and how often two of one x_t are of one class, as the extractor's
    classifier sees them. The first num_rows x_t are drawn. One process does the work.
    """

    t: list[int] | None = None
    extractor: Extractor | None = None
    num_latents: int = 64
    num_samples: int = 8
    num_rows: int = 4

    name = "shared_latents"
    usual = (1, 0.75, 0.5, 0.25, 0.125)

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, no such t, or nothing random."""
        trained = self.check_model(subject)
        self.check_steps("t", self.times(subject), trained)
        if not self.generated(subject).sampler.random:
            raise UserError(
                "shared_latents draws several x_0 from one x_t, and this sampler would draw the same one each time; "
                "take sampler=ancestral, or sampler=ddim sampler.eta=1"
            )
        check_whole(self.option("num_latents"), self.num_latents, 2, "an error needs two")
        check_whole(self.option("num_samples"), self.num_samples, 2, "one x_0 has nothing to be compared with")
        check_whole(self.option("num_rows"), self.num_rows, 1, "an x_t is a row")
        check_at_most(self.option("num_rows"), self.num_rows, self.num_latents, "num_latents are no more")
        self.check_grid(trained, self.num_rows * len(self.times(subject)), self.num_samples + 2)

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Distance in pixels and agreement in class, by t; shared_latents.png and shared_latents_images.png."""
        if not subject.fabric.is_global_zero:
            return {}
        chain = self.chain(subject)
        families = self._families(chain)
        self._draw_images(chain, families)
        distance = {t: self._distance(family) for t, family in families.items()}
        agreement = {}
        if self.extractor is not None:
            extractor = self.extractor.to(chain.device)
            agreement = {t: self._agreement(chain, extractor, family) for t, family in families.items()}
        self._draw_curves(chain, distance, agreement)
        return {
            **{self._called(chain, "rmse", t): self._record(chain, t, each, None) for t, each in distance.items()},
            **{
                self._called(chain, "same_class", t): self._record(chain, t, each, self.extractor)
                for t, each in agreement.items()
            },
        }

    def _families(self, chain: Chain) -> dict[int, Family]:
        found = {}
        for t, x_t in self._latents(chain).items():
            numbers = range(self.num_latents * self.num_samples)
            x_0 = chain.decode(x_t.repeat_interleave(self.num_samples, 0), t, numbers, f"shared x_{t}")
            found[t] = Family(chain.to_bytes(x_t), chain.to_bytes(x_0))
        return found

    def _latents(self, chain: Chain) -> dict[int, Images]:
        """x_t of sample.py's first images on their way, at each t."""
        ts = chain.nearest_of(self.times(chain.subject))
        steps = chain.along(self.num_latents, {chain.place(t) for t in ts})
        return {t: steps[chain.place(t)].x for t in ts}

    def _distance(self, family: Family) -> MeanAndError:
        return MeanAndError.of(rmse_of_pairs(family.x_0.reshape(-1, self.num_samples, *family.x_0.shape[1:])))

    def _agreement(self, chain: Chain, extractor: Extractor, family: Family) -> MeanAndError:
        labels = extract_all(extractor, torch.split(family.x_0, chain.images.batch_size)).logits.argmax(1)
        return MeanAndError.of(share_of_pairs(labels.reshape(-1, self.num_samples)))

    def _draw_curves(self, chain: Chain, distance: dict[int, MeanAndError], agreement: dict[int, MeanAndError]) -> None:
        figure, (pixels, *others) = panels(2 if agreement else 1, width=10)
        by_t(pixels, distance, "distance of a pair (RMSE of 0–255)")
        seen_by = "" if self.extractor is None else f" and in class (as {self.extractor.name} sees it)"
        for classes in others:
            by_t(classes, agreement, "share of pairs of one class")
        sentence = (
            f"How alike two x_0 of one x_t are, by t: in pixels{seen_by}; {self.num_samples} x_0 of each of "
            f"{self.num_latents} x_t, bars are standard errors over the x_t."
        )
        save_curves(figure, sentence, chain.subject.run_dir / f"{self.name}.png")

    def _draw_images(self, chain: Chain, families: dict[int, Family]) -> None:
        cells: list[list[Tensor | None]] = []
        for family in families.values():
            own = family.x_0.reshape(-1, self.num_samples, *family.x_0.shape[1:])
            cells += [[family.x_t[row], None, *own[row]] for row in range(self.num_rows)]
        save_grid(
            cells,
            ["x_t", "", *["x_0"] * self.num_samples],
            [f"share x_{t}" if row == 0 else "" for t in families for row in range(self.num_rows)],
            "A row: one x_t, and several x_0 ~ p_θ(x_0 | x_t) that have it in common. The paper's Fig. 7.",
            chain.subject.run_dir / f"{self.name}_images.png",
        )

    def _called(self, chain: Chain, what: str, t: int) -> str:
        judged = f"_{self.extractor.name}{self.extractor.suffix}" if self.extractor and what == "same_class" else ""
        return f"{self.name}_{what}{judged}_t{t}_{self.num_latents}x{self.num_samples}{chain.images.suffix}"

    def _record(self, chain: Chain, t: int, found: MeanAndError, extractor: Extractor | None) -> dict[str, Any]:
        return {
            **found.stated(),
            "t": t,
            "num_latents": self.num_latents,
            "num_samples": self.num_samples,
            **self.origin(chain.subject, extractor),
        }


def share_of_pairs(labels: LabelSets) -> PerExample:
    """Of k draws each, [n, k], how many of the k(k − 1)/2 pairs are of one class: [n]."""
    same = (labels[:, :, None] == labels[:, None, :]).double().sum((1, 2))
    k = labels.shape[1]
    return (same - k) / (k * (k - 1))


def rmse_of_pairs(images: ImageSets) -> PerExample:
    """Of k images each, [n, k, c, h, w], the root of the mean squared difference of two of them: [n]. Twice the
    unbiased variance of a pixel is its mean squared difference."""
    return (2 * images.double().var(dim=1)).flatten(1).mean(1).sqrt()
