"""Steps against quality: how near to the data samplers come, by how often they ask the network."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol

import torch
from tqdm import tqdm

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler, end_of
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.energy import energy_distance
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.runtime.plots import new_figure, write_plainly
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError, metric_name
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import draw_errors, mark, save_curves
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.studies.figures.plane import are_points
from ddpm_lightning.training.generate import counted
from ddpm_lightning.typing import FeatureVectors, Images, Indices, PointCloud

log = logging.getLogger(__name__)

MOST_TEST_POINTS = 5000
"""All their distances to the points made are held at once."""

USUAL = (5, 10, 20, 50, 100)
"""Network calls that are compared, unless others are asked for."""

By = dict[str, dict[int, MeanAndError]]
"""The distance by sampler and network calls, over draws."""


@dataclass
class Steps(Figure):
    """The distance of num_images images (of points: the energy distance to test points) by sampler and network calls an
    image. Draw number k of num_draws has images k · num_images …, from the same noise for every sampler; the errors are
    over draws. One process does the work.

    samplers: by name; whatever num_steps they have, they get what so many `calls` allow. calls: None for 5, 10, 20, 50
    and 100, as far as the chain goes.
    """

    samplers: dict[str, Sampler | None]
    calls: list[int] | None = None
    extractor: Extractor | None = None
    num_draws: int = 3

    name = "steps"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, nothing to measure by, or no such chain."""
        trained, images = self.trained(subject), self.generated(subject)
        if are_points(trained):
            self._check_points(images.n)
        else:
            self._check_images(subject, images.n)
        check_whole(self.option("num_draws"), self.num_draws, 2, "an error needs two; use 3")
        check_at_most(self.option("num_draws"), self.num_draws, 1000, "each is num_images images; use 3")
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
        """Raises UserError where the sampler cannot walk so that it asks the network so often."""
        mend = f"{self.option('samplers')}.{name}=null leaves it out, {self.option('calls')}= asks for others"
        if calls % sampler.calls_per_step:
            raise UserError(
                f"{name} makes {sampler.calls_per_step} network calls at each step, so never {calls}; {mend}"
            )
        try:
            sampler.chain(model)
        except UserError as error:
            raise UserError(f"{name} cannot walk in {calls} network calls ({error}); {mend}") from error

    def _check_points(self, n: int) -> None:
        check_whole("num_images", n, 2, "the distance is of pairs; use 1000")
        if self.extractor is not None:
            raise UserError("points are near or far by their places, and extractor= sees images; leave it out")

    def _check_images(self, subject: Subject, n: int) -> None:
        self.check_model(subject)
        if self.extractor is None:
            raise UserError("steps measures a distance, and nothing tells near from far; add extractor=digits, say")
        self.check_distance(n, "generated")

    def look(self, subject: Subject) -> None:
        """Sees to the features of the real images."""
        self.look_at_reference(subject)

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """The distance by sampler and calls; steps.png."""
        if not subject.fabric.is_global_zero:
            return {}
        images, judge = self.generated(subject), self._judge(subject)
        total = (
            images.n
            * self.num_draws
            * sum(sampler.chain(images.model).process.T for *_, sampler in self._all(images.model))
        )
        found: By = {}
        with progress_bar(total=total, desc=self.name, unit="image step", unit_scale=True, leave=False) as bar:
            for name, calls, sampler in self._all(images.model):
                chain = Chain(subject, replace(images, sampler=sampler))
                found.setdefault(name, {})[calls] = self._draws(judge, chain, bar)
        self._draw(judge, subject, found)
        return self._records(judge, subject, found)

    def _calls(self, model: DenoisingDiffusion) -> list[int]:
        T = model.process.T
        return ([calls for calls in USUAL if calls <= T] or [T]) if self.calls is None else self.calls

    def _all(self, model: DenoisingDiffusion) -> Iterator[tuple[str, int, Sampler]]:
        """Every sampler at every number of calls."""
        kept = {name: sampler for name, sampler in self.samplers.items() if sampler is not None}
        for (name, sampler), calls in product(kept.items(), self._calls(model)):
            yield name, calls, replace(sampler, num_steps=calls // sampler.calls_per_step)

    def _judge(self, subject: Subject) -> "Judge":
        if self.extractor is not None:
            return ByFeatures(self, subject, self.extractor.to(subject.fabric.device))
        return ByPlace(self.images_of(subject, "test", first=MOST_TEST_POINTS).flatten(1).cpu())

    def _draws(self, judge: "Judge", chain: Chain, bar: "tqdm[Any]") -> MeanAndError:
        draws = torch.split(torch.arange(self.num_draws * chain.images.n), chain.images.n)
        found = [judge.distance(self._made(judge, chain, numbers, bar)) for numbers in draws]
        for each in found:
            if each.warning:
                log.warning("A distance of %s is %s", chain.images.sampler, each.warning)
        return MeanAndError.of(torch.tensor([each.value for each in found], dtype=torch.float64))

    def _made(self, judge: "Judge", chain: Chain, numbers: Indices, bar: "tqdm[Any]") -> FeatureVectors:
        """What is seen of the images of these numbers."""
        batches = [part.tolist() for part in torch.split(numbers, chain.images.batch_size)]
        return torch.cat([judge.see(chain, end_of(counted(chain.whole(b), bar, len(b)))) for b in batches])

    def _draw(self, judge: "Judge", subject: Subject, found: By) -> None:
        figure, axes = new_figure()
        for name, by_calls in found.items():
            draw_errors(axes, by_calls, label=name.replace("_", " "))
        n = self.generated(subject).n
        axes.set(xscale="log", xlabel="network calls a sample")
        judge.scale(axes, n)
        mark(axes, self._calls(self.trained(subject).model))
        axes.legend(fontsize="x-small")
        sentence = (
            f"How far {n} samples are from the data, by network calls; means and standard errors over "
            f"{self.num_draws} draws, each from the same noise for all samplers."
        )
        save_curves(figure, sentence, subject.run_dir / f"{self.name}.png")

    def _records(self, judge: "Judge", subject: Subject, found: By) -> dict[str, dict[str, Any]]:
        trained, n = self.trained(subject), self.generated(subject).n
        records = {}
        for name, calls, sampler in self._all(trained.model):
            each = found[name][calls]
            suffix = judge.suffix + trained.swapped_for(sampler) + trained.suffix
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
    """Tells how far samples are from the data. name, against, suffix: in the names of its numbers. origin: what
    results.json says of it."""

    name: str
    against: str
    suffix: str
    origin: dict[str, Any]

    def see(self, chain: Chain, x_0: Images) -> FeatureVectors:
        """What it sees of a batch of samples, on the CPU."""

    def distance(self, seen: FeatureVectors) -> Value:
        """Of all samples together."""

    def scale(self, axes: Any, n: int) -> None:
        """The axis of its distances, for n samples."""


class ByFeatures(Judge):
    """Images: by the Fréchet distance of their features."""

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


class ByPlace(Judge):
    """Points: by their energy distance to test points."""

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
