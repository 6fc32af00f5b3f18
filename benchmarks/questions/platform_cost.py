"""Measures what Lightning and our callbacks add to a bare loop of the same step."""

from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.device import device
from benchmarks.findings import Figure, Findings, compare
from benchmarks.measure import spread
from benchmarks.sides.ours import BareLoop, configured, module_of
from benchmarks.stopwatch import Enough, Stopwatch
from ddpm_lightning.configuration.build import make, make_all, make_with
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries


@dataclass(frozen=True, kw_only=True)
class PlatformCost(Benchmark):
    """Times the steps of `trainer.fit` as train.py calls it, each followed by a step of a bare loop.

    All callbacks are there, but none is due to draw or to save.

    Args:
        overrides: Options of train.py.
        share: The smallest accepted share of the bare step in the whole step.
        added: The most accepted seconds in addition.

    """

    overrides: tuple[str, ...]
    what: str
    warmups: int = 1
    share: float | None = None
    added: float | None = None

    question = "What do Lightning, EMA, logging and the callbacks add to a step?"

    def measure(self) -> Findings:
        with TemporaryDirectory() as run_dir:
            stopwatch = self._run(configured(*self.overrides, f"run_dir={run_dir}"))
        fit, bare = stopwatch.fit[self.warmups :], stopwatch.bare[self.warmups :]
        added = [each - other for each, other in zip(fit, bare, strict=True)]
        sides = ("trainer.fit", "bare loop")
        return Findings(
            [compare(f"training step, {self.what}", sides, fit, bare, target=self.share)],
            [Figure(f"what the platform adds to a step, {self.what}", spread(added), "s", self.added)],
        )

    def _run(self, config: dict[str, Any]) -> Stopwatch:
        data, module = make(config["data"]), module_of(config)
        x_0 = data.pixels.encode(data.images("train").images[: data.batch_size]).to(device())
        stopwatch = Stopwatch(BareLoop(module_of(config), x_0, "32-true"), self.rounds + self.warmups)
        callbacks = [*make_all(config, "callbacks"), stopwatch]
        trainer = make_with(
            {**config["trainer"], "precision": "32-true"},
            "trainer",
            callbacks=callbacks,
            logger=make_all(config, "logger"),
        )
        with quiet_libraries(), suppress(Enough):  # a fit that the stopwatch ends has ended well
            trainer.fit(module, datamodule=data)
        return stopwatch
