"""The base of figures that measure how far samples are from the data."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from tqdm import tqdm

from ddpm_lightning.diffusion.samplers import end_of
from ddpm_lightning.errors import UserError, check_whole, counted
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.energy import energy_distance
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.runtime.plots import write_plainly
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.studies.figures.abstract_figure import Figure, SingleProcessFigure
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.studies.figures.plane import are_points
from ddpm_lightning.training.generate import with_progress
from ddpm_lightning.typing import FeatureVectors, Images, Indices, PointCloud

log = logging.getLogger(__name__)

MOST_TEST_POINTS = 5000
"""The most test points. All their distances to the generated points are in memory at once."""


@dataclass(kw_only=True)
class DistanceFigure(SingleProcessFigure):
    """A figure of distances of samples to the data, each a mean over draws.

    The distance is the Fréchet distance of features, or for points the energy distance to test points. A draw is a set
    of num_images samples: draw k has those numbered from k · num_images on. Errors are standard errors over draws.

    Args:
        extractor: Computes the features of images. Points need none.
        num_draws: Number of draws, in 2..1000.
    """

    extractor: Extractor | None = None
    num_draws: int = 3

    measures_distance = True

    def check_samples(self, subject: Subject) -> None:
        """Raises UserError if the distance of the samples cannot be measured."""
        trained, images = self.trained(subject), self.generated(subject)
        if are_points(trained):
            self._check_points(images.n)
        else:
            self.check_pictures(subject, images.n)
        self.check_count("num_draws", 2, 1000)

    def _check_points(self, n: int) -> None:
        check_whole("num_images", n, 2, "an energy distance needs pairs of points; use 1000")
        if self.extractor is not None:
            raise UserError("the distance of points needs no features, and extractor= computes them; leave it out")

    def check_pictures(self, subject: Subject, n: int) -> None:
        """Raises UserError if the Fréchet distance of n samples cannot be measured."""
        self.check_model(subject)
        if self.extractor is None:
            raise UserError(
                f"{self.name} measures a distance of features, and there is no extractor; add extractor=digits"
            )
        self.check_distance(n, "generated")

    def judge(self, subject: Subject) -> "Judge":
        """Returns what measures the distance of samples to the data."""
        if self.extractor is not None:
            return FeatureJudge(self, subject, self.extractor.to(subject.fabric.device))
        return PointJudge(self.images_of(subject, "test", first=MOST_TEST_POINTS).flatten(1).cpu())

    def mean_distance(self, judge: "Judge", chain: Chain, bar: "tqdm[Any]") -> MeanAndError:
        """Returns the mean and the standard error, over num_draws sets of samples, of their distance to the data.

        Args:
            judge: Measures the distance of a set.
            chain: Generates the samples; each set has chain.images.n.
            bar: Moves on by one for each step of each image.
        """
        found = [
            judge.distance(torch.cat([judge.see(chain, x_0) for x_0 in self.sampled(chain, numbers, bar)]))
            for numbers in self.draws(chain)
        ]
        for each in found:
            if each.warning:
                log.warning("A distance of %s is %s", chain.images.sampler, each.warning)
        return MeanAndError.of(torch.tensor([each.value for each in found], dtype=torch.float64))

    def draws(self, chain: Chain) -> Sequence[Indices]:
        """Returns the numbers of the images of each draw."""
        return torch.split(torch.arange(self.num_draws * chain.images.n), chain.images.n)

    def sampled(self, chain: Chain, numbers: Indices, bar: "tqdm[Any]") -> Iterator[Images]:
        """Generates the images of these numbers, and yields them in batches. See `mean_distance` for the bar."""
        for part in torch.split(numbers, chain.images.batch_size):
            yield end_of(with_progress(chain.whole(part.tolist()), bar, len(part)))

    def record(self, subject: Subject, each: MeanAndError) -> dict[str, Any]:
        """Returns a mean over draws as a record of results.json."""
        errors = {"standard_error_over_draws": each.standard_error, "num_draws": self.num_draws}
        return {"value": each.mean, **errors, "num_images": self.generated(subject).n}

    def over_draws(self, compared: str) -> str:
        """Returns the part of a caption about means over draws. `compared` is what is compared, in the plural."""
        draws = counted(self.num_draws, "draw")
        return f"means and standard errors over {draws}, each from the same noise for all {compared}."

    def caption(self, subject: Subject, by: str, compared: str) -> str:
        """Returns the sentence below a figure of distances by something. See `over_draws` for `compared`."""
        samples = counted(self.generated(subject).n, "sample is", "samples are")
        return f"How far {samples} from the data, by {by}; {self.over_draws(compared)}"


@runtime_checkable
class Judge(Protocol):
    """Measures the distance of samples to the data: `see` each batch, then `distance` of all that was seen.

    name, against, suffix: parts of the names of its numbers. origin: what results.json records of it.
    """

    name: str
    against: str
    suffix: str
    origin: dict[str, Any]

    def see(self, chain: Chain, x_0: Images) -> FeatureVectors:
        """Returns what `distance` needs of a batch of samples, on the CPU: [b, d]."""

    def distance(self, seen: FeatureVectors) -> Value:
        """Returns the distance of all samples, given what `see` returned of them: [n, d]."""

    def scale(self, axes: Any, n: int) -> None:
        """Labels and scales the y axis for distances of n samples."""


class FeatureJudge(Judge):
    """Measures the Fréchet distance of images by their features."""

    def __init__(self, figure: Figure, subject: Subject, extractor: Extractor) -> None:
        self.figure, self.subject, self.extractor = figure, subject, extractor
        self.name, self.against, self.suffix = extractor.name, subject.reference_name, extractor.suffix
        self.origin = {"reference": subject.reference_described, **extractor.origin}

    def see(self, chain: Chain, x_0: Images) -> FeatureVectors:
        return extract_all(self.extractor, [chain.images.data.pixels.to_bytes(x_0)]).features

    def distance(self, seen: FeatureVectors) -> Value:
        return self.figure.distance(self.subject, self.extractor, seen)

    def scale(self, axes: Any, n: int) -> None:
        axes.set(yscale="log", ylabel=f"Fréchet distance\nby {self.name}")
        write_plainly(axes.yaxis)
        self.figure.draw_floor(axes, self.subject, self.extractor, n)


class PointJudge(Judge):
    """Measures the energy distance of points to test points."""

    name, against, suffix = "energy_distance", "test", ""

    def __init__(self, test_points: PointCloud) -> None:
        self.test_points = test_points
        self.origin = {"num_test_points": len(test_points)}

    def see(self, chain: Chain, x_0: Images) -> FeatureVectors:
        return x_0.flatten(1).cpu()

    def distance(self, seen: FeatureVectors) -> Value:
        return Value(energy_distance(seen, self.test_points))

    def scale(self, axes: Any, n: int) -> None:
        axes.set_yscale("symlog", linthresh=1e-3)
        low, high = axes.dataLim.intervaly
        axes.set_ylim(1.5 * min(0, low), 1.5 * high)
        axes.set_ylabel("energy distance to test points")
