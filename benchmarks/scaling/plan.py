"""Estimates the seconds of each part of a step from its operations, and finds the slowest part."""

from dataclasses import dataclass

from benchmarks.scaling import hardware
from benchmarks.scaling.formulas import all_reduced
from benchmarks.scaling.hardware import Link
from benchmarks.scaling.recipes import Recipe, T

UTILISATION = 0.3
"""The assumed share of an H100's peak. The paper's runs reached 0.24 to 0.5 of a TPU's (see the page)."""

RATE = UTILISATION * hardware.PEAK
SAMPLES = 50_000


@dataclass(frozen=True)
class Host:
    """Measured speed of the host: seconds of Python for a step, Lightning included, and images/s of one reader.

    Images of 32×32 are read from memory, those of 256×256 from files.
    """

    seconds: float
    images_per_s: dict[int, float]


@dataclass(frozen=True)
class Step:
    """A training step on a number of GPUs, with the seconds of each part alone."""

    recipe: Recipe
    gpus: int
    host: Host
    between: Link = hardware.RAILS

    @property
    def forward(self) -> float:
        return self.recipe.batch_size / self.gpus * self.recipe.cost.forward / RATE

    @property
    def backward(self) -> float:
        return self.recipe.batch_size / self.gpus * self.recipe.cost.backward / RATE

    @property
    def computing(self) -> float:
        return self.forward + self.backward

    @property
    def link(self) -> Link:
        return hardware.NVLINK if self.gpus <= hardware.PER_NODE else self.between

    @property
    def all_reduce(self) -> float:
        return all_reduced(self.recipe.cost.parameters, self.gpus) / self.link.bandwidth

    @property
    def telling(self) -> float:
        return self.host.seconds

    @property
    def reading(self) -> float:
        """Seconds of reading the images of a GPU's process, by one reader."""
        return self.recipe.batch_size / self.gpus / self.host.images_per_s[self.recipe.shape.side]

    @property
    def seconds(self) -> float:
        """Seconds of the step: those of its slowest part, because sending, computing, launching and reading overlap."""
        return max(self.forward + max(self.backward, self.all_reduce), self.telling, self.reading)


def fits_everywhere(recipe: Recipe, gpus: int) -> bool:
    """Returns whether the batch divides evenly among the GPUs."""
    return recipe.batch_size % gpus == 0


def images_where_all_reduce_shows(recipe: Recipe, link: Link) -> float:
    """Returns the images of a GPU below which sending gradients takes longer than backward, for many GPUs."""
    per_image = recipe.cost.backward / RATE
    return all_reduced(recipe.cost.parameters, 10**9) / link.bandwidth / per_image


def sampling(images: int, recipe: Recipe) -> float:
    """Returns the GPU-seconds of a sample by all T steps of Algorithm 2."""
    return images * T * recipe.cost.forward / RATE


def extraction(images: int, flops_of_inception: int) -> float:
    """Returns the GPU-seconds of Inception in float32."""
    return images * flops_of_inception / (UTILISATION * hardware.PEAK_FLOAT32)


def steps_of_a_fid(recipe: Recipe) -> float:
    """Returns the number of training steps that cost as much as 50,000 samples, on any hardware."""
    return SAMPLES * T * recipe.cost.forward / (recipe.batch_size * recipe.cost.step)
