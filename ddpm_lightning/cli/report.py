"""The command that makes a sweep's table and page: `ddpm report`, `python report.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command
from ddpm_lightning.training.command_line.failures import telling_failures


@telling_failures
def run(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.report.report import report

    report(cfg)


main = command(run)
