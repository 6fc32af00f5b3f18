"""Shared latents (Section 4.3, Fig. 7): what several x_0 drawn from one x_t have in common."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError, Records
from ddpm_lightning.studies.figures.abstract_figure import SingleProcessFigure
from ddpm_lightning.studies.figures.canvas import draw_by_t
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import ImageSets, LabelSets, PerExample, Pixels


class Family(NamedTuple):
    """Latents of one t and the images drawn from them, in 0..255: x_t [n, c, h, w], x_0 [n, num_samples, c, h, w]."""

    x_t: Pixels
    x_0: ImageSets


@dataclass
class SharedLatents(SingleProcessFigure):
    """Draws several x_0 ~ p_θ(x_0 | x_t) from each of several x_t, at every t.

    Measured by t: how far apart two x_0 of one x_t are in pixels, and how often the extractor's classifier sees one
    class in both. Drawn: both, and the first latents with their images.

    Args:
        t: The t of the latents. None means T, …, T/8.
        extractor: Its classifier says the class of an image. None leaves classes out.
        num_latents: Number of x_t for each t, at least 2.
        num_samples: Number of x_0 for each x_t, at least 2.
        num_rows: Number of x_t that are drawn for each t.
    """

    t: list[int] | None = None
    extractor: Extractor | None = None
    num_latents: int = 64
    num_samples: int = 8
    num_rows: int = 4

    name = "shared_latents"
    usual = (1, 0.75, 0.5, 0.25, 0.125)

    def check(self, subject: Subject) -> None:
        trained = self.check_model(subject)
        self.check_steps("t", self.times(subject), trained)
        if not self.generated(subject).sampler.traits.random:
            raise UserError(
                "shared_latents draws several x_0 from one x_t, and this sampler would draw the same one each time; "
                "take sampler=ancestral, or sampler=ddim sampler.eta=1"
            )
        self.check_count("num_latents", 2)
        self.check_count("num_samples", 2)
        self.check_count("num_rows", 1, self.num_latents, "num_latents is no larger")
        self.check_grid(trained, self.num_rows * len(self.times(subject)), self.num_samples + 2)

    def draw(self, subject: Subject) -> Records:
        """Returns the distance in pixels and the agreement in class by t; writes NAME.png and NAME_images.png."""
        chain = self.chain(subject)
        families = self._families(chain)
        self._draw_images(subject, families)
        distance = {t: MeanAndError.of(rmse_of_pairs(family.x_0)) for t, family in families.items()}
        agreement = {}
        if self.extractor is not None:
            extractor = self.extractor.to(chain.device)
            agreement = {t: self._agreement(chain, extractor, family) for t, family in families.items()}
        self._draw_curves(subject, distance, agreement)
        return {**self._records(chain, "rmse", distance), **self._records(chain, "same_class", agreement)}

    def _families(self, chain: Chain) -> dict[int, Family]:
        """Returns a family for each t, from x_t of sample.py's first images."""
        steps = {t: chain.place(t) for t in chain.nearest_of(self.times(chain.subject))}
        along = chain.along(self.num_latents, steps.values())
        numbers = range(self.num_latents * self.num_samples)
        owners = [number // self.num_samples for number in numbers]
        families = {}
        for t, step in steps.items():
            x_t = along[step].x
            x_0 = chain.decode(x_t.repeat_interleave(self.num_samples, 0), t, numbers, f"shared x_{t}", owners)
            sets = chain.to_bytes(x_0).reshape(-1, self.num_samples, *x_0.shape[1:])
            families[t] = Family(chain.to_bytes(x_t), sets)
        return families

    def _agreement(self, chain: Chain, extractor: Extractor, family: Family) -> MeanAndError:
        batches = torch.split(family.x_0.flatten(0, 1), chain.images.batch_size)
        labels = extract_all(extractor, batches).logits.argmax(1)
        return MeanAndError.of(share_of_pairs(labels.reshape(-1, self.num_samples)))

    def _draw_curves(
        self, subject: Subject, distance: dict[int, MeanAndError], agreement: dict[int, MeanAndError]
    ) -> None:
        figure, (pixels, *others) = panels(2 if agreement else 1, width=10)
        draw_by_t(pixels, distance, "distance of a pair (RMSE of 0–255)")
        seen_by = "" if self.extractor is None else f" and in class (as {self.extractor.name} sees it)"
        for classes in others:
            draw_by_t(classes, agreement, "share of pairs of one class")
        sentence = (
            f"How alike two x_0 of one x_t are, by t: in pixels{seen_by}; {self.num_samples} x_0 of each of "
            f"{self.num_latents} x_t, bars are standard errors over the x_t."
        )
        self.save_curves(subject, figure, sentence)

    def _draw_images(self, subject: Subject, families: dict[int, Family]) -> None:
        rows = range(self.num_rows)
        cells: list[list[Tensor | None]] = [
            [family.x_t[row], None, *family.x_0[row]] for family in families.values() for row in rows
        ]
        names = [f"share x_{t}" if row == 0 else "" for t in families for row in rows]
        sentence = "A row: one x_t, and several x_0 ~ p_θ(x_0 | x_t) that have it in common. The paper's Fig. 7."
        self.save_grid(subject, cells, ["x_t", "", *["x_0"] * self.num_samples], sentence, "_images", names)

    def _records(self, chain: Chain, what: str, found: dict[int, MeanAndError]) -> Records:
        extractor = self.extractor if what == "same_class" else None
        judged = "" if extractor is None else f"_{extractor.name}{extractor.suffix}"
        count = f"{self.num_latents}x{self.num_samples}{chain.images.suffix}"
        numbers = {"num_latents": self.num_latents, "num_samples": self.num_samples}
        return {
            f"{self.name}_{what}{judged}_t{t}_{count}": {
                **each.stated(),
                "t": t,
                **numbers,
                **self.origin(chain.subject, extractor),
            }
            for t, each in found.items()
        }


def share_of_pairs(labels: LabelSets) -> PerExample:
    """Returns the share of pairs with one label among the k(k − 1)/2 pairs of each row of [n, k]: [n]."""
    same = (labels[:, :, None] == labels[:, None, :]).double().sum((1, 2))
    k = labels.shape[1]
    return (same - k) / (k * (k - 1))


def rmse_of_pairs(images: ImageSets) -> PerExample:
    """Returns the root mean squared difference of two of k images, over all pairs.

    The mean squared difference is twice the unbiased variance of a pixel.

    Args:
        images: n sets of k images, [n, k, c, h, w].

    Returns:
        One number for each set: [n].
    """
    return (2 * images.double().var(dim=1)).flatten(1).mean(1).sqrt()
