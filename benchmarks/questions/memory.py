"""Measures the peak memory of a training step, each side in a process of its own."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

from benchmarks.benchmark import Benchmark
from benchmarks.device import FULL_PRECISION, fix_threads, meters
from benchmarks.findings import Findings, compare
from benchmarks.measure import Side
from benchmarks.questions.training_step import Maker
from benchmarks.sides.ours import OURS, TrainOurs
from benchmarks.sides.peers import TrainDiffusers, TrainLucidrains, TrainPlain
from benchmarks.sides.shape import PAPER, SMALL, Shape
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Memory(Benchmark):
    """Measures weights, gradients, Adam's two moments and activations in two steps. The first creates the moments."""

    rounds: int = 3
    batch_size: int = 16
    precision: str = FULL_PRECISION
    shape: Shape = PAPER
    ours: TrainOurs = OURS
    peers: tuple[Maker, ...] = (TrainDiffusers(), TrainLucidrains(), TrainPlain())
    target: float = 1.0

    question = "How much memory does a training step take at its peak?"

    def measure(self) -> Findings:
        findings, ours = Findings(), self.ours.name
        for meter in meters():
            found = self._rounds(meter)
            what = f"peak memory of a training step, batch {self.batch_size}, {meter}"
            findings.comparisons += [
                compare(what, (ours, peer.name), found[ours], found[peer.name], "MiB", target=self.target)
                for peer in self.peers
            ]
        return findings

    def _rounds(self, meter: str) -> dict[str, list[float]]:
        sides = (self.ours, *self.peers)
        return {
            side.name: [
                in_fresh_process(peak_mib, meter, side, self.shape, self.batch_size, self.precision)
                for _ in range(self.rounds)
            ]
            for side in sides
        }


def in_fresh_process(work: Callable[..., float], *arguments: object) -> float:
    """Runs the work in a fresh process, and returns its result."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def peak_mib(meter: str, make: Maker, shape: Shape, batch_size: int, precision: str) -> float:
    """Returns the peak of building a side and taking two steps, minus that of a tiny network."""
    fix_threads()
    tiny = replace(SMALL, dropout=shape.dropout)

    def two_steps_of(side: Side) -> None:
        side()
        side()

    with quiet_libraries():
        peak = meters()[meter](
            lambda: two_steps_of(make(tiny, 2, precision)), lambda: two_steps_of(make(shape, batch_size, precision))
        )
    return peak / MIB
