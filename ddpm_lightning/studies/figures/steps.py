"""Steps against quality: the distance of samples to the data, by sampler and number of network calls."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import torch
from tqdm import tqdm

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler, end_of
from ddpm_lightning.errors import UserError, check_whole, counted
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.energy import energy_distance
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.runtime.plots import new_figure, write_plainly
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError, Records, metric_name
from ddpm_lightning.studies.figures.abstract_figure import Figure, SingleProcessFigure
from ddpm_lightning.studies.figures.canvas import draw_errors, mark
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.studies.figures.plane import are_points
from ddpm_lightning.training.generate import with_progress
from ddpm_lightning.typing import FeatureVectors, Images, Indices, PointCloud

log = logging.getLogger(__name__)

MOST_TEST_POINTS = 5000
"""The most test points. All their distances to the generated points are in memory at once."""

DEFAULT_CALLS = (5, 10, 20, 50, 100)
"""Numbers of network calls that are compared by default."""

Distances = dict[str, dict[int, MeanAndError]]
"""The mean distance over draws, by sampler and network calls."""


@dataclass
class Steps(SingleProcessFigure):
    """Measures the distance of samples to the data, by sampler and number of network calls for each sample.

    The distance is the Fréchet distance of features, or for points the energy distance to test points. Draw k has the
    images from number k · num_images on, from the same noise for every sampler. Errors are over draws.

    Args:
        samplers: The samplers by name. Their `num_steps` follows from the number of calls. None leaves one out.
        calls: Numbers of network calls. None means those of 5, 10, 20, 50 and 100 that do not exceed T.
        extractor: Computes the features of images. Points need none.
        num_draws: Number of draws, in 2..1000.
    """

    samplers: dict[str, Sampler | None]
    calls: list[int] | None = None
    extractor: Extractor | None = None
    num_draws: int = 3

    name = "steps"
    measures_distance = True

    def check(self, subject: Subject) -> None:
        trained, images = self.trained(subject), self.generated(subject)
        if are_points(trained):
            self._check_points(images.n)
        else:
            self._check_pictures(subject, images.n)
        self.check_count("num_draws", 2, 1000)
        wanted = self._calls(trained.model)
        if not wanted or not any(self.samplers.values()):
            raise UserError("steps has no samplers or no calls to compare; leave the options out for the usual ones")
        if len(set(wanted)) < len(wanted):
            raise UserError(f"{self.option('calls')}={wanted} names a number twice; give each once")
        for calls in wanted:
            check_whole(self.option("calls"), calls, 1, "give a number of network calls; use 5")
        for name, calls, sampler in self._all(trained.model):
            self._check_chain(name, calls, sampler, trained.model)

    def _check_chain(self, name: str, calls: int, sampler: Sampler, model: DenoisingDiffusion) -> None:
        """Raises UserError if the sampler cannot make this number of network calls."""
        mend = f"{self.option('samplers')}.{name}=null leaves it out, {self.option('calls')}= asks for others"
        traits = sampler.traits
        if (calls + traits.calls_saved) % traits.calls_per_step:
            fewer = f" and {traits.calls_saved} fewer in all" if traits.calls_saved else ""
            raise UserError(
                f"{name} makes {traits.calls_per_step} network calls at each step{fewer}, so never {calls}; {mend}"
            )
        try:
            sampler.chain(model)
        except UserError as error:
            raise UserError(f"{name} cannot walk in {calls} network calls ({error}); {mend}") from error

    def _check_points(self, n: int) -> None:
        check_whole("num_images", n, 2, "an energy distance needs pairs of points; use 1000")
        if self.extractor is not None:
            raise UserError("the distance of points needs no features, and extractor= computes them; leave it out")

    def _check_pictures(self, subject: Subject, n: int) -> None:
        self.check_model(subject)
        if self.extractor is None:
            raise UserError("steps measures a distance of features, and there is no extractor; add extractor=digits")
        self.check_distance(n, "generated")

    def draw(self, subject: Subject) -> Records:
        """Returns the distance by sampler and calls; writes NAME.png."""
        images, judge = self.generated(subject), self._judge(subject)
        lengths = [sampler.chain(images.model).process.T for *_, sampler in self._all(images.model)]
        total = images.n * self.num_draws * sum(lengths)
        found: Distances = {}
        with progress_bar(total=total, desc=self.name, unit="image step", unit_scale=True, leave=False) as bar:
            for name, calls, sampler in self._all(images.model):
                chain = Chain(subject, replace(images, sampler=sampler))
                found.setdefault(name, {})[calls] = self._distance(judge, chain, bar)
        self._draw(judge, subject, found)
        return self._records(judge, subject, found)

    def _calls(self, model: DenoisingDiffusion) -> list[int]:
        T = model.process.T
        return ([calls for calls in DEFAULT_CALLS if calls <= T] or [T]) if self.calls is None else self.calls

    def _all(self, model: DenoisingDiffusion) -> Iterator[tuple[str, int, Sampler]]:
        """Yields every sampler with every number of calls."""
        kept = {name: sampler for name, sampler in self.samplers.items() if sampler is not None}
        for (name, sampler), calls in product(kept.items(), self._calls(model)):
            yield (
                name,
                calls,
                replace(sampler, num_steps=(calls + sampler.traits.calls_saved) // sampler.traits.calls_per_step),
            )

    def _judge(self, subject: Subject) -> "Judge":
        if self.extractor is not None:
            return FeatureJudge(self, subject, self.extractor.to(subject.fabric.device))
        return PointJudge(self.images_of(subject, "test", first=MOST_TEST_POINTS).flatten(1).cpu())

    def _distance(self, judge: "Judge", chain: Chain, bar: "tqdm[Any]") -> MeanAndError:
        """Returns the mean distance of one sampler over all draws."""
        draws = torch.split(torch.arange(self.num_draws * chain.images.n), chain.images.n)
        found = [judge.distance(self._sampled(judge, chain, numbers, bar)) for numbers in draws]
        for each in found:
            if each.warning:
                log.warning("A distance of %s is %s", chain.images.sampler, each.warning)
        return MeanAndError.of(torch.tensor([each.value for each in found], dtype=torch.float64))

    def _sampled(self, judge: "Judge", chain: Chain, numbers: Indices, bar: "tqdm[Any]") -> FeatureVectors:
        """Generates the samples of these numbers, and returns what the judge keeps of them."""
        batches = [part.tolist() for part in torch.split(numbers, chain.images.batch_size)]
        return torch.cat([judge.see(chain, end_of(with_progress(chain.whole(b), bar, len(b)))) for b in batches])

    def _draw(self, judge: "Judge", subject: Subject, found: Distances) -> None:
        figure, axes = new_figure()
        for name, by_calls in found.items():
            draw_errors(axes, by_calls, label=name.replace("_", " "))
        n = self.generated(subject).n
        axes.set(xscale="log", xlabel="network calls a sample")
        judge.scale(axes, n)
        mark(axes, self._calls(self.trained(subject).model))
        axes.legend(fontsize="x-small")
        sentence = (
            f"How far {counted(n, 'sample is', 'samples are')} from the data, by network calls; means and standard "
            f"errors over "
            f"{counted(self.num_draws, 'draw')}, each from the same noise for all samplers."
        )
        self.save_curves(subject, figure, sentence)

    def _records(self, judge: "Judge", subject: Subject, found: Distances) -> Records:
        trained, n = self.trained(subject), self.generated(subject).n
        records: Records = {}
        for name, calls, sampler in self._all(trained.model):
            each = found[name][calls]
            suffix = judge.suffix + trained.variance_suffix_of(sampler) + trained.suffix
            records[metric_name(f"{self.name}_{name}_{calls}_{judge.name}", n, judge.against, suffix)] = {
                "value": each.mean,
                "standard_error_over_draws": each.standard_error,
                "num_draws": self.num_draws,
                "num_images": n,
                "sampler": str(sampler),
                "network_calls": sampler.calls(trained.model),
                **judge.origin,
                **trained.origin,
            }
        return records


class Judge(Protocol):
    """Measures the distance of samples to the data.

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
