"""Notes what a sweep is asked when it begins, and writes its report when it has ended.

Imports nothing heavy before, for Hydra builds it at the start.
"""

from pathlib import Path
from typing import Any, cast

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf


class SweepReport(Callback):
    """report.py, without W&B, which each run has for itself. Hydra does not call it where a job failed (one that
    diverged has not), or the sweep was killed; then report.py does the same."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from ddpm_lightning.studies.report.plan import add_to_plan

        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        add_to_plan(folder, cast(dict[str, Any], OmegaConf.to_container(config.hydra, resolve=False)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from ddpm_lightning.studies.report.write import write_report

        write_report(Path(config.hydra.sweep.dir))
