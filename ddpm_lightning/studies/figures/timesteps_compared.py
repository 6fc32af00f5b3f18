"""How much the gradient of training varies by how t is drawn: a weighted loss, or t in proportion to the weight."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_lightning.diffusion.losses import Loss
from ddpm_lightning.diffusion.timesteps import TimestepDistribution
from ddpm_lightning.errors import check_at_most, check_whole
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.seeding import generator
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import save_curves
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.typing import Gradient, Images


@dataclass
class TimestepsCompared(Figure):
    """The gradient of one loss, its t drawn in several ways that all have the same expectation: how far is the gradient
    of a batch from its mean?

    loss, distributions: what is compared, by name. num_images: the first so many of the training images, of which
    batches are drawn; null for all, which are held at once. batch_size: of a gradient. num_pairs: independent pairs of
    gradients, g and g′, at the same weights: ½‖g − g′‖² is on average the variance (summed over weights), g·g′ the
    square of the mean. One process does the work.
    """

    loss: Loss
    distributions: dict[str, TimestepDistribution]
    num_images: int | None = 2048
    batch_size: int = 64
    num_pairs: int = 100

    name = "timesteps"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, the loss does not fit it, or there are fewer images."""
        trained = self.trained(subject)
        self.loss.check(trained.model.variance)
        check_whole(self.option("num_pairs"), self.num_pairs, 2, "one tells nothing of the others; use 100")
        check_at_most(self.option("num_pairs"), self.num_pairs, 100_000, "each is two gradients; use 100")
        check_whole(self.option("batch_size"), self.batch_size, 1, "a gradient is of some images; use 64")
        images = len(trained.data.images("train"))
        if self.num_images is not None:
            check_whole(self.option("num_images"), self.num_images, 1, "null is for all")
            images = min(images, self.num_images)
        check_at_most(self.option("batch_size"), self.batch_size, images, "of so many it is drawn")

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """The gradient's variance and mean by distribution; timesteps.png."""
        if not subject.fabric.is_global_zero:
            return {}
        trained = self.trained(subject)
        x_0 = self.images_of(subject, "train", first=self.num_images)
        found = {name: self._compare(subject, x_0, name) for name in self.distributions}
        self._draw(found, subject.run_dir / f"{self.name}.png")
        return {
            f"gradient_variance_{name}{trained.swapped}{trained.suffix}": {**variation.told(), **self._origin(trained)}
            for name, variation in found.items()
        }

    def _compare(self, subject: Subject, x_0: Images, name: str) -> "Variation":
        variation = Variation()
        with evaluating(self.trained(subject).model), subject.fabric.autocast():
            pairs = self._gradients(subject, x_0, name)
            for _ in progress_bar(iterable=range(self.num_pairs), desc=f"Gradients, {name}", unit="pair", leave=False):
                STOP.check()
                variation.add(next(pairs), next(pairs))
        return variation

    def _gradients(self, subject: Subject, x_0: Images, name: str) -> "Iterator[tuple[Gradient, Tensor]]":
        """Gradients and losses of one batch after another; the images and ε are the same in every distribution."""
        model = self.trained(subject).model
        weights = [p for p in model.parameters() if p.requires_grad]
        for k in count():
            draws = generator(subject.seed, "timesteps", k, device=x_0.device)
            rows = torch.randint(len(x_0), (self.batch_size,), generator=draws, device=x_0.device)
            eps = torch.randn(x_0[rows].shape, generator=draws, device=x_0.device)
            t, weight = self.distributions[name].draw(self.batch_size, model.process, draws)
            loss = (weight * self.loss(model, x_0[rows], t, eps)).mean()
            parts = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            yield torch.cat([part.flatten() for part in parts]).double(), loss.detach()

    def _origin(self, trained: Trained) -> dict[str, Any]:
        loss = type(self.loss).__name__
        return {"loss": loss, "batch_size": self.batch_size, "num_pairs": self.num_pairs, **trained.origin}

    def _draw(self, found: dict[str, "Variation"], path: Path) -> None:
        figure, (axes,) = panels(1, height=1.6 + 0.4 * len(found))
        names = [name.replace("_", " ") for name in found]
        variances = [each.variance for each in found.values()]
        means, errors = [v.mean for v in variances], [v.standard_error for v in variances]
        axes.errorbar(means, names, xerr=errors, fmt="o", capsize=3)
        axes.set(xlabel="variance of the gradient, summed over weights", xscale="log")
        axes.set_ylim(len(names) - 0.5, -0.5)
        sentence = (
            f"How far the gradient of a batch of {self.batch_size} is from its mean, which is the same for all; loss: "
            f"{type(self.loss).__name__}. From {self.num_pairs} pairs of gradients at the same weights."
        )
        save_curves(figure, sentence, path)


class Variation:
    """Of gradients and losses, from independent pairs."""

    def __init__(self) -> None:
        self.variance, self.square_of_mean, self.loss = MeanAndError(), MeanAndError(), MeanAndError()

    def add(self, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> None:
        """Counts in a pair: two gradients, each with its loss."""
        (g, loss), (g_, loss_) = one, other
        self.variance.update((0.5 * (g - g_).square().sum())[None].cpu())
        self.square_of_mean.update((g @ g_)[None].cpu())
        self.loss.update(torch.stack([loss, loss_]).cpu())

    def told(self) -> dict[str, Any]:
        """What results.json says."""
        return {
            "value": self.variance.mean,
            "standard_error_over_pairs": self.variance.standard_error,
            "square_of_mean_gradient": self.square_of_mean.mean,
            "square_of_mean_gradient_error": self.square_of_mean.standard_error,
            "loss_mean": self.loss.mean,
            "loss_error": self.loss.standard_error,
        }
