"""`report.py`: writes the table and the page of a sweep, or the page of one run."""

from pathlib import Path

from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from ddpm_lightning.configuration.build import make_all
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.studies.report.single.run_page import write_run_page
from ddpm_lightning.studies.report.write import log_table, write_report
from ddpm_lightning.training.loggers.closing import closing_loggers


def run(cfg: DictConfig) -> None:
    """Writes the report of a sweep into its folder and sends it to the loggers, or writes the page of one run."""
    with reporting_user_errors(), quiet_libraries():
        config = plain(cfg)
        if config["run"] is not None:
            if config["sweep"] is not None:
                raise UserError("sweep= and run= ask for two pages; leave one out")
            write_run_page(Path(config["run"]))
            return
        if config["sweep"] is None:
            raise UserError("no sweep given; add sweep=DIR, the directory that the sweep wrote to, or run=DIR")
        folder = Path(config["sweep"])
        rows = write_report(folder)
        loggers = make_all(config, "logger", Logger)
        with closing_loggers(loggers):
            for logger in loggers:
                log_table(logger, rows, folder)
