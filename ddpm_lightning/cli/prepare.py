"""The command that writes images as shards: `ddpm prepare`, `python prepare.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command
from ddpm_lightning.training.command_line.failures import telling_failures


@telling_failures
def run(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.prepare.prepare import prepare

    prepare(cfg)


main = command(run)
