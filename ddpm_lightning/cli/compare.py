"""`compare.py`: compares runs: every number with its error, the samples, and the options that differ."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.errors import UserError, check_boolean
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.studies.report.comparison.comparing import as_csv, as_markdown, compare, comparison_page

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Prints the comparison as tables, and writes it into the folder into= as a page, Markdown and CSV."""
    with reporting_user_errors(), quiet_libraries():
        config = plain(cfg)
        check_boolean("by_images", config["by_images"], "true computes errors from the images that the runs keep")
        if not isinstance(config["runs"], list) or config["into"] is None:
            raise UserError("a comparison needs runs and a folder: ddpm compare RUN RUN into=comparison")
        into = Path(str(config["into"]))
        comparison = compare([Path(str(each)).expanduser() for each in config["runs"]], config["by_images"])
        into.mkdir(parents=True, exist_ok=True)
        write_text(into / "comparison.csv", as_csv(comparison))
        write_text(into / "comparison.md", as_markdown(comparison))
        write_text(into / "comparison.html", comparison_page(comparison))
        print(as_markdown(comparison))
        log.info("Written: %s", relative(into / "comparison.html"))
