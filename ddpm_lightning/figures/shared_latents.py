"""Shared latents (Section 4.3, Fig. 7): several x_0 from one x_t have in common what t has fixed already."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.figures.canvas import grid, new_figure, save_figure, say
from ddpm_lightning.figures.figure import Figure
from ddpm_lightning.figures.latents import Chain
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.training.evaluation.subject import Subject
from ddpm_lightning.training.results import MeanAndError
from ddpm_lightning.typing import Images, ImageSets, LabelSets, PerExample, Pixels


class Family(NamedTuple):
    """What one t gives: x_t, [n, …], and num_samples draws of x_0 from each, [n · num_samples, …], both in 0..255."""

    x_t: Pixels
    x_0: Pixels


@dataclass
class SharedLatents(Figure):
    """num_samples draws x_0 ~ p_θ(x_0 | x_t) from each of num_latents x_t, for every t of the list.

    How alike they are: how often two of one x_t are of one class, as the extractor's classifier sees them, and how far
    they are apart in pixels. The first num_rows x_t are drawn. One process does the work.
    """

    t: list[int]
    extractor: Extractor | None = None
    num_latents: int = 64
    num_samples: int = 8
    num_rows: int = 4

    name = "shared_latents"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, no extractor, or no such t."""
        self.check_steps(self.t, self.trained(subject))
        if not self.generated(subject).sampler.random:
            raise UserError(
                "shared_latents draws several x_0 from one x_t, and this sampler would draw the same one each time; "
                "take sampler=ancestral, or sampler=ddim sampler.eta=1"
            )
        self.needed(self.extractor)
        check_whole(f"figure.{self.name}.num_latents", self.num_latents, 2, "an error needs two")
        check_whole(f"figure.{self.name}.num_samples", self.num_samples, 2, "one x_0 has nothing to be compared with")
        check_whole(f"figure.{self.name}.num_rows", self.num_rows, 1, "an x_t is a row")
        check_at_most(f"figure.{self.name}.num_rows", self.num_rows, self.num_latents, "num_latents are no more")

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Agreement in class and distance in pixels, by t; shared_latents.png and shared_latents_images.png."""
        if not subject.fabric.is_global_zero:
            return {}
        chain = Chain(subject, self.generated(subject))
        families = self._families(chain)
        agreement = {t: self._agreement(chain, family) for t, family in families.items()}
        distance = {t: self._distance(family) for t, family in families.items()}
        self._draw_curves(chain, agreement, distance)
        self._draw_images(chain, families)
        suffix = chain.images.suffix
        return {
            **{f"{self.name}_same_class_t{t}{suffix}": self._record(chain, t, each) for t, each in agreement.items()},
            **{
                f"{self.name}_rmse_t{t}{suffix}": self._record(chain, t, each, "of 0–255")
                for t, each in distance.items()
            },
        }

    def _families(self, chain: Chain) -> dict[int, Family]:
        to_bytes = chain.images.data.pixels.to_bytes
        found = {}
        for t, x_t in sorted(self._latents(chain).items(), reverse=True):
            numbers = range(self.num_latents * self.num_samples)
            x_0 = chain.decode(x_t.repeat_interleave(self.num_samples, 0), t, numbers, f"shared x_{t}")
            found[t] = Family(to_bytes(x_t), to_bytes(x_0))
        return found

    def _latents(self, chain: Chain) -> dict[int, Images]:
        """x_t of sample.py's first images on their way, at each t."""
        wanted = {chain.place(t) for t in self.t}
        noise = chain.noise(range(self.num_latents), "image")
        x = chain.start(noise)
        found = {chain.length: x}
        for step in chain.walk(x, chain.length, noise):
            found[step.t - 1] = step.x
            if step.t - 1 <= min(wanted):
                break
        return {chain.known_as(step): x for step, x in found.items() if step in wanted}

    def _agreement(self, chain: Chain, family: Family) -> MeanAndError:
        extractor = self.needed(self.extractor).to(chain.device)
        labels = extract_all(extractor, torch.split(family.x_0, chain.images.batch_size)).logits.argmax(1)
        return _mean(share_of_pairs(labels.reshape(-1, self.num_samples)))

    def _distance(self, family: Family) -> MeanAndError:
        return _mean(rmse_of_pairs(family.x_0.reshape(-1, self.num_samples, *family.x_0.shape[1:])))

    def _draw_curves(self, chain: Chain, agreement: dict[int, MeanAndError], distance: dict[int, MeanAndError]) -> None:
        figure = new_figure(10, 4)
        classes, pixels = figure.subplots(1, 2)
        for axes, found in ((classes, agreement), (pixels, distance)):
            means, errors = [each.mean for each in found.values()], [each.standard_error for each in found.values()]
            axes.errorbar(list(found), means, errors, marker="o", capsize=3)
            axes.set_xlabel("t of the shared x_t")
            axes.grid(alpha=0.3)
        classes.set_ylabel("share of pairs of one class")
        pixels.set_ylabel("distance of a pair (RMSE of 0–255)")
        say(
            figure,
            f"How alike two x_0 of one x_t are, by t: in class (as {self.needed(self.extractor).name} sees it) and in "
            f"pixels; {self.num_samples} x_0 of each of {self.num_latents} x_t, bars are standard errors over the x_t.",
        )
        save_figure(figure, chain.subject.run_dir / f"{self.name}.png")

    def _draw_images(self, chain: Chain, families: dict[int, Family]) -> None:
        cells: list[list[Tensor | None]] = []
        rows = []
        for t, family in families.items():
            for number in range(self.num_rows):
                own = family.x_0[number * self.num_samples : (number + 1) * self.num_samples]
                cells.append([family.x_t[number], None, *own])
                rows.append(f"share x_{t}" if number == 0 else "")
        columns = ["x_t", "", *["x_0"] * self.num_samples]
        sentence = "A row: x_t, and several x_0 ~ p_θ(x_0 | x_t). The less noise x_t has, the more they share. Fig. 7."
        save_figure(grid(cells, columns, rows, sentence), chain.subject.run_dir / f"{self.name}_images.png")

    def _record(self, chain: Chain, t: int, found: MeanAndError, unit: str | None = None) -> dict[str, Any]:
        return {
            "value": found.mean,
            "standard_error": found.standard_error,
            **({"unit": unit} if unit else {}),
            "t": t,
            "num_latents": self.num_latents,
            "num_samples": self.num_samples,
            "extractor": self.needed(self.extractor).name,
            **chain.images.origin,
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


def _mean(values: PerExample) -> MeanAndError:
    found = MeanAndError()
    found.update(values)
    return found
