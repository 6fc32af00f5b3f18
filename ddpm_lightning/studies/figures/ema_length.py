"""The length of the average against quality: the distance of samples to the data, for averages of one run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.plots import new_figure
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError, Records, metric_name
from ddpm_lightning.studies.figures.canvas import draw_errors
from ddpm_lightning.studies.figures.distance_figure import DistanceFigure, Judge
from ddpm_lightning.training.post_hoc_ema.profiles import check_length
from ddpm_lightning.training.post_hoc_ema.snapshots import KeptAverages, set_average


@dataclass
class EMALength(DistanceFigure):
    """Measures the distance of samples to the data, by the length of the average of the weights.

    The averages are rebuilt from one run with callbacks/ema=power. The noise is the same for every length. See
    `DistanceFigure` for the distance and the other arguments.

    Args:
        lengths: σ_rel of the averages, each in (0, 0.2886].

    References:
        Karras et al. (2024), "Analyzing and Improving the Training Dynamics of Diffusion Models", Figure 5.
    """

    lengths: list[float] = field(default_factory=lambda: [0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25])

    name = "ema_length"

    def check(self, subject: Subject) -> None:
        self.check_samples(subject)
        if not self.lengths or len(set(self.lengths)) < len(self.lengths):
            raise UserError(f"{self.option('lengths')}={self.lengths} is empty or names a length twice; give each once")
        for length in self.lengths:
            check_length(self.option("lengths"), length)
        if self.trained(subject).origin["weights"] != "ema":
            raise UserError("ema_length draws averages of several lengths; leave out use_ema= and ema_length=")
        self._kept(subject)

    def _kept(self, subject: Subject) -> KeptAverages:
        return KeptAverages(Path(self.trained(subject).origin["checkpoint"]))

    def draw(self, subject: Subject) -> Records:
        """Returns the distance by length; writes NAME.png."""
        chain, judge, kept = self.chain(subject), self.judge(subject), self._kept(subject)
        total = chain.images.n * self.num_draws * chain.length * len(self.lengths)
        found: dict[float, MeanAndError] = {}
        with (
            keeping_weights(chain.images.model),
            progress_bar(total=total, desc=self.name, unit="image step", unit_scale=True, leave=False) as bar,
        ):
            for length in sorted(self.lengths):
                set_average(chain.images.model, kept, length)
                found[length] = self.mean_distance(judge, chain, bar)
        self._draw(judge, subject, found)
        return self._records(judge, subject, found)

    def _draw(self, judge: Judge, subject: Subject, found: dict[float, MeanAndError]) -> None:
        figure, axes = new_figure()
        draw_errors(axes, found, label="samples")
        axes.set(xlabel="length of the average, as a share of the training")
        judge.scale(axes, self.generated(subject).n)
        axes.legend(fontsize="x-small")
        by = "the length of the average of the weights, all rebuilt from one run"
        self.save_curves(subject, figure, self.caption(subject, by, "lengths"))

    def _records(self, judge: Judge, subject: Subject, found: dict[float, MeanAndError]) -> Records:
        images = self.generated(subject)
        suffix = judge.suffix + images.suffix
        return {
            metric_name(f"{self.name}_{length:g}_{judge.name}", images.n, judge.against, suffix): {
                **self.record(subject, each),
                **judge.origin,
                **self.origin(subject),
                "weights": f"ema_{length:g}",
            }
            for length, each in found.items()
        }


@contextmanager
def keeping_weights(model: DenoisingDiffusion) -> Iterator[None]:
    """Gives the model its present weights back at the end."""
    weights = [weight.detach().clone() for weight in model.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(model.parameters(), weights, strict=True):
                weight.copy_(old)
