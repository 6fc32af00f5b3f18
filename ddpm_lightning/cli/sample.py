"""The command that draws images from a checkpoint: `ddpm sample`, `python sample.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command
from ddpm_lightning.training.command_line.failures import telling_failures


@telling_failures
def run(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.training.sampling import sample

    sample(cfg)


main = command(run)
