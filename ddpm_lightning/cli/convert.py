"""The command that carries weights in and out: `ddpm convert`, `python convert.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command
from ddpm_lightning.training.command_line.failures import telling_failures


@telling_failures
def run(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.interchange.convert import convert

    convert(cfg)


main = command(run)
