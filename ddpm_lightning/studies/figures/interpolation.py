"""Interpolation (Section 4.4, Fig. 8, 9): between two images, in the latent space of x_t."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.exact_bound import PIXEL_SCALE
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError, metric_name
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import by_t, save_curves, save_grid
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.typing import Images, PerExample

SPLIT = "test"
"""Where the images come from: the model has not seen them."""


class Pairs(NamedTuple):
    """n pairs of images, x_0 and x'_0, [n, c, h, w] both."""

    first: Images
    second: Images

    def head(self, count: int) -> "Pairs":
        """The first so many."""
        return Pairs(self.first[:count], self.second[:count])


class Measurement(NamedTuple):
    """At one t: how far x̄_0 is from x_0 at λ = 0, and x̄_0 at λ = ½ from real images, if that is measured."""

    error: MeanAndError
    distance: Value | None


@dataclass
class Interpolation(Figure):
    """x̄_t = (1 − λ) x_t + λ x'_t with x_t ~ q(x_t | x_0), x'_t ~ q(x_t | x'_0), and x̄_0 ~ p_θ(x_0 | x̄_t).

    As in the paper, the noise is the same for every λ; ours is also the same for every t. Two pictures: num_rows pairs
    at shown_t (None: T/2), and the first pair at every t, each at num_lambdas λ from 0 to 1. Over num_pairs pairs it is
    measured how far x̄_0 is from x_0 at λ = 0, and how real x̄_0 looks at λ = ½ (Fréchet distance). One process does the
    work.
    """

    t: list[int] | None = None
    extractor: Extractor | None = None
    num_lambdas: int = 11
    num_rows: int = 6
    shown_t: int | None = None
    num_pairs: int = 128

    name = "interpolation"
    usual = (0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1)

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, no such t, or too few images."""
        trained = self.check_model(subject)
        self.generated(subject)
        self.check_steps("t", self.times(subject), trained, least=0)
        self.check_steps("shown_t", [self._shown(trained)], trained, least=0)
        check_whole(self.option("num_lambdas"), self.num_lambdas, 2, "λ has two ends")
        check_whole(self.option("num_pairs"), self.num_pairs, 2, "an error needs two")
        check_whole(self.option("num_rows"), self.num_rows, 1, "a pair is a row")
        check_at_most(self.option("num_rows"), self.num_rows, self.num_pairs, "num_pairs are no more")
        self.check_distance(self.num_pairs, "interpolated")
        self.check_grid(trained, max(self.num_rows, len(self.times(subject))), self.num_lambdas + 4)
        self._check_split(trained)

    def look(self, subject: Subject) -> None:
        """Sees to the features of the real images."""
        self.look_at_reference(subject)

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """The error at λ = 0 and the distance at λ = ½, by t; interpolation.png, …_pairs.png, …_depths.png."""
        if not subject.fabric.is_global_zero:
            return {}
        chain = self.chain(subject)
        pairs = self._pairs(chain)
        self._draw_pairs(chain, pairs)
        self._draw_depths(chain, pairs)
        found = {t: self._measure(chain, pairs, t) for t in chain.nearest_of(self.times(chain.subject))}
        self._draw_curves(chain, found)
        return self._records(chain, found)

    def _shown(self, trained: Trained) -> int:
        return trained.model.process.T // 2 if self.shown_t is None else self.shown_t

    def _check_split(self, trained: Trained) -> None:
        n = len(trained.data.images(SPLIT))
        if 2 * self.num_pairs > n:
            raise UserError(
                f"{self.option('num_pairs')}={self.num_pairs} takes twice as many images, and the {SPLIT} split has "
                f"{n}; choose at most {n // 2}"
            )

    def _pairs(self, chain: Chain) -> Pairs:
        """Image i of the test split with image num_pairs + i."""
        return Pairs(*self.images_of(chain.subject, SPLIT, first=2 * self.num_pairs).chunk(2))

    def _decoded(self, chain: Chain, pairs: Pairs, t: int, lambdas: list[float]) -> Tensor:
        """x̄_0 of every pair at every λ: [n, λ, c, h, w]; the noise belongs to the pair."""
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
        return [place / (self.num_lambdas - 1) for place in range(self.num_lambdas)]

    def _rows(self, chain: Chain, pairs: Pairs, t: int) -> list[list[Tensor | None]]:
        """Source, x̄_0 at every λ, source: a row a pair."""
        decoded = self._decoded(chain, pairs, t, self._lambdas())
        ends = zip(chain.to_bytes(pairs.first), chain.to_bytes(pairs.second), strict=True)
        return [
            [first, None, *chain.to_bytes(between), None, second]
            for (first, second), between in zip(ends, decoded, strict=True)
        ]

    def _columns(self) -> list[str]:
        return ["source", "", *(f"λ={share:.2g}" for share in self._lambdas()), "", "source"]

    def _draw_pairs(self, chain: Chain, pairs: Pairs) -> None:
        t = chain.nearest(self._shown(self.trained(chain.subject)))
        rows = self._rows(chain, pairs.head(self.num_rows), t)
        sentence = f"Pairs of test images, and what lies between them at t = {t}. The paper's Fig. 8."
        path = chain.subject.run_dir / f"{self.name}_pairs.png"
        save_grid(rows, self._columns(), (), sentence, path)

    def _draw_depths(self, chain: Chain, pairs: Pairs) -> None:
        ts = chain.nearest_of(self.times(chain.subject))
        rows = [row for t in ts for row in self._rows(chain, pairs.head(1), t)]
        sentence = "One pair of test images, mixed in x_t for several t; t = 0 mixes pixels. The paper's Fig. 9."
        path = chain.subject.run_dir / f"{self.name}_depths.png"
        save_grid(rows, self._columns(), [f"t = {t}" for t in ts], sentence, path)

    def _draw_curves(self, chain: Chain, found: dict[int, Measurement]) -> None:
        distances = {t: each.distance.value for t, each in found.items() if each.distance is not None}
        figure, (faithful, *others) = panels(2 if distances else 1, width=10)
        by_t(faithful, {t: each.error for t, each in found.items()}, "distance of x̄_0 to x_0 (RMSE of 0–255)")
        faithful.set_title("λ = 0: there and back")
        sentence = f"Over {self.num_pairs} pairs of test images: how far encoding an image leads away from it"
        for real in others:
            assert self.extractor is not None
            real.plot(list(distances), list(distances.values()), marker="o", label="x̄_0")
            self.draw_floor(real, chain.subject, self.extractor, self.num_pairs)
            real.set(xlabel="t", ylabel="Fréchet distance", yscale="log", title="λ = ½: the middle")
            real.legend()
            sentence += f", and how far the middles are from real images, by features of {self.extractor.name}"
        sentence += ". Bars are standard errors over pairs."
        save_curves(figure, sentence, chain.subject.run_dir / f"{self.name}.png")

    def _records(self, chain: Chain, found: dict[int, Measurement]) -> dict[str, dict[str, Any]]:
        subject, extractor, suffix = chain.subject, self.extractor, chain.images.suffix
        common = {"num_pairs": self.num_pairs, "split": SPLIT}
        records: dict[str, dict[str, Any]] = {}
        for t, (error, distance) in found.items():
            at = f"t{t}_{self.num_pairs}"
            value = {**error.stated(), "unit": "of 0–255"}
            records[f"{self.name}_rmse_{at}{suffix}"] = {**value, "lambda": 0.0, **common, **self.origin(subject)}
            if extractor is not None and distance is not None:
                name = metric_name(f"{self.name}_{extractor.name}_t{t}", self.num_pairs, subject.reference_name)
                against = {"lambda": 0.5, "reference": subject.reference_described, **self.origin(subject, extractor)}
                records[name + extractor.suffix + suffix] = {**distance.stated(), **common, **against}
        return records


def rmse(images: Images, others: Images) -> PerExample:
    """The root of the mean squared difference of each image to its other, on the scale 0–255."""
    return PIXEL_SCALE * (images.clamp(-1, 1) - others).square().flatten(1).mean(1).sqrt()
