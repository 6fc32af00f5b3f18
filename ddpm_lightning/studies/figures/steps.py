"""Steps against quality: the distance of samples to the data, by sampler and number of network calls."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import Sampler, Traits
from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.plots import new_figure
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError, Records, metric_name
from ddpm_lightning.studies.figures.canvas import draw_errors, mark
from ddpm_lightning.studies.figures.distance_figure import DistanceFigure, Judge
from ddpm_lightning.studies.figures.latents import Chain

DEFAULT_CALLS = (5, 10, 20, 50, 100)
"""Numbers of network calls that are compared by default."""

Distances = dict[str, dict[int, MeanAndError]]
"""The mean distance over draws, by sampler and network calls."""


@dataclass
class Steps(DistanceFigure):
    """Measures the distance of samples to the data, by sampler and number of network calls for each sample.

    The noise is the same for every sampler. See `DistanceFigure` for the distance and the other arguments.

    Args:
        samplers: The samplers by name. Their `num_steps` follows from the number of calls. None leaves one out.
        calls: Numbers of network calls. None means those of 5, 10, 20, 50 and 100 that do not exceed T.
    """

    samplers: dict[str, Sampler | None]
    calls: list[int] | None = None

    name = "steps"

    def check(self, subject: Subject) -> None:
        self.check_samples(subject)
        trained = self.trained(subject)
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
        if traits.calls(traits.steps_within(calls)) != calls:
            raise UserError(
                f"{name} makes {traits.calls_per_step} network calls at each step{_beside(traits)}, so never {calls}; "
                f"{mend}"
            )
        try:
            sampler.chain(model)
        except UserError as error:
            raise UserError(f"{name} cannot walk in {calls} network calls ({error}); {mend}") from error

    def draw(self, subject: Subject) -> Records:
        """Returns the distance by sampler and calls; writes NAME.png."""
        images, judge = self.generated(subject), self.judge(subject)
        lengths = [sampler.chain(images.model).process.T for *_, sampler in self._all(images.model)]
        total = images.n * self.num_draws * sum(lengths)
        found: Distances = {}
        with progress_bar(total=total, desc=self.name, unit="image step", unit_scale=True, leave=False) as bar:
            for name, calls, sampler in self._all(images.model):
                chain = Chain(subject, replace(images, sampler=sampler))
                found.setdefault(name, {})[calls] = self.mean_distance(judge, chain, bar)
        self._draw(judge, subject, found)
        return self._records(judge, subject, found)

    def _calls(self, model: DenoisingDiffusion) -> list[int]:
        T = model.process.T
        return ([calls for calls in DEFAULT_CALLS if calls <= T] or [T]) if self.calls is None else self.calls

    def _all(self, model: DenoisingDiffusion) -> Iterator[tuple[str, int, Sampler]]:
        """Yields every sampler with every number of calls."""
        kept = {name: sampler for name, sampler in self.samplers.items() if sampler is not None}
        for (name, sampler), calls in product(kept.items(), self._calls(model)):
            yield name, calls, replace(sampler, num_steps=sampler.traits.steps_within(calls))

    def _draw(self, judge: Judge, subject: Subject, found: Distances) -> None:
        figure, axes = new_figure()
        for name, by_calls in found.items():
            draw_errors(axes, by_calls, label=name.replace("_", " "))
        axes.set(xscale="log", xlabel="network calls a sample")
        judge.scale(axes, self.generated(subject).n)
        mark(axes, self._calls(self.trained(subject).model))
        axes.legend(fontsize="x-small")
        self.save_curves(subject, figure, self.caption(subject, "network calls", "samplers"))

    def _records(self, judge: Judge, subject: Subject, found: Distances) -> Records:
        trained, images = self.trained(subject), self.generated(subject)
        asked = {name: images.origin.get(name) for name in images.wanted}
        records: Records = {}
        for name, calls, sampler in self._all(trained.model):
            suffix = judge.suffix + trained.variance_suffix_of(sampler) + images.wanted_suffix + trained.suffix
            records[metric_name(f"{self.name}_{name}_{calls}_{judge.name}", images.n, judge.against, suffix)] = {
                **self.record(subject, found[name][calls]),
                "sampler": str(sampler),
                "network_calls": sampler.calls(trained.model),
                **judge.origin,
                **trained.origin,
                **asked,
            }
        return records


def _beside(traits: Traits) -> str:
    """Returns what is left to say of a sampler's network calls beside those of each step, such as " and 1 fewer"."""
    added = traits.calls_added - traits.calls_saved
    return f" and {abs(added)} {'more' if added > 0 else 'fewer'} in all" if added else ""
