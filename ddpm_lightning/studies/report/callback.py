"""A Hydra callback that records the commands of a sweep, and writes its report at the end.

Hydra imports it at the start of every command, so heavy imports stand inside the methods.
"""

from pathlib import Path
from typing import Any, cast

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf


class SweepReport(Callback):
    """Writes the report of a sweep when its last job ends, as report.py does, but sends nothing to W&B.

    Hydra does not call it if a job failed or the sweep was killed. A job that diverged has not failed.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from ddpm_lightning.studies.report.plan import add_to_plan

        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        add_to_plan(folder, cast(dict[str, Any], OmegaConf.to_container(config.hydra, resolve=False)))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from ddpm_lightning.studies.report.write import write_report

        write_report(Path(config.hydra.sweep.dir))
