"""Progressive generation (Section 4.3, Fig. 6, 10, 14): what is known of an image, x̂_0, while the chain still runs."""

from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from ddpm_lightning.errors import check_at_most, check_whole
from ddpm_lightning.figures.canvas import grid, new_figure, save_animation, save_figure, say
from ddpm_lightning.figures.figure import Figure
from ddpm_lightning.figures.latents import Chain
from ddpm_lightning.metrics.extractor import Extractor
from ddpm_lightning.metrics.reference import Reference, frechet_distance, statistics_of
from ddpm_lightning.metrics.scores import FrechetDistance
from ddpm_lightning.training.evaluation.fabric import add_up
from ddpm_lightning.training.evaluation.subject import Subject
from ddpm_lightning.training.pictures import picture
from ddpm_lightning.typing import FeatureVectors


@dataclass
class ProgressiveGeneration(Figure):
    """x̂_0 (Eq. 15) along t: as a strip, as an animation, and its Fréchet distance to real images against t.

    num_moments: how many steps are looked at for the distance, and for the animation. num_rows, num_columns: of the
    strip. Processes share the images. All features are held in memory: num_images · num_moments · d floats.
    """

    extractor: Extractor | None = None
    num_moments: int = 40
    num_rows: int = 8
    num_columns: int = 10

    name = "progressive_generation"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, no extractor, or too few images."""
        self.trained(subject)
        FrechetDistance().check(self.generated(subject).n, self.needed(self.extractor).num_features, "generated")
        for key in ("num_moments", "num_rows", "num_columns"):
            check_whole(f"figure.{self.name}.{key}", getattr(self, key), 2, "fewer show no progress")
        check_at_most(f"figure.{self.name}.num_rows", self.num_rows, 64, "no eye takes in more")

    def look(self, subject: Subject) -> None:
        """Sees to the features of the real images."""
        FrechetDistance().check_reference(self._real(subject), self.needed(self.extractor).num_features)

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """The distance of x̂_0 at every moment; progressive_generation.png, …_strip.png and ….gif."""
        chain = Chain(subject, self.generated(subject))
        moments = _spread_over(chain.length, self.num_moments)
        features = self._features(chain, moments)
        if not subject.fabric.is_global_zero:
            return {}
        real = self._real(subject)
        distances = [frechet_distance(statistics_of(seen), real.statistics) for seen in features]
        self._draw_curve(chain, moments, distances, real.floor(chain.images.n))
        self._draw_images(chain, moments)
        return {f"{self.name}{chain.images.suffix}": self._record(chain, moments, distances)}

    def _real(self, subject: Subject) -> Reference:
        return subject.reference_features(self.needed(self.extractor))

    def _features(self, chain: Chain, moments: list[int]) -> list[FeatureVectors]:
        """Of every image's x̂_0, at each of these steps; from all processes."""
        images, fabric = chain.images, chain.subject.fabric
        extractor = self.needed(self.extractor).to(fabric.device)
        found = torch.zeros(len(moments), images.n, extractor.num_features)
        mine = torch.split(torch.arange(images.n), images.batch_size)[fabric.global_rank :: fabric.world_size]
        with tqdm(total=len(mine) * chain.length, desc=self.name, disable=not fabric.is_global_zero) as bar:
            for numbers in mine:
                for step in chain.samples(numbers.tolist()):
                    bar.update()
                    if step.t in moments:
                        pixels = images.data.pixels.to_bytes(step.x_0_hat)
                        found[moments.index(step.t), numbers] = extractor.extract(pixels).features.float().cpu()
        return [add_up(fabric)(features) for features in found]

    def _draw_curve(self, chain: Chain, moments: list[int], distances: list[float], floor: float | None) -> None:
        figure = new_figure()
        axes = figure.add_subplot(xlabel="reverse steps taken (T − t + 1)", ylabel="Fréchet distance", yscale="log")
        axes.plot([chain.length - t + 1 for t in moments], distances, marker=".", label="x̂_0 at x_t")
        if floor is not None:
            axes.axhline(floor, color="grey", linestyle="--", label="as many fresh real images, about")
        axes.legend()
        axes.grid(alpha=0.3)
        say(
            figure,
            f"Distance of x̂_0 to the {chain.subject.split} split, by features of {self.needed(self.extractor).name}, "
            f"as the chain runs; {chain.images.n} images. The paper's Fig. 10.",
        )
        save_figure(figure, chain.subject.run_dir / f"{self.name}.png")

    def _draw_images(self, chain: Chain, moments: list[int]) -> None:
        """The strip and the animation, of the images that sample.py makes first."""
        columns = _spread_over(chain.length, self.num_columns)
        steps = {step.t: step for step in chain.samples(range(self.num_rows)) if step.t in {*moments, *columns}}
        seen = {t: chain.images.data.pixels.to_bytes(step.x_0_hat).cpu() for t, step in steps.items()}
        cells = [[seen[t][row] for t in columns] for row in range(self.num_rows)]
        figure = grid(
            cells,
            [f"t = {chain.known_as(t)}" for t in columns],
            [""] * self.num_rows,
            "x̂_0 (Eq. 15) along t, a row an image: coarse first, fine last. The paper's Fig. 6.",
        )
        save_figure(figure, chain.subject.run_dir / f"{self.name}_strip.png")
        frames = [picture(seen[t]) for t in moments]
        save_animation(frames, chain.subject.run_dir / f"{self.name}.gif")

    def _record(self, chain: Chain, moments: list[int], distances: list[float]) -> dict[str, Any]:
        extractor = self.needed(self.extractor)
        return {
            "value": distances[-1],
            "what": "Fréchet distance of x̂_0 at the last step; by_t: at every t that was looked at",
            "by_t": {str(chain.known_as(t)): distance for t, distance in zip(moments, distances, strict=True)},
            "num_images": chain.images.n,
            "reference": chain.subject.reference_name,
            "extractor": extractor.name,
            "extractor_sha256": extractor.fingerprint,
            **chain.images.origin,
        }


def _spread_over(length: int, number: int) -> list[int]:
    """So many steps of the chain, from the first one walked, `length`, to the last, 1."""
    return sorted({round(t) for t in torch.linspace(length, 1, min(number, length)).tolist()}, reverse=True)
