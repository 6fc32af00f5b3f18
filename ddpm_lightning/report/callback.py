"""Writes the report when a sweep has ended. Imports nothing heavy until then, for Hydra builds it at the start."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepReport(Callback):
    """report.py, without W&B, which each run has for itself. Hydra does not call it where a job failed (one that
    diverged has not), or the sweep was killed; then report.py does the same."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from ddpm_lightning.report.report import write_report
        from ddpm_lightning.training.manners import told_plainly

        with told_plainly():
            write_report(Path(config.hydra.sweep.dir))
