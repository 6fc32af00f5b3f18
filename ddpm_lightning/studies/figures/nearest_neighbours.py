"""Nearest neighbours (Appendix, Fig. 12 and 15): the training images most similar to generated ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm_lightning.configuration.build import real_images
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.copies.memorisation_share import training_images
from ddpm_lightning.evaluation.image_sets import READ_AT_ONCE, Given
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.metrics.memorisation import nearest, share_nearer
from ddpm_lightning.metrics.scores import Value
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import Records
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.typing import Distances, FeatureVectors, Neighbours, SomePixels

Vectors = Callable[[SomePixels], FeatureVectors]
"""Maps images in 0..255, [n, c, h, w], to points of a space, [n, d], on the CPU."""


class Space(NamedTuple):
    """A space in which distances between images are measured.

    Args:
        name: "pixels" or "features".
        unit: The unit of the distance, for the axis of a plot.
        vectors: Maps images to points of the space.
        extractor: The extractor of the features. None for pixels.
    """

    name: str
    unit: str
    vectors: Vectors
    extractor: Extractor | None = None


class Nearest(NamedTuple):
    """The training images nearest to n generated and m test images in one space.

    Args:
        neighbours: The indices of the k training images nearest to each generated image, nearest first, [n, k].
        generated: The distance of each generated image to its nearest training image, [n].
        held_out: The same for each test image, [m].
        share: The memorisation score, as `share_nearer` computes it from these distances.
    """

    neighbours: Neighbours
    generated: Distances
    held_out: Distances
    share: Value


@dataclass
class NearestNeighbours(Figure):
    """Shows the nearest training images of generated (or given) images, in pixels and in features.

    Measured: a memorisation score, the share of generated images that are nearer to a training image than test images
    are. ½ means as new as test images, 1 means copies. If training mirrors its images, mirrored images count as
    training images. All processes generate images. The first one alone searches, and holds the vectors of generated and
    test images in memory, in float64.

    Args:
        extractor: Computes the features. None leaves them out.
        num_neighbours: Number of neighbours of each image.
        num_rows: Number of images that are drawn.
    """

    extractor: Extractor | None = None
    num_neighbours: int = 8
    num_rows: int = 8

    name = "nearest_neighbours"

    def check(self, subject: Subject) -> None:
        trained, n = self.check_model(subject), subject.images.n
        num_train, num_test = (len(trained.data.images(split)) for split in ("train", "test"))
        self.check_count("num_neighbours", 1, num_train, "there are no more training images")
        self.check_count("num_rows", 1, n, "num_images is no larger")
        self.check_grid(trained, self.num_rows, self.num_neighbours + 2)
        for which, count in (("generated", n), ("test", num_test)):
            if count < 2:
                raise UserError(f"a share of {count} {which} image means nothing; {self.name} needs more of them")
        self._check_shape(subject, trained)
        subject.images.check()

    def check_images(self, subject: Subject) -> None:
        """Creates the folder for the generated images."""
        subject.images.open()

    def measure(self, subject: Subject) -> Records:
        """Returns the memorisation scores; writes NAME.png, NAME_in_pixels.png and NAME_in_features.png."""
        subject.images.prepare(subject.fabric)
        if not subject.fabric.is_global_zero:
            return {}
        generated = torch.cat([batch.cpu() for batch in subject.images.batches()])
        found = [(space, self._search(subject, space, generated)) for space in self._spaces(subject)]
        self._draw_distances(subject, found)
        shown = {space.name: each.neighbours[: self.num_rows] for space, each in found}
        train = self._pick(subject, {place for places in shown.values() for place in places.flatten().tolist()})
        for name, places in shown.items():
            self._draw_images(subject, generated, train, name, places)
        return {self._name_of(subject, space): self._record(subject, space, each) for space, each in found}

    def _check_shape(self, subject: Subject, trained: Trained) -> None:
        """Raises UserError if the given images have another shape than the data."""
        shape = (trained.data.channels, *trained.data.size)
        if isinstance(subject.images, Given):
            given = tuple(next(subject.images.batches()).shape[1:])
            if given != shape:
                raise UserError(
                    f"{subject.images.option}{subject.images.path} has images of {given} (channels, height, width), "
                    f"and the model's data are of {shape}; give others"
                )

    def _spaces(self, subject: Subject) -> list[Space]:
        """Returns the space of pixels, in which the distance is the RMSE, and that of features."""
        spaces = [Space("pixels", "RMSE of 0–255", _as_pixels)]
        if self.extractor is not None:
            extractor = self.extractor.to(subject.fabric.device)
            unit = f"by features of {extractor.name}"
            spaces.append(Space("features", unit, lambda images: extract_all(extractor, [images]).features, extractor))
        return spaces

    def _real_vectors(self, subject: Subject, space: Space, split: str) -> Iterator[FeatureVectors]:
        """Yields the points of the real images of a split. Features are cached, unless mirrored images count."""
        data = self.trained(subject).data
        if space.extractor is not None and not (split == "train" and data.flip):
            features = subject.features_of(space.extractor, split).features
            assert features is not None
            return iter([features])
        images = training_images(data) if split == "train" else real_images(data, split)
        return (space.vectors(batch) for batch in images)

    def _search(self, subject: Subject, space: Space, generated: SomePixels) -> Nearest:
        held_out = torch.cat(list(self._real_vectors(subject, space, "test")))
        ours = torch.cat([space.vectors(batch) for batch in torch.split(generated, READ_AT_ONCE)])
        train = self._real_vectors(subject, space, "train")
        distances, neighbours = nearest(torch.cat([ours, held_out]), train, self.num_neighbours)
        n = len(generated)
        share = share_nearer(distances[:n, 0], distances[n:, 0])
        return Nearest(neighbours[:n], distances[:n, 0], distances[n:, 0], share)

    def _draw_distances(self, subject: Subject, found: list[tuple[Space, Nearest]]) -> None:
        figure, all_axes = panels(len(found), width=10)
        for axes, (space, each) in zip(all_axes, found, strict=True):
            bins = torch.linspace(0, float(torch.cat([each.generated, each.held_out]).max()), 41).tolist()
            common = {"bins": bins, "density": True, "alpha": 0.6}
            axes.hist(each.generated.numpy(), **common, label=counted(len(each.generated), "generated image"))
            axes.hist(each.held_out.numpy(), **common, label=counted(len(each.held_out), "test image"))
            axes.set(xlabel=f"distance to the nearest training image\n({space.unit})", ylabel="density")
            share, error = each.share.value, each.share.standard_error
            axes.set_title(f"in {space.name}: share nearer {share:.3f} ± {error:.3f}", fontsize="medium")
            axes.legend(fontsize="small")
        sentence = (
            "How far generated images and unseen real ones are from the training data. The share says how often a "
            "generated image is nearer than a real one: ½ where it is as new, 1 for copies."
        )
        self.save_curves(subject, figure, sentence)

    def _draw_images(
        self, subject: Subject, generated: SomePixels, train: dict[int, Tensor], name: str, neighbours: Neighbours
    ) -> None:
        """Draws a row for each generated image: itself, a gap, its nearest training images."""
        cells = [
            [generated[row], None, *(train[place] for place in places)]
            for row, places in enumerate(neighbours.tolist())
        ]
        titles = ["generated", "", *(f"{place + 1}." for place in range(self.num_neighbours))]
        sentence = f"Generated images and their nearest training images, in {name}. The paper's Fig. 12 and 15."
        self.save_grid(subject, cells, titles, sentence, f"_in_{name}")

    def _pick(self, subject: Subject, places: set[int]) -> dict[int, Tensor]:
        """Returns the training images of these indices, by index."""
        images = enumerate(chain.from_iterable(training_images(self.trained(subject).data)))
        return {place: image.cpu() for place, image in images if place in places}

    def _name_of(self, subject: Subject, space: Space) -> str:
        where = space.name if space.extractor is None else f"{space.extractor.name}{space.extractor.suffix}"
        return f"memorisation_in_{where}_{subject.images.n}{subject.images.suffix}"

    def _record(self, subject: Subject, space: Space, found: Nearest) -> dict[str, Any]:
        return {
            "value": found.share.value,
            "standard_error": found.share.standard_error,
            "what": "share of images nearer to a training image than test images are; ½: as new as these",
            "median_distance": float(found.generated.median()),
            "median_distance_of_test_images": float(found.held_out.median()),
            "distance": space.unit,
            "mirrored_too": self.trained(subject).data.flip,
            "num_images": subject.images.n,
            **self.origin(subject, space.extractor),
        }


def _as_pixels(images: SomePixels) -> FeatureVectors:
    """Flattens images to vectors whose distance is the RMSE of the images."""
    vectors = images.cpu().flatten(1).float()
    return vectors.div(vectors.shape[1] ** 0.5)
