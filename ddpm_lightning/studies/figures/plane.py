"""Toy data in the plane, shown whole: densities by t, the field of the score, the paths of points."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ddpm_lightning.diffusion.mixture import Mixture
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.metrics.energy import energy_distance
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError, Records
from ddpm_lightning.studies.figures.abstract_figure import SingleProcessFigure
from ddpm_lightning.studies.figures.canvas import draw_by_t
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.typing import Images, OtherVectors, PointCloud, Points, Trajectories

BLOCKS = 10
"""Number of disjoint blocks of points. The distances of the blocks give a standard error."""

LARGEST_BLOCK = 5000
"""The most points of a block. The distance takes memory for that number squared."""

ARROWS = 17
"""Number of arrows along a side of the score's field."""


@runtime_checkable
class KnownParts(Protocol):
    """Data that are a mixture of Gaussians of standard deviation `noise` around `means`, [K, 2]."""

    noise: float

    @property
    def means(self) -> Points: ...


@dataclass
class Plane(SingleProcessFigure):
    """Shows a model of points in the plane (data of 2 channels and size 1×1).

    Drawn at each t: the density q(x_t) of the test data, the density of the model's points on their way, the score s_θ,
    and the true score if it is known. Drawn as well: paths from x_T to x_0.
    Measured: the energy distances of the model's points and of the training points to the test points, and the error
    of the score by t if the true one is known.

    Args:
        t: The t to show. None means T, …, T/1000.
        num_paths: Number of paths that are drawn.
    """

    t: list[int] | None = None
    num_paths: int = 100

    name = "plane"
    usual = (1, 0.5, 0.25, 0.1, 0.03, 0.001)

    def check_model(self, subject: Subject) -> Trained:
        """Returns the model with its data. Raises UserError if there is none, or the data are not points."""
        trained = self.trained(subject)
        if not are_points(trained):
            raise UserError(
                f"plane shows points, of 2 channels and 1×1, and the data have "
                f"{counted(trained.data.channels, 'channel')} and "
                f"{trained.data.size[0]}×{trained.data.size[1]}; take a model of data=two_moons, swiss_roll, gaussians"
            )
        return trained

    def check(self, subject: Subject) -> None:
        trained = self.check_model(subject)
        trained.model.conditioning.check_free(self.name)
        self.check_steps("t", self.times(subject), trained)
        self.check_count("num_paths", 1, 10_000)
        fewest = min(self.generated(subject).n, *(len(trained.data.images(split)) for split in ("train", "test")))
        if fewest < 2 * BLOCKS:
            raise UserError(
                f"{counted(fewest, 'point is', 'points are')} too few for a density; plane needs {2 * BLOCKS} "
                f"generated, training and test "
                "points, so raise num_images or data.num_points"
            )

    def draw(self, subject: Subject) -> Records:
        """Returns energy distances and errors of the score; writes NAME.png, NAME_paths.png and NAME_score.png."""
        with evaluating(self.trained(subject).model):
            chain = self.chain(subject)
            ts = chain.nearest_of(self.times(subject))
            steps = chain.along(chain.images.n, {1, *(chain.place(t) for t in ts)})
            self._draw_densities(chain, {t: steps[chain.place(t)].x for t in ts})
            self._draw_paths(chain)
            x_0 = steps[1].x_0_hat  # the last step adds no noise, so its x̂_0 is the sample
            return {**self._distances(chain, x_0), **self._score_errors(chain, ts)}

    def _known_density(self, chain: Chain) -> Mixture | None:
        data = self.trained(chain.subject).data
        return Mixture(data.means, data.noise) if isinstance(data, KnownParts) else None

    def _distances(self, chain: Chain, x_0: Images) -> Records:
        """Returns the energy distances of the model's points and of the training points to the test points."""
        test, train = (self.images_of(chain.subject, split).flatten(1) for split in ("test", "train"))
        trained = self.trained(chain.subject).origin
        return {
            f"energy_distance_samples_{len(x_0)}{chain.images.suffix}": {
                **_to_test_points(x_0.flatten(1), test),
                **self.origin(chain.subject),
            },
            f"energy_distance_train_{len(train)}": {
                **_to_test_points(train, test),
                **{key: trained[key] for key in ("data", "checkpoint")},
            },
        }

    @torch.no_grad()
    def _score_errors(self, chain: Chain, ts: list[int]) -> Records:
        """Measures and draws E ‖s_θ − s‖² / E ‖s‖² over x_t ~ q, if the true score s is known."""
        density, model = self._known_density(chain), chain.images.model
        if density is None:
            return {}
        x_0 = self.images_of(chain.subject, "test")
        found: dict[int, MeanAndError] = {}
        for t in ts:
            x_t, steps = chain.encode(x_0, t, range(len(x_0)), "score"), _all(t, x_0)
            score = density.score(model.process, x_t, steps)
            error = (model.score(x_t, steps) - score).square().flatten(1).sum(1)
            found[t] = MeanAndError.of((error / score.square().flatten(1).sum(1).mean()).cpu())
        figure, (axes,) = panels(1)
        draw_by_t(axes, found, "E ‖s_θ − s‖² / E ‖s‖²")
        axes.set(yscale="log", xscale="log")
        sentence = (
            f"How far the model's score is from the true one, over {counted(len(x_0), 'point')} of the "
            "test data at each t."
        )
        self.save_curves(chain.subject, figure, sentence, "_score")
        trained = self.trained(chain.subject)
        return {f"score_error_t{t}{trained.suffix}": {**error.stated(), **trained.origin} for t, error in found.items()}

    def _draw_densities(self, chain: Chain, model_points: dict[int, Images]) -> None:
        from matplotlib.figure import Figure as Canvas

        density, x_0, model = self._known_density(chain), self.images_of(chain.subject, "test"), chain.images.model
        rows = ["data, q(x_t)", "model, p_θ(x_t)", "its score s_θ", *(["true score"] if density else [])]
        figure = Canvas(figsize=(2.1 * len(model_points) + 0.4, 2.1 * len(rows) + 0.9), layout="constrained")
        columns = figure.subplots(len(rows), len(model_points), squeeze=False).T
        for column, (axes, (t, x_t)) in enumerate(zip(columns, model_points.items(), strict=True)):
            reach = _reach(chain, t)
            _draw_density(axes[0], chain.encode(x_0, t, range(len(x_0)), "plane"), reach)
            _draw_density(axes[1], x_t, reach)
            _draw_field(axes[2], lambda x, t=t: model.score(x, _all(t, x)), reach, chain.device)
            if density is not None:
                _draw_field(axes[3], lambda x, t=t: density.score(model.process, x, _all(t, x)), reach, chain.device)
            axes[0].set_title(f"t = {t}", fontsize="medium")
            for each, name in zip(axes, rows, strict=True):
                each.set(xlim=(-reach, reach), ylim=(-reach, reach), ylabel=name if column == 0 else None)
                each.tick_params(labelsize="xx-small")
                each.set_aspect("equal")
        sentence = (
            f"{counted(len(x_0), 'test point')} noised by q, and {counted(chain.images.n, 'point')} of the model on "
            f"their way ({chain.images.sampler.label(model)}); arrows point to where points are denser."
        )
        self.save_curves(chain.subject, figure, sentence)

    def _draw_paths(self, chain: Chain) -> None:
        numbers = range(self.num_paths)
        noise, model = chain.noise(numbers, "image"), chain.images.model_of(numbers)
        start = chain.start(noise)
        paths = torch.stack([start, *(step.x for step in chain.walk(start, chain.length, noise, model))])
        sentence = (
            f"The ways of {counted(self.num_paths, 'point')} from x_T to x_0 "
            f"({chain.images.sampler.label(chain.images.model)})."
        )
        self.save_curves(chain.subject, draw_paths(paths), sentence, "_paths")


def are_points(trained: Trained) -> bool:
    """Returns whether the data are points of the plane, which cannot be drawn as pictures."""
    return (trained.data.channels, *trained.data.size) == (2, 1, 1)


def draw_paths(paths: Trajectories) -> Any:
    """Returns a matplotlib figure of paths from x_T, the first of the places, to x_0, the last."""
    figure, (axes,) = panels(1, width=6, height=6.4)
    places = paths.flatten(2).cpu()
    for path in places.unbind(1):
        axes.plot(*path.T.numpy(), linewidth=0.4, alpha=0.5, color="tab:grey")
    axes.scatter(*places[0].T.numpy(), s=8, label="x_T")
    axes.scatter(*places[-1].T.numpy(), s=8, label="x_0", zorder=3)
    axes.set_aspect("equal")
    axes.legend()
    return figure


def _to_test_points(x: PointCloud, test: OtherVectors) -> dict[str, Any]:
    """Returns the energy distance of points to the test points, with its error from disjoint blocks of both."""
    blocks = [points[: BLOCKS * LARGEST_BLOCK].tensor_split(BLOCKS) for points in (x, test)]
    distances = [energy_distance(ours, theirs) for ours, theirs in zip(*blocks, strict=True)]
    found = MeanAndError.of(torch.tensor(distances, dtype=torch.float64))
    return {**found.stated(), "unit": "of the plane", "num_points": len(x), "num_test_points": len(test)}


def _all(t: int, x: Images) -> Tensor:
    """Returns t for each image of x: [b]."""
    return torch.full((len(x),), t, device=x.device)


def _reach(chain: Chain, t: int) -> float:
    """Returns half the side of a square that holds nearly all x_t."""
    alpha_bar: float = chain.images.model.process.alpha_bar[t].item()
    return 1.1 * math.sqrt(alpha_bar) + 2.5 * math.sqrt(1 - alpha_bar)


def _draw_density(axes: Any, x: Images, reach: float) -> None:
    horizontal, vertical = x.flatten(1).T.cpu().numpy()
    axes.hist2d(horizontal, vertical, bins=80, range=[[-reach, reach]] * 2, cmap="magma")


@torch.no_grad()
def _draw_field(axes: Any, score: Any, reach: float, device: torch.device) -> None:
    """Draws the score as arrows of one length. Their colour shows their true length."""
    line = torch.linspace(-0.95 * reach, 0.95 * reach, ARROWS)
    places = torch.cartesian_prod(line, line)
    arrows = score(places.reshape(-1, 2, 1, 1).to(device)).reshape(-1, 2).cpu().numpy()
    lengths = np.linalg.norm(arrows, axis=1)
    lengths = lengths.clip(max(1e-2 * lengths.max(), 1e-12))  # 0 at a summit: no direction, no colour
    axes.quiver(*places.T.numpy(), *(arrows / lengths[:, None]).T, np.log(lengths), cmap="viridis", scale=24)
