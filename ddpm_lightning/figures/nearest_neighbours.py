"""Nearest neighbours (Appendix, Fig. 12, 13): the training images that generated ones are most like, and how like."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.figures.canvas import grid, new_figure, save_figure, say
from ddpm_lightning.figures.figure import Figure
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.memorisation import nearest, share_nearer
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.training.build import real_images
from ddpm_lightning.training.evaluation.subject import Subject
from ddpm_lightning.typing import Distances, FeatureVectors, Neighbours, Pixels, SomePixels


class Space(NamedTuple):
    """Images as vectors, in which they are near or far. unit: of the distance."""

    name: str
    unit: str
    generated: FeatureVectors
    train: FeatureVectors
    test: FeatureVectors


class Found(NamedTuple):
    """In one space: the nearest training images of each generated one; how far off the nearest is of the generated
    images, and of the held-out ones; share: of `share_nearer`."""

    neighbours: Neighbours
    generated: Distances
    held_out: Distances
    share: Value


@dataclass
class NearestNeighbours(Figure):
    """For generated (or given) images, the num_neighbours nearest training images, in pixels and in features; and as a
    memorisation score the share of them that are nearer to a training image than held-out images are.

    The first num_rows are drawn. One process searches, by scikit-learn.
    """

    extractor: Extractor | None = None
    num_neighbours: int = 8
    num_rows: int = 8

    name = "nearest_neighbours"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no data, no extractor, or there are too few images."""
        n = len(self.trained(subject).data.images("train"))
        self.needed(self.extractor)
        check_whole(f"figure.{self.name}.num_neighbours", self.num_neighbours, 1, "a neighbour is a column")
        check_at_most(f"figure.{self.name}.num_neighbours", self.num_neighbours, min(n, 64), "there are no more")
        check_whole(f"figure.{self.name}.num_rows", self.num_rows, 1, "an image is a row")
        check_at_most(f"figure.{self.name}.num_rows", self.num_rows, subject.images.n, "num_images are no more")
        if subject.images.n < 2:
            raise UserError("num_images=1 tells nothing of a share; ask for more")
        subject.images.check()

    def look(self, subject: Subject) -> None:
        """Makes room for the images."""
        subject.images.open()

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """The memorisation scores; nearest_neighbours.png and nearest_neighbours_in_{pixels,features}.png."""
        subject.images.prepare(subject.fabric)
        if not subject.fabric.is_global_zero:
            return {}
        generated, train = torch.cat(list(subject.images.batches())), self._real(subject, "train")
        spaces = [self._pixels(generated, train, self._real(subject, "test")), self._features(subject)]
        found = {space.name: (space, self._search(space)) for space in spaces}
        self._draw_distances(subject, found)
        for name, (_, each) in found.items():
            self._draw_images(subject, generated, train, name, each.neighbours)
        return dict(self._records(subject, found))

    def _real(self, subject: Subject, split: str) -> Pixels:
        return torch.cat(list(real_images(self.trained(subject).data, split))).cpu()

    def _pixels(self, generated: SomePixels, train: SomePixels, test: SomePixels) -> Space:
        """Distances are RMSE of 0–255."""
        d = generated[0].numel() ** 0.5
        return Space("pixels", "RMSE of 0–255", *(x.flatten(1).float() / d for x in (generated, train, test)))

    def _features(self, subject: Subject) -> Space:
        extractor = self.needed(self.extractor).to(subject.fabric.device)
        data = self.trained(subject).data
        train, test = (extract_all(extractor, real_images(data, split)).features for split in ("train", "test"))
        return Space("features", extractor.name, subject.generated_features(extractor).features, train, test)

    def _search(self, space: Space) -> Found:
        distances, neighbours = nearest(space.generated, space.train, self.num_neighbours)
        held_out = nearest(space.test, space.train, 1)[0][:, 0]
        return Found(neighbours, distances[:, 0], held_out, share_nearer(distances[:, 0], held_out))

    def _draw_distances(self, subject: Subject, found: dict[str, tuple[Space, Found]]) -> None:
        figure = new_figure(10, 4)
        for axes, (name, (space, each)) in zip(figure.subplots(1, 2), found.items(), strict=True):
            bins = torch.linspace(0, float(torch.cat([each.generated, each.held_out]).max()), 41).tolist()
            common = {"bins": bins, "density": True, "alpha": 0.6}
            axes.hist(each.generated.numpy(), **common, label=f"{len(each.generated)} generated images")
            axes.hist(each.held_out.numpy(), **common, label=f"{len(each.held_out)} test images")
            axes.set(xlabel=f"distance to the nearest training image ({space.unit})", ylabel="density")
            share, error = each.share.value, each.share.standard_deviation
            axes.set_title(f"in {name}: {share:.3f} ± {error:.3f} of pairs are nearer", fontsize="medium")
            axes.legend(fontsize="small")
        say(
            figure,
            "How far generated images and unseen real ones are from the training data. The share says how often a "
            "generated image is nearer than a real one: ½ where it is as new, 1 for copies.",
        )
        save_figure(figure, subject.run_dir / f"{self.name}.png")

    def _draw_images(
        self, subject: Subject, generated: SomePixels, train: SomePixels, name: str, places: Neighbours
    ) -> None:
        cells: list[list[Tensor | None]] = [
            [generated[row].cpu(), None, *train[places[row]]] for row in range(self.num_rows)
        ]
        columns = ["generated", "", *(f"{place + 1}." for place in range(self.num_neighbours))]
        sentence = f"Generated images and their nearest training images, in {name}. The paper's Fig. 12 and 13."
        figure = grid(cells, columns, [""] * self.num_rows, sentence)
        save_figure(figure, subject.run_dir / f"{self.name}_in_{name}.png")

    def _records(self, subject: Subject, found: dict[str, tuple[Space, Found]]) -> Iterator[tuple[str, dict[str, Any]]]:
        extractor = self.needed(self.extractor)
        for name, (space, each) in found.items():
            suffix = subject.images.suffix + (extractor.suffix if name == "features" else "")
            yield (
                f"memorisation_in_{name}_{subject.images.n}{suffix}",
                {
                    "value": each.share.value,
                    "standard_error": each.share.standard_deviation,
                    "what": "share of images nearer to a training image than test images are; ½: as new as these",
                    "median_distance": float(each.generated.median()),
                    "median_distance_of_test_images": float(each.held_out.median()),
                    "space": space.unit,
                    "num_images": subject.images.n,
                    **subject.images.origin,
                },
            )
