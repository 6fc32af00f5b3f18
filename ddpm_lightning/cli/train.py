"""The command that trains a model: `ddpm train`, `python train.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command
from ddpm_lightning.training.command_line.failures import telling_failures


@telling_failures
def run(cfg: DictConfig) -> float | None:
    """Runs the command on a composed configuration. Returns the value of objective=, for a sweeper."""
    from ddpm_lightning.training.run import train

    return train(cfg)


main = command(run)
