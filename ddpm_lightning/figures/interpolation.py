"""Interpolation (Section 4.4, Fig. 8, 9): between two images, in the latent space of x_t."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.figures.canvas import grid, new_figure, save_figure, say
from ddpm_lightning.figures.figure import Figure
from ddpm_lightning.figures.latents import Chain
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.reference import Reference, frechet_distance, statistics_of
from ddpm_lightning.metrics.scores import FrechetDistance
from ddpm_lightning.training.evaluation.subject import Subject, Trained
from ddpm_lightning.training.results import MeanAndError
from ddpm_lightning.typing import Images, PerExample

SPLIT = "test"
"""Where the images come from: the model has not seen them."""


class Pairs(NamedTuple):
    """n pairs of images, x_0 and x'_0, [n, c, h, w] both."""

    first: Images
    second: Images


@dataclass
class Interpolation(Figure):
    """x̄_t = (1 − λ) x_t + λ x'_t with x_t ~ q(x_t | x_0), x'_t ~ q(x_t | x'_0), and x̄_0 ~ p_θ(x_0 | x̄_t).

    As in the paper, the noise is the same for every λ; ours is also the same for every t. Two pictures: num_rows pairs
    at shown_t, and the first pair at every t, each at num_lambdas λ from 0 to 1. Over num_pairs pairs it is measured
    how far x̄_0 is from x_0 at λ = 0, and how real x̄_0 looks at λ = ½ (Fréchet distance). One process does the work.
    """

    t: list[int]
    extractor: Extractor | None = None
    num_lambdas: int = 11
    num_rows: int = 6
    shown_t: int = 500
    num_pairs: int = 128

    name = "interpolation"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, no extractor, no such t, or too few images."""
        trained = self.trained(subject)
        self.generated(subject)
        self.check_steps(self.t, trained, least=0)
        self.check_steps([self.shown_t], trained, least=0)
        check_whole(f"figure.{self.name}.num_lambdas", self.num_lambdas, 2, "λ has two ends")
        check_at_most(f"figure.{self.name}.num_lambdas", self.num_lambdas, 64, "no eye takes in more")
        check_whole(f"figure.{self.name}.num_rows", self.num_rows, 1, "a pair is a row")
        check_at_most(f"figure.{self.name}.num_rows", self.num_rows, self.num_pairs, "num_pairs are no more")
        FrechetDistance().check(self.num_pairs, self.needed(self.extractor).num_features, "interpolated")
        self._check_split(trained)

    def look(self, subject: Subject) -> None:
        """Sees to the features of the real images."""
        FrechetDistance().check_reference(self._real(subject), self.needed(self.extractor).num_features)

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """The error at λ = 0 and the Fréchet distance at λ = ½, by t; interpolation.png, …_pairs.png, …_depths.png."""
        if not subject.fabric.is_global_zero:
            return {}
        chain = Chain(subject, self.generated(subject))
        pairs = self._pairs(chain)
        self._draw_pairs(chain, pairs)
        self._draw_depths(chain, pairs)
        ts = chain.nearest_of(self.t)
        errors = {t: self._error_at_the_end(chain, pairs, t) for t in ts}
        distances = {t: self._distance_in_the_middle(chain, pairs, t) for t in ts}
        self._draw_curves(chain, errors, distances, self._real(subject).floor(self.num_pairs))
        record = {"num_pairs": self.num_pairs, "split": SPLIT, **chain.images.origin}
        suffix = chain.images.suffix
        said_of = {"extractor": self.needed(self.extractor).name, "reference": subject.reference_name}
        return {
            **{
                f"{self.name}_rmse_t{t}{suffix}": {
                    **{"value": error.mean, "standard_error": error.standard_error, "unit": "of 0–255", "lambda": 0.0},
                    **record,
                }
                for t, error in errors.items()
            },
            **{
                f"{self.name}_distance_t{t}{suffix}": {"value": distance, "lambda": 0.5, **said_of, **record}
                for t, distance in distances.items()
            },
        }

    def _check_split(self, trained: Trained) -> None:
        n = len(trained.data.images(SPLIT))
        if 2 * self.num_pairs > n:
            raise UserError(
                f"figure.{self.name}.num_pairs={self.num_pairs} takes twice as many images, and the {SPLIT} split has "
                f"{n}; choose at most {n // 2}"
            )

    def _real(self, subject: Subject) -> Reference:
        return subject.reference_features(self.needed(self.extractor))

    def _pairs(self, chain: Chain) -> Pairs:
        """Image i of the test split with image num_pairs + i."""
        data = self.trained(chain.subject).data
        batches = data.in_order(SPLIT, chain.device, first=2 * self.num_pairs)
        first, second = torch.cat([batch.x_0 for batch in batches]).chunk(2)
        return Pairs(first, second)

    def _decoded(self, chain: Chain, pairs: Pairs, t: int, lambdas: list[float]) -> Tensor:
        """x̄_0 of every pair at every λ: [n, λ, c, h, w]; the noise belongs to the pair."""
        n, k = len(pairs.first), len(lambdas)
        numbers = [number for number in range(n) for _ in range(k)]
        x_t = chain.encode(pairs.first, t, range(n), "interpolation, first")
        other = chain.encode(pairs.second, t, range(n), "interpolation, second")
        share = torch.tensor(lambdas * n, device=x_t.device).reshape(-1, 1, 1, 1)
        mixed = (1 - share) * x_t.repeat_interleave(k, 0) + share * other.repeat_interleave(k, 0)
        return chain.decode(mixed, t, numbers, "interpolation, decoded").reshape(n, k, *x_t.shape[1:])

    def _error_at_the_end(self, chain: Chain, pairs: Pairs, t: int) -> MeanAndError:
        back = self._decoded(chain, pairs, t, [0.0])[:, 0]
        found = MeanAndError()
        found.update(rmse(back, pairs.first))
        return found

    def _distance_in_the_middle(self, chain: Chain, pairs: Pairs, t: int) -> float:
        middle = chain.images.data.pixels.to_bytes(self._decoded(chain, pairs, t, [0.5])[:, 0])
        extractor = self.needed(self.extractor).to(chain.device)
        features = extract_all(extractor, torch.split(middle, chain.images.batch_size)).features
        return frechet_distance(statistics_of(features), self._real(chain.subject).statistics)

    def _lambdas(self) -> list[float]:
        return [place / (self.num_lambdas - 1) for place in range(self.num_lambdas)]

    def _row(self, chain: Chain, pairs: Pairs, t: int) -> list[list[Tensor | None]]:
        """Source, x̄_0 at every λ, source: a row a pair."""
        to_bytes = chain.images.data.pixels.to_bytes
        decoded = self._decoded(chain, pairs, t, self._lambdas())
        ends = zip(to_bytes(pairs.first), to_bytes(pairs.second), strict=True)
        return [
            [first, None, *to_bytes(between), None, second]
            for (first, second), between in zip(ends, decoded, strict=True)
        ]

    @property
    def _columns(self) -> list[str]:
        return ["source", "", *(f"λ={share:.2g}" for share in self._lambdas()), "", "source"]

    def _draw_pairs(self, chain: Chain, pairs: Pairs) -> None:
        t = chain.nearest(self.shown_t)
        rows = self._row(chain, Pairs(*(images[: self.num_rows] for images in pairs)), t)
        sentence = f"Pairs of test images, and what lies between them at t = {t}. The paper's Fig. 8."
        figure = grid(rows, self._columns, [""] * len(rows), sentence)
        save_figure(figure, chain.subject.run_dir / f"{self.name}_pairs.png")

    def _draw_depths(self, chain: Chain, pairs: Pairs) -> None:
        ts = chain.nearest_of(self.t)
        rows = [row for t in ts for row in self._row(chain, Pairs(*(images[:1] for images in pairs)), t)]
        sentence = "One pair at every t: with more noise, less of it is kept; t = 0 mixes pixels. The paper's Fig. 9."
        figure = grid(rows, self._columns, [f"t = {t}" for t in ts], sentence)
        save_figure(figure, chain.subject.run_dir / f"{self.name}_depths.png")

    def _draw_curves(
        self, chain: Chain, errors: dict[int, MeanAndError], distances: dict[int, float], floor: float | None
    ) -> None:
        figure = new_figure(10, 4)
        faithful, real = figure.subplots(1, 2)
        means, bars = [each.mean for each in errors.values()], [each.standard_error for each in errors.values()]
        faithful.errorbar(list(errors), means, bars, marker="o", capsize=3)
        faithful.set(xlabel="t", ylabel="distance of x̄_0 to x_0 at λ = 0 (RMSE of 0–255)")
        real.plot(list(distances), list(distances.values()), marker="o", label="x̄_0 at λ = ½")
        if floor is not None:
            real.axhline(floor, color="grey", linestyle="--", label="as many fresh real images, about")
        real.set(xlabel="t", ylabel="Fréchet distance", yscale="log")
        real.legend()
        for axes in (faithful, real):
            axes.grid(alpha=0.3)
        say(
            figure,
            f"What deeper latents cost and buy, over {self.num_pairs} pairs of test images: left, how far the encoding "
            f"of an image leads away from it; right, how far middles are from real images (features of "
            f"{self.needed(self.extractor).name}). Bars are standard errors over pairs.",
        )
        save_figure(figure, chain.subject.run_dir / f"{self.name}.png")


def rmse(images: Images, others: Images) -> PerExample:
    """The root of the mean squared difference of each image to its other, on the scale 0–255."""
    return 127.5 * (images.clamp(-1, 1) - others).square().flatten(1).mean(1).sqrt()
