"""Toys of the plane, seen whole: densities by t, the field of the score, and the ways that points take."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ddpm_lightning.diffusion.mixture import Mixture
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.metrics.energy import energy_distance
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import by_t, save_curves
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.typing import Images, OtherVectors, PointCloud, Points, Ways

BLOCKS = 10
"""Parts into which points are cut, whose distances give an error."""

LARGEST_BLOCK = 5000
"""Points of a block: its distances are that number squared."""

ARROWS = 17
"""Of the field of the score, a side."""


@runtime_checkable
class KnownParts(Protocol):
    """Data that are a mixture of Gaussians of standard deviation `noise` around `means`, [K, 2]."""

    noise: float

    @property
    def means(self) -> Points: ...


@dataclass
class Plane(Figure):
    """For data of points (channels 2, size 1×1): at each t, the density q(x_t) of the test data, that of the points
    that the model makes on their way, and the score s_θ, beside the true one where it is known; and num_paths ways from
    x_T to x_0. Measured: the energy distance of the model's points to the test points, and of the training points to
    them; and where the score is known, its error by t. One process does the work."""

    t: list[int] | None = None
    num_paths: int = 100

    name = "plane"
    usual = (1, 0.5, 0.25, 0.1, 0.03, 0.001)

    def check_model(self, subject: Subject) -> Trained:
        """The model and its data. Raises UserError where there is none, or the data are no points."""
        trained = self.trained(subject)
        if not are_points(trained):
            raise UserError(
                f"plane shows points, of 2 channels and 1×1, and the data have {trained.data.channels} channels and "
                f"{trained.data.size[0]}×{trained.data.size[1]}; take a model of data=two_moons, swiss_roll, gaussians"
            )
        return trained

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, no such t, or too few points."""
        trained = self.check_model(subject)
        self.check_steps("t", self.times(subject), trained)
        check_whole(self.option("num_paths"), self.num_paths, 1, "a path is a line")
        check_at_most(self.option("num_paths"), self.num_paths, 10_000, "no eye takes in more; use 100")
        fewest = min(self.generated(subject).n, *(len(trained.data.images(split)) for split in ("train", "test")))
        if fewest < 2 * BLOCKS:
            raise UserError(f"{fewest} points tell nothing of a density; plane needs {2 * BLOCKS}, so raise num_images")

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Energy distances and errors of the score; plane.png, plane_paths.png and, where it is known, …_score.png."""
        if not subject.fabric.is_global_zero:
            return {}
        with evaluating(self.trained(subject).model):
            return self._measure(self.chain(subject))

    def _measure(self, chain: Chain) -> dict[str, dict[str, Any]]:
        ts = chain.nearest_of(self.times(chain.subject))
        steps = chain.along(chain.images.n, {1, *(chain.place(t) for t in ts)})
        self._draw_densities(chain, {t: steps[chain.place(t)].x for t in ts})
        self._draw_paths(chain)
        x_0 = steps[1].x_0_hat  # which the last step, free of noise, leads to
        return {**self._distances(chain, x_0), **self._score_errors(chain, ts)}

    def _best(self, chain: Chain) -> Mixture | None:
        """What is known of the data, if it is."""
        data = self.trained(chain.subject).data
        return Mixture(data.means, data.noise) if isinstance(data, KnownParts) else None

    def _distances(self, chain: Chain, x_0: Images) -> dict[str, dict[str, Any]]:
        """Of the model's points, and of the training points, to the test points."""
        test = self.images_of(chain.subject, "test").flatten(1)
        train, trained = self.images_of(chain.subject, "train").flatten(1), self.trained(chain.subject)
        return {
            f"energy_distance_samples_{len(x_0)}{chain.images.suffix}": {
                **_to_test_points(_by_blocks(x_0.flatten(1), test), len(x_0), len(test)),
                **self.origin(chain.subject),
            },
            f"energy_distance_train_{len(train)}": {
                **_to_test_points(_by_blocks(train, test), len(train), len(test)),
                **{key: trained.origin[key] for key in ("data", "checkpoint")},
            },
        }

    @torch.no_grad()
    def _score_errors(self, chain: Chain, ts: list[int]) -> dict[str, dict[str, Any]]:
        """E ‖s_θ − s‖² / E ‖s‖² over x_t ~ q, where s is known."""
        best, model = self._best(chain), chain.images.model
        if best is None:
            return {}
        x_0 = self.images_of(chain.subject, "test")
        found: dict[int, MeanAndError] = {}
        for t in ts:
            x_t, steps = chain.encode(x_0, t, range(len(x_0)), "score"), _all(t, x_0)
            score = best.score(model.process, x_t, steps)
            off = (model.score(x_t, steps) - score).square().flatten(1).sum(1)
            found[t] = MeanAndError.of((off / score.square().flatten(1).sum(1).mean()).cpu())
        figure, (axes,) = panels(1)
        by_t(axes, found, "E ‖s_θ − s‖² / E ‖s‖²")
        axes.set(yscale="log", xscale="log")
        sentence = f"How far the model's score is from the true one, over {len(x_0)} points of the test data at each t."
        save_curves(figure, sentence, chain.subject.run_dir / f"{self.name}_score.png")
        trained = self.trained(chain.subject)
        return {f"score_error_t{t}{trained.suffix}": {**error.stated(), **trained.origin} for t, error in found.items()}

    def _draw_densities(self, chain: Chain, on_their_way: dict[int, Images]) -> None:
        from matplotlib.figure import Figure as Canvas

        best, x_0, model = self._best(chain), self.images_of(chain.subject, "test"), chain.images.model
        rows = ["data, q(x_t)", "model, p_θ(x_t)", "its score s_θ", *(["true score"] if best else [])]
        figure = Canvas(figsize=(2.1 * len(on_their_way) + 0.4, 2.1 * len(rows) + 0.9), layout="constrained")
        for place, (axes, (t, x_t)) in enumerate(
            zip(figure.subplots(len(rows), len(on_their_way), squeeze=False).T, on_their_way.items(), strict=True)
        ):
            reach = _reach(chain, t)
            _density(axes[0], chain.encode(x_0, t, range(len(x_0)), "plane"), reach)
            _density(axes[1], x_t, reach)
            _field(axes[2], lambda x, t=t: model.score(x, _all(t, x)), reach, chain.device)
            if best is not None:
                _field(axes[3], lambda x, t=t: best.score(model.process, x, _all(t, x)), reach, chain.device)
            axes[0].set_title(f"t = {t}", fontsize="medium")
            for each, name in zip(axes, rows, strict=True):
                each.set(xlim=(-reach, reach), ylim=(-reach, reach), ylabel=name if place == 0 else None)
                each.tick_params(labelsize="xx-small")
                each.set_aspect("equal")
        sentence = (
            f"{len(x_0)} test points noised by q, and {chain.images.n} points of the model on their way "
            f"({chain.images.sampler.label(model)}); arrows point to where points are denser."
        )
        save_curves(figure, sentence, chain.subject.run_dir / f"{self.name}.png")

    def _draw_paths(self, chain: Chain) -> None:
        noise = chain.noise(range(self.num_paths), "image")
        start = chain.start(noise)
        ways = torch.stack([start, *(step.x for step in chain.walk(start, chain.length, noise))])
        sentence = (
            f"The ways of {self.num_paths} points from x_T to x_0 ({chain.images.sampler.label(chain.images.model)})."
        )
        draw_ways(ways, sentence, chain.subject.run_dir / f"{self.name}_paths.png")


def are_points(trained: Trained) -> bool:
    """Whether the data are points of the plane, which are no pictures."""
    return (trained.data.channels, *trained.data.size) == (2, 1, 1)


def draw_ways(ways: Ways, sentence: str, path: Path) -> None:
    """Writes a PNG of lines from x_T, the first of the places, to x_0, the last."""
    figure, (axes,) = panels(1, width=6, height=6.4)
    places = ways.flatten(2).cpu()
    for way in places.unbind(1):
        axes.plot(*way.T.numpy(), linewidth=0.4, alpha=0.5, color="tab:grey")
    axes.scatter(*places[0].T.numpy(), s=8, label="x_T")
    axes.scatter(*places[-1].T.numpy(), s=8, label="x_0", zorder=3)
    axes.set_aspect("equal")
    axes.legend()
    save_curves(figure, sentence, path)


def _to_test_points(found: MeanAndError, n: int, m: int) -> dict[str, Any]:
    counts = {"unit": "of the plane", "num_points": n, "num_test_points": m}
    return {**found.stated(), **counts}


def _by_blocks(x: PointCloud, y: OtherVectors) -> MeanAndError:
    """The energy distance, and its error from disjoint blocks of both."""
    cut = [points[: BLOCKS * LARGEST_BLOCK].tensor_split(BLOCKS) for points in (x, y)]
    found = [energy_distance(ours, theirs) for ours, theirs in zip(*cut, strict=True)]
    return MeanAndError.of(torch.tensor(found, dtype=torch.float64))


def _all(t: int, x: Images) -> Tensor:
    return torch.full((len(x),), t, device=x.device)


def _reach(chain: Chain, t: int) -> float:
    """Half the side of the square that holds nearly all x_t."""
    alpha_bar: float = chain.images.model.process.alpha_bar[t].item()
    return 1.1 * math.sqrt(alpha_bar) + 2.5 * math.sqrt(1 - alpha_bar)


def _density(axes: Any, x: Images, reach: float) -> None:
    horizontal, vertical = x.flatten(1).T.cpu().numpy()
    axes.hist2d(horizontal, vertical, bins=80, range=[[-reach, reach]] * 2, cmap="magma")


@torch.no_grad()
def _field(axes: Any, score: Any, reach: float, device: torch.device) -> None:
    """Arrows of one length; how long they really are is told by their colour."""
    line = torch.linspace(-0.95 * reach, 0.95 * reach, ARROWS)
    places = torch.cartesian_prod(line, line)
    arrows = score(places.reshape(-1, 2, 1, 1).to(device)).reshape(-1, 2).cpu().numpy()
    lengths = np.linalg.norm(arrows, axis=1)
    lengths = lengths.clip(max(1e-2 * lengths.max(), 1e-12))  # 0 at a summit: no direction, no colour
    axes.quiver(*places.T.numpy(), *(arrows / lengths[:, None]).T, np.log(lengths), cmap="viridis", scale=24)
