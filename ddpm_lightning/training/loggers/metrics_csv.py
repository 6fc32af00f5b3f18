"""Logs to metrics.csv, with one row per logged step and one column per metric.

Lightning's CSVLogger is not used, because it deletes the file of a run that resumes.
"""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.run_files.metrics_rows import METRICS_FILE, read_rows


class MetricsCSV(Logger):
    """Logs numbers to run_dir/metrics.csv. A run that resumes first drops the rows after its checkpoint.

    Args:
        run_dir: the folder of the run.

    Raises:
        UserError: on the first log, if an existing file has a row without a step.
    """

    def __init__(self, run_dir: str) -> None:
        super().__init__()
        self.path = Path(run_dir) / METRICS_FILE
        self.columns: list[str] = []
        self.opened = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing, because the configuration is in .hydra/."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row: dict[str, Any] = {"step": step, **metrics}
        if not self.opened or set(row) - set(self.columns):
            self._rewrite(row)
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def _rewrite(self, row: dict[str, Any]) -> None:
        rows = read_rows(self.path) if self.path.is_file() else []
        if not self.opened:
            rows = [old for old in rows if self._stays(old, row)]
        self.opened = True
        rows.append(row)
        self.columns = list(dict.fromkeys(column for each in rows for column in each))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, self.columns)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, table.getvalue())

    def _stays(self, old: dict[str, str], row: dict[str, Any]) -> bool:
        """Returns whether an old row is from before the first new row: an earlier step, or none of its metrics."""
        try:
            step = int(old["step"])
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{self.path} has a row without a step, so it is damaged; repair or remove it") from None
        return step < row["step"] or (step == row["step"] and not any(old.get(key) for key in row if key != "step"))
