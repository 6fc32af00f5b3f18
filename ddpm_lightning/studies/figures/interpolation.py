"""Interpolation between two images in the latent space of x_t (Section 4.4, Fig. 8 and 9)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.exact_bound import PIXEL_SCALE
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError, Records, metric_name
from ddpm_lightning.studies.figures.abstract_figure import SingleProcessFigure
from ddpm_lightning.studies.figures.canvas import draw_by_t
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import Images, PerExample

SPLIT = "test"
"""The split of the images. The model has not seen it."""


class Pairs(NamedTuple):
    """n pairs of images: x_0 and x'_0, each [n, c, h, w]."""

    first: Images
    second: Images

    def head(self, count: int) -> "Pairs":
        """Returns the first `count` pairs."""
        return Pairs(self.first[:count], self.second[:count])


class Measurement(NamedTuple):
    """The results at one t.

    Args:
        error: The RMSE between x_0 and x̄_0 at λ = 0, over pairs.
        distance: The Fréchet distance of x̄_0 at λ = ½ to real images. None without an extractor.
    """

    error: MeanAndError
    distance: Value | None


@dataclass
class Interpolation(SingleProcessFigure):
    """Interpolates between pairs of test images, by λ and by t.

    x̄_t = (1 − λ) x_t + λ x'_t with x_t ~ q(x_t | x_0) and x'_t ~ q(x_t | x'_0), then x̄_0 ~ p_θ(x_0 | x̄_t).
    As in the paper, the noise is the same for every λ. Here it is also the same for every t.

    Measured by t: how far x̄_0 is from x_0 at λ = 0 (RMSE), and x̄_0 at λ = ½ from real images (Fréchet distance).
    Drawn: both, `num_rows` pairs at `shown_t`, and the first pair at every t.

    Args:
        t: The t to measure and to draw, in 0..T. t = 0 mixes pixels.
        extractor: Computes the features of the Fréchet distance. None leaves the distance out.
        num_lambdas: Number of λ in a picture, from 0 to 1, at least 2.
        num_rows: Number of pairs that are drawn.
        shown_t: The t of the drawn pairs. None means T/2.
        num_pairs: Number of pairs that are measured, at least 2.
    """

    t: list[int] | None = None
    extractor: Extractor | None = None
    num_lambdas: int = 11
    num_rows: int = 6
    shown_t: int | None = None
    num_pairs: int = 128

    name = "interpolation"
    generates = False
    usual = (0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1)
    measures_distance = True

    def check(self, subject: Subject) -> None:
        trained, n = self.check_model(subject), len(self.trained(subject).data.images(SPLIT))
        trained.model.conditioning.check_free(self.name)
        self.generated(subject)
        self.check_steps("t", self.times(subject), trained, least=0)
        self.check_steps("shown_t", [self._shown(trained)], trained, least=0)
        self.check_count("num_lambdas", 2)
        self.check_count("num_pairs", 2)
        self.check_count("num_rows", 1, self.num_pairs, "num_pairs is no larger")
        self.check_distance(self.num_pairs, "interpolated")
        self.check_grid(trained, max(self.num_rows, len(self.times(subject))), self.num_lambdas + 4)
        if 2 * self.num_pairs > n:
            raise UserError(
                f"{self.option('num_pairs')}={self.num_pairs} takes twice as many images, and the {SPLIT} split has "
                f"{n}; choose at most {n // 2}"
            )

    def draw(self, subject: Subject) -> Records:
        """Returns error and distance by t; writes NAME.png, NAME_pairs.png and NAME_depths.png."""
        chain = self.chain(subject)
        pairs = Pairs(*self.images_of(subject, SPLIT, first=2 * self.num_pairs).chunk(2))
        self._draw_pairs(chain, pairs)
        self._draw_depths(chain, pairs)
        found = {t: self._measure(chain, pairs, t) for t in chain.nearest_of(self.times(subject))}
        self._draw_curves(subject, found)
        return self._records(chain, found)

    def _shown(self, trained: Trained) -> int:
        return trained.model.process.T // 2 if self.shown_t is None else self.shown_t

    def _decoded(self, chain: Chain, pairs: Pairs, t: int, lambdas: list[float]) -> Tensor:
        """Draws x̄_0 of every pair at every λ: [n, λ, c, h, w]. The noise depends on the pair alone."""
        n, k = len(pairs.first), len(lambdas)
        x_t = chain.encode(pairs.first, t, range(n), "interpolation, first")
        other = chain.encode(pairs.second, t, range(n), "interpolation, second")
        share = torch.tensor(lambdas * n, device=x_t.device).reshape(-1, 1, 1, 1)
        mixed = (1 - share) * x_t.repeat_interleave(k, 0) + share * other.repeat_interleave(k, 0)
        numbers = [number for number in range(n) for _ in range(k)]
        return chain.decode(mixed, t, numbers, "interpolation, decoded").reshape(n, k, *x_t.shape[1:])

    def _measure(self, chain: Chain, pairs: Pairs, t: int) -> Measurement:
        back, middle = self._decoded(chain, pairs, t, [0.0, 0.5]).unbind(1)
        error = MeanAndError.of(rmse(back, pairs.first).cpu())
        if self.extractor is None:
            return Measurement(error, None)
        batches = torch.split(chain.to_bytes(middle), chain.images.batch_size)
        features = extract_all(self.extractor.to(chain.device), batches).features
        return Measurement(error, self.distance(chain.subject, self.extractor, features))

    def _lambdas(self) -> list[float]:
        return [index / (self.num_lambdas - 1) for index in range(self.num_lambdas)]

    def _rows(self, chain: Chain, pairs: Pairs, t: int) -> list[list[Tensor | None]]:
        """Returns a row for each pair: x_0, a gap, x̄_0 at every λ, a gap, x'_0."""
        decoded = self._decoded(chain, pairs, t, self._lambdas())
        ends = zip(chain.to_bytes(pairs.first), chain.to_bytes(pairs.second), strict=True)
        return [
            [first, None, *chain.to_bytes(between), None, second]
            for (first, second), between in zip(ends, decoded, strict=True)
        ]

    def _titles(self) -> list[str]:
        return ["source", "", *(f"λ={share:.2g}" for share in self._lambdas()), "", "source"]

    def _draw_pairs(self, chain: Chain, pairs: Pairs) -> None:
        t = chain.nearest(self._shown(self.trained(chain.subject)))
        rows = self._rows(chain, pairs.head(self.num_rows), t)
        sentence = f"Pairs of test images, and what lies between them at t = {t}. The paper's Fig. 8."
        self.save_grid(chain.subject, rows, self._titles(), sentence, "_pairs")

    def _draw_depths(self, chain: Chain, pairs: Pairs) -> None:
        ts = chain.nearest_of(self.times(chain.subject))
        rows = [row for t in ts for row in self._rows(chain, pairs.head(1), t)]
        sentence = "One pair of test images, mixed in x_t for several t; t = 0 mixes pixels. The paper's Fig. 9."
        self.save_grid(chain.subject, rows, self._titles(), sentence, "_depths", [f"t = {t}" for t in ts])

    def _draw_curves(self, subject: Subject, found: dict[int, Measurement]) -> None:
        distances = {t: each.distance.value for t, each in found.items() if each.distance is not None}
        figure, (faithful, *others) = panels(2 if distances else 1, width=10)
        draw_by_t(faithful, {t: each.error for t, each in found.items()}, "distance of x̄_0 to x_0 (RMSE of 0–255)")
        faithful.set_title("λ = 0: there and back")
        sentence = (
            f"Over {counted(self.num_pairs, 'pair')} of test images: how far encoding an image leads away from it"
        )
        for real in others:
            assert self.extractor is not None
            real.plot(list(distances), list(distances.values()), marker="o", label="x̄_0")
            self.draw_floor(real, subject, self.extractor, self.num_pairs)
            real.set(xlabel="t", ylabel="Fréchet distance", yscale="log", title="λ = ½: the middle")
            real.legend()
            sentence += f", and how far the middles are from real images, by features of {self.extractor.name}"
        self.save_curves(subject, figure, f"{sentence}. Bars are standard errors over pairs.")

    def _records(self, chain: Chain, found: dict[int, Measurement]) -> Records:
        subject, extractor, suffix = chain.subject, self.extractor, chain.images.suffix
        common = {"num_pairs": self.num_pairs, "split": SPLIT}
        records: Records = {}
        for t, (error, distance) in found.items():
            value = {**error.stated(), "unit": "of 0–255", "lambda": 0.0}
            records[f"{self.name}_rmse_t{t}_{self.num_pairs}{suffix}"] = {**value, **common, **self.origin(subject)}
            if extractor is not None and distance is not None:
                name = metric_name(f"{self.name}_{extractor.name}_t{t}", self.num_pairs, subject.reference_name)
                against = {"lambda": 0.5, "reference": subject.reference_described, **self.origin(subject, extractor)}
                records[name + extractor.suffix + suffix] = {**distance.stated(), **common, **against}
        return records


def rmse(images: Images, others: Images) -> PerExample:
    """Returns the root mean squared error of each image, in units of 0..255: [n].

    Args:
        images: On the scale [−1, 1], to which they are clipped, [n, c, h, w].
        others: The images that they are compared with, one by one, [n, c, h, w].
    """
    return PIXEL_SCALE * (images.clamp(-1, 1) - others).square().flatten(1).mean(1).sqrt()
