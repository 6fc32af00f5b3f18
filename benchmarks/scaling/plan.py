"""From operations to seconds, and what of a step is the slowest, on paper."""

from dataclasses import dataclass

from benchmarks.scaling import hardware
from benchmarks.scaling.formulas import all_reduced
from benchmarks.scaling.hardware import Link
from benchmarks.scaling.recipes import Recipe, T

UTILISATION = 0.3
"""The share of an H100's peak that is assumed; the paper's own runs had 0.24 to 0.5 of a TPU's (see the page)."""

RATE = UTILISATION * hardware.PEAK
SAMPLES = 50_000


@dataclass(frozen=True)
class Host:
    """Measured here: seconds in which Python tells a device what to do in a step, Lightning and callbacks included, and
    images/s that one process reads from memory (32×32) or from files (256×256)."""

    seconds: float
    images_per_s: dict[int, float]


@dataclass(frozen=True)
class Step:
    """A training step on so many GPUs: seconds of each of its parts, if there were no other."""

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
        """Of this process's own images, by one process that reads."""
        return self.recipe.batch_size / self.gpus / self.host.images_per_s[self.recipe.shape.side]

    @property
    def seconds(self) -> float:
        """The gradients travel while backward goes on; the GPU works while the host tells it what comes next, and
        while images are read. So the slowest of them is what one waits for."""
        return max(self.forward + max(self.backward, self.all_reduce), self.telling, self.reading)


def fits_everywhere(recipe: Recipe, gpus: int) -> bool:
    """Whether each GPU has a whole number of images."""
    return recipe.batch_size % gpus == 0


def images_where_all_reduce_shows(recipe: Recipe, link: Link) -> float:
    """Of a GPU at a step: with fewer, sending the gradients takes longer than backward. For many GPUs, (n−1)/n = 1."""
    per_image = recipe.cost.backward / RATE
    return all_reduced(recipe.cost.parameters, 10**9) / link.bandwidth / per_image


def sampling(images: int, recipe: Recipe) -> float:
    """GPU-seconds by all T steps of Algorithm 2."""
    return images * T * recipe.cost.forward / RATE


def extraction(images: int, flops_of_inception: int) -> float:
    """GPU-seconds of Inception in float32."""
    return images * flops_of_inception / (UTILISATION * hardware.PEAK_FLOAT32)


def steps_of_a_fid(recipe: Recipe) -> float:
    """Training steps that cost as much as 50,000 samples do, whatever the hardware."""
    return SAMPLES * T * recipe.cost.forward / (recipe.batch_size * recipe.cost.step)
