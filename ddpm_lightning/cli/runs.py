"""`runs.py`: lists the runs in folders, from their files: choices, step, metrics, state and cost."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.studies.runs.conditions import kept, ordered
from ddpm_lightning.studies.runs.run_table import read_table
from ddpm_lightning.studies.runs.table_files import csv_of, parquet_of, write_bytes
from ddpm_lightning.studies.runs.text_table import chosen_columns, in_lines

log = logging.getLogger(__name__)

BY_DEFAULT = ("outputs", "multirun")
"""The folders that train.py writes to."""


def run(cfg: DictConfig) -> None:
    """Prints a table of the runs, and writes it to files."""
    with reporting_user_errors():
        config = plain(cfg)
        texts = {key: text_of(key, config[key]) for key in ("where", "sort", "csv", "parquet")}
        table = read_table(folders_of(config["dir"]))
        for damage in table.damaged:
            log.warning("Left out: %s", damage)
        table = ordered(kept(table, texts["where"]), texts["sort"])
        names = chosen_columns(table, config["columns"])
        for key, content in (("csv", csv_of), ("parquet", parquet_of)):
            if texts[key] is not None:
                write_bytes(Path(texts[key] or "").expanduser(), content(table))
        print(*in_lines(table, names), sep="\n")


def folders_of(dirs: object) -> list[Path]:
    """Returns the folders of dir=. Raises UserError if one is missing."""
    names = [each for each in BY_DEFAULT if Path(each).is_dir()] if dirs is None else dirs
    folders = [Path(str(each)).expanduser() for each in (names if isinstance(names, list) else [names])]
    if not folders:
        raise UserError("there is no outputs or multirun here; name the folder of the runs: ddpm runs DIR")
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"dir={folder} is no folder; name one that holds runs: ddpm runs outputs")
    return folders


def text_of(key: str, value: object) -> str | None:
    """Returns the value of an option that is a text or null. Raises UserError if it is something else."""
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key}={shown(value)} is no text; python runs.py --help shows how it is written")
    return value
