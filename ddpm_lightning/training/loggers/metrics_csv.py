"""metrics.csv: one row a step that logged, one column a metric, kept over restarts.

Lightning's CSVLogger deletes the file of the run that it goes on with.
"""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.errors import UserError

METRICS_FILE = "metrics.csv"


class MetricsCSV(Logger):
    """Writes run_dir/metrics.csv. A run that goes on from a checkpoint drops the rows that it is about to repeat."""

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
        """Nothing: the configuration lies in .hydra/."""

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
        # Whether an old row is from before the first new one: by step, and at the same step if it has other metrics.
        try:
            step = int(old["step"])
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{self.path} has a row without a step, so it is damaged; mend or remove it") from None
        return step < row["step"] or (step == row["step"] and not any(old.get(key) for key in row if key != "step"))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv; an empty string where a step did not log a metric."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
