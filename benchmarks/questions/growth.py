"""Measures how the cost of training and sampling grows, and where it stops being linear."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.benchmark import Benchmark
from benchmarks.device import FULL_PRECISION, most_processes
from benchmarks.findings import Findings, Series
from benchmarks.measure import Side, Spread, spread, take_turns
from benchmarks.sides.ours import TrainOurs, module_of_shape
from benchmarks.sides.runs import seconds_a_step
from benchmarks.sides.shape import SMALL, Shape
from ddpm_lightning.diffusion.samplers import AncestralSampler
from ddpm_lightning.training.generate import walk

MIDDLE = Shape(channels=32, multipliers=(1, 2), num_res_blocks=1, attention=(8,), groups=8, dropout=0.0)
"""The network: small enough for many sizes, large enough to need time."""


@dataclass(frozen=True, kw_only=True)
class Growth(Benchmark):
    """Varies one size while the others stay fixed. The sizes take turns.

    For processes it measures images/s of train.py itself, from metrics.csv, with the cores divided among them.
    """

    base: Shape = MIDDLE
    batch_size: int = 8
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    sides: tuple[int, ...] = (8, 16, 32, 64, 128)
    widths: tuple[int, ...] = (16, 32, 64, 128)
    steps: tuple[int, ...] = (10, 30, 100, 300, 1000)
    processes: tuple[int, ...] = (1, 2)
    process_steps: int = 40

    question = "How does the cost grow with batch, image side, channels, T and processes?"

    def measure(self) -> Findings:
        grow = partial(_series, rounds=self.rounds)
        return Findings(
            series=[
                grow("training step", "batch", self.batch_sizes, self._of_batch),
                grow("training step", "side", self.sides, self._of_side),
                grow("training step", "channels", self.widths, self._of_width),
                grow("sampling, 8×8", "T", self.steps, _whole_walk),
                self._along_processes(),
            ]
        )

    def _of_batch(self, batch_size: int) -> Side:
        return TrainOurs()(self.base, batch_size, FULL_PRECISION)

    def _of_side(self, side: int) -> Side:
        return TrainOurs()(replace(self.base, side=side), self.batch_size, FULL_PRECISION)

    def _of_width(self, channels: int) -> Side:
        return TrainOurs()(replace(self.base, channels=channels), self.batch_size, FULL_PRECISION)

    def _along_processes(self) -> Series:
        numbers = [n for n in self.processes if n <= most_processes()]
        fake = ("data=fake", "data.num_images=256", "logger=csv", *self.base.overrides)
        values = [
            spread(seconds_a_step(*fake, steps=self.process_steps, batch_size=self.batch_size, processes=n))
            for n in numbers
        ]
        places = [float(n) for n in numbers]
        return Series(f"training step of {self.batch_size} images a process", "processes", places, values, "s")


def _series(what: str, along: str, places: Sequence[int], make: Callable[[int], Side], *, rounds: int) -> Series:
    found = take_turns({str(place): make(place) for place in places}, rounds)
    values: list[Spread] = [spread(found[str(place)]) for place in places]
    return Series(what, along, [float(place) for place in places], values, "s")


def _whole_walk(num_steps: int) -> Side:
    model = module_of_shape(SMALL).model

    def sample() -> None:
        for _ in walk(model, AncestralSampler(num_steps=num_steps), (3, SMALL.side, SMALL.side), 8, seed=0):
            pass

    return sample
