"""How much the gradient of a loss varies by the way t is drawn: uniformly, or in proportion to the weight."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor

from ddpm_lightning.diffusion.losses import Loss
from ddpm_lightning.diffusion.timesteps import TimestepDistribution
from ddpm_lightning.errors import check_whole, counted
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError, Records
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.seeding import generator
from ddpm_lightning.studies.figures.abstract_figure import SingleProcessFigure
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.typing import Gradient, Images


@dataclass
class TimestepsCompared(SingleProcessFigure):
    """Compares the variance of a loss's gradient under several ways to draw t.

    All ways have the same mean gradient. They differ in how far the gradient of a batch is from it. Two independent
    gradients g and g′ at the same weights measure that: ½‖g − g′‖² is on average the variance, summed over weights, and
    g·g′ is on average the squared norm of the mean.

    Args:
        loss: The loss.
        distributions: The ways to draw t, by name.
        num_images: Number of training images that batches are drawn from. None means all, in memory at once.
        batch_size: Number of images of a gradient.
        num_pairs: Number of pairs of gradients, in 2..100,000.
    """

    loss: Loss
    distributions: dict[str, TimestepDistribution]
    num_images: int | None = 2048
    batch_size: int = 64
    num_pairs: int = 100

    name = "timesteps"
    generates = False

    def check(self, subject: Subject) -> None:
        trained = self.trained(subject)
        self.loss.check(trained.model.variance)
        self.check_count("num_pairs", 2, 100_000)
        images = len(trained.data.images("train"))
        if self.num_images is not None:
            check_whole(self.option("num_images"), self.num_images, 1, "null means all")
            images = min(images, self.num_images)
        self.check_count("batch_size", 1, images, "a batch is drawn from this number of training images")

    def draw(self, subject: Subject) -> Records:
        """Returns variance and mean of the gradient by distribution; writes NAME.png."""
        trained = self.trained(subject)
        x_0 = self.images_of(subject, "train", first=self.num_images)
        found = {name: self._compare(subject, x_0, name) for name in self.distributions}
        self._draw(subject, found)
        loss = type(self.loss).__name__
        origin = {"loss": loss, "batch_size": self.batch_size, "num_pairs": self.num_pairs, **trained.origin}
        suffix = trained.variance_suffix + trained.suffix
        return {f"gradient_variance_{name}{suffix}": {**each.stated(), **origin} for name, each in found.items()}

    def _compare(self, subject: Subject, x_0: Images, name: str) -> "Variation":
        variation = Variation()
        with evaluating(self.trained(subject).model), subject.fabric.autocast():
            gradients = self._gradients(subject, x_0, name)
            for _ in progress_bar(iterable=range(self.num_pairs), desc=f"Gradients, {name}", unit="pair", leave=False):
                STOP.check()
                variation.add(next(gradients), next(gradients))
        return variation

    def _gradients(self, subject: Subject, x_0: Images, name: str) -> "Iterator[tuple[Gradient, Tensor]]":
        """Yields gradient and loss of one batch after another, of the same images and ε for every distribution."""
        model, loss = self.trained(subject).model, self.loss.of_network
        weights = [p for p in model.parameters() if p.requires_grad]
        for k in count():
            draws = generator(subject.seed, "timesteps", k, device=x_0.device)
            rows = torch.randint(len(x_0), (self.batch_size,), generator=draws, device=x_0.device)
            eps = loss.draw(self.batch_size, x_0.shape[1:], draws)
            t, weight = self.distributions[name].draw(self.batch_size, model.process, draws)
            mean = (weight * loss(model, x_0[rows], t, eps)).mean()
            parts = torch.autograd.grad(mean, weights, allow_unused=True, materialize_grads=True)
            yield torch.cat([part.flatten() for part in parts]).double(), mean.detach()

    def _draw(self, subject: Subject, found: dict[str, "Variation"]) -> None:
        figure, (axes,) = panels(1, height=1.6 + 0.4 * len(found))
        names = [name.replace("_", " ") for name in found]
        variances = [each.variance for each in found.values()]
        means, errors = [v.mean for v in variances], [v.standard_error for v in variances]
        axes.errorbar(means, names, xerr=errors, fmt="o", capsize=3)
        axes.set(xlabel="variance of the gradient, summed over weights", xscale="log")
        axes.set_ylim(len(names) - 0.5, -0.5)
        sentence = (
            f"How far the gradient of a batch of {self.batch_size} is from its mean, which is the same for all; loss: "
            f"{type(self.loss).__name__}. From {counted(self.num_pairs, 'pair')} of gradients at the same weights."
        )
        self.save_curves(subject, figure, sentence)


@dataclass
class Variation:
    """Variance and mean of gradients, and the mean loss, from independent pairs."""

    variance: MeanAndError = field(default_factory=MeanAndError)
    square_of_mean: MeanAndError = field(default_factory=MeanAndError)
    loss: MeanAndError = field(default_factory=MeanAndError)

    def add(self, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> None:
        """Adds a pair. one, other: a gradient with its loss each."""
        (g, loss), (g_, loss_) = one, other
        self.variance.update((0.5 * (g - g_).square().sum())[None].cpu())
        self.square_of_mean.update((g @ g_)[None].cpu())
        self.loss.update(torch.stack([loss, loss_]).cpu())

    def stated(self) -> dict[str, Any]:
        """Returns the numbers as results.json records them."""
        return {
            "value": self.variance.mean,
            "standard_error_over_pairs": self.variance.standard_error,
            "square_of_mean_gradient": self.square_of_mean.mean,
            "square_of_mean_gradient_error": self.square_of_mean.standard_error,
            "loss_mean": self.loss.mean,
            "loss_error": self.loss.standard_error,
        }
