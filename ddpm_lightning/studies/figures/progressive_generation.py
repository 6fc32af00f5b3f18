"""Progressive generation (Section 4.3, Fig. 6, 10 and 14): the estimate x̂_0 while the chain runs."""

from dataclasses import dataclass
from typing import Any

import torch

from ddpm_lightning.errors import counted
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.runtime.pictures import picture
from ddpm_lightning.runtime.plots import new_figure
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import Records, add_up, metric_name
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import save_animation
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.training.generate import with_progress
from ddpm_lightning.typing import FeatureVectors


@dataclass
class ProgressiveGeneration(Figure):
    """Shows x̂_0 (Eq. 15) along t: as a strip, as an animation, and by its Fréchet distance to real images.

    Processes share the images. All features stay in memory: num_images · num_moments · d floats.

    Args:
        extractor: Computes the features of the Fréchet distance. None leaves the distance out.
        num_moments: Number of steps in the animation and in the curve of distances, in 2..200.
        num_rows: Number of images in the strip.
        num_columns: Number of steps in the strip, at least 2.
    """

    extractor: Extractor | None = None
    num_moments: int = 40
    num_rows: int = 8
    num_columns: int = 10

    name = "progressive_generation"
    measures_distance = True

    def check(self, subject: Subject) -> None:
        trained = self.check_model(subject)
        self.check_distance(self.generated(subject).n, "generated")
        self.check_count("num_moments", 2, 200)
        self.check_count("num_columns", 2)
        self.check_count("num_rows", 1)
        self.check_grid(trained, self.num_rows, self.num_columns)

    def measure(self, subject: Subject) -> Records:
        """Returns the distance of x̂_0 at each moment; writes NAME.png, NAME_strip.png and NAME.gif."""
        chain = self.chain(subject)
        if subject.fabric.is_global_zero:
            self._draw_images(chain)
        return {} if self.extractor is None else self._measure(chain, self.extractor.to(subject.fabric.device))

    def _measure(self, chain: Chain, extractor: Extractor) -> Records:
        subject, moments = chain.subject, _evenly_spaced(chain.length, self.num_moments)
        features = self._features(chain, extractor, moments)
        if not subject.fabric.is_global_zero:
            return {}
        found = {t: self.distance(subject, extractor, each) for t, each in zip(moments, features, strict=True)}
        self._draw_curve(chain, extractor, found)
        suffix = extractor.suffix + chain.images.suffix
        name = metric_name(f"{self.name}_{extractor.name}", chain.images.n, subject.reference_name, suffix)
        return {name: self._record(chain, extractor, found)}

    def _features(self, chain: Chain, extractor: Extractor, moments: list[int]) -> list[FeatureVectors]:
        """Returns the features of x̂_0 of all images, a tensor [n, d] for each visited step in `moments`.

        Each process computes those of its own images. Every process gets all.
        """
        images, fabric = chain.images, chain.subject.fabric
        found = torch.zeros(len(moments), images.n, extractor.num_features)
        mine = torch.split(torch.arange(images.n), images.batch_size)[fabric.global_rank :: fabric.world_size]
        total = sum(map(len, mine)) * chain.length
        hidden = not fabric.is_global_zero
        with progress_bar(total=total, desc=self.name, unit="image step", unit_scale=True, disable=hidden) as bar:
            for numbers in mine:
                for step in with_progress(chain.whole(numbers.tolist()), bar, len(numbers)):
                    if step.t in moments:
                        pixels = images.data.pixels.to_bytes(step.x_0_hat)
                        found[moments.index(step.t), numbers] = extract_all(extractor, [pixels]).features
        return [add_up(fabric, features) for features in found]

    def _draw_curve(self, chain: Chain, extractor: Extractor, found: dict[int, Value]) -> None:
        figure, axes = new_figure()
        steps = [chain.length - t + 1 for t in found]
        axes.plot(steps, [each.value for each in found.values()], marker=".", label="x̂_0 at x_t")
        self.draw_floor(axes, chain.subject, extractor, chain.images.n)
        axes.set(xlabel="reverse steps taken (T − t + 1)", ylabel="Fréchet distance", yscale="log")
        axes.legend()
        sentence = (
            f"Distance of x̂_0 to real images ({chain.subject.reference_described}) by features of {extractor.name}, "
            f"as the chain runs; {counted(chain.images.n, 'image')}. The paper's Fig. 10."
        )
        self.save_curves(chain.subject, figure, sentence)

    def _draw_images(self, chain: Chain) -> None:
        """Draws the strip and the animation of sample.py's first images."""
        columns, moments = (_evenly_spaced(chain.length, n) for n in (self.num_columns, self.num_moments))
        seen = chain.along(self.num_rows, {*columns, *moments})
        x_0_hat = {t: chain.to_bytes(step.x_0_hat) for t, step in seen.items()}
        cells = list(zip(*(x_0_hat[t] for t in columns), strict=True))
        titles = [f"t = {chain.known_as(t)}" for t in columns]
        sentence = "x̂_0 (Eq. 15) along t, a row an image. The paper's Fig. 6 and 14."
        self.save_grid(chain.subject, cells, titles, sentence, "_strip")
        save_animation([picture(x_0_hat[t]) for t in moments], chain.subject.run_dir / f"{self.name}.gif")

    def _record(self, chain: Chain, extractor: Extractor, found: dict[int, Value]) -> dict[str, Any]:
        return {
            **found[1].stated(),
            "what": "Fréchet distance of x̂_0 at the last step; by_t: at every t that was looked at",
            "by_t": {str(chain.known_as(t)): each.value for t, each in found.items()},
            "num_images": chain.images.n,
            "reference": chain.subject.reference_described,
            **self.origin(chain.subject, extractor),
        }


def _evenly_spaced(length: int, number: int) -> list[int]:
    """Returns `number` steps of the chain (all if there are fewer), evenly from the first walked, `length`, to 1."""
    return sorted({round(t) for t in torch.linspace(length, 1, min(number, length)).tolist()}, reverse=True)
