"""Times the training step, side by side with the peers'."""

from dataclasses import dataclass

from benchmarks.benchmark import Benchmark
from benchmarks.device import FULL_PRECISION
from benchmarks.findings import Figure, Findings, compare
from benchmarks.measure import spread, take_turns
from benchmarks.sides.flops import flops_of_step
from benchmarks.sides.ours import OURS, TrainOurs
from benchmarks.sides.peers import (
    TrainDiffusers,
    TrainLucidrains,
    TrainNarrowLucidrains,
    TrainPlain,
)
from benchmarks.sides.shape import PAPER, Shape

Maker = TrainOurs | TrainDiffusers | TrainLucidrains | TrainNarrowLucidrains | TrainPlain
TARGET = 1.25


@dataclass(frozen=True, kw_only=True)
class TrainingStep(Benchmark):
    """Times forward, backward, clipping and Adam on one batch, all at the same precision and dropout, without EMA."""

    batch_size: int
    precision: str = FULL_PRECISION
    shape: Shape = PAPER
    ours: TrainOurs = OURS
    peers: tuple[Maker, ...] = (TrainDiffusers(), TrainLucidrains(), TrainPlain())
    target: float | None = TARGET

    question = "How long does a training step take, at the same precision as the peer?"

    def measure(self) -> Findings:
        what, ours = f"training step, batch {self.batch_size}, {self.precision}", self.ours.name
        makers = (self.ours, *self.peers)
        found = take_turns({m.name: m(self.shape, self.batch_size, self.precision) for m in makers}, self.rounds)
        return Findings(
            [compare(what, (ours, p.name), found[ours], found[p.name], target=self.target) for p in self.peers],
            [self._rate(maker, found[maker.name]) for maker in makers],
        )

    def _rate(self, maker: Maker, took: list[float]) -> Figure:
        """Returns the operations/s of a side. Seconds alone would favour a peer with less to compute."""
        flops = flops_of_step(maker.network, self.shape, self.batch_size) / 1e9
        what = f"{maker.name}: its {flops:.0f} GFLOP a step"
        return Figure(what, spread([flops / seconds for seconds in took]), "GFLOP/s")
