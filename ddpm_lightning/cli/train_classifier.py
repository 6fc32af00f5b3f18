"""The command that trains a small feature network: `ddpm train_classifier`, `python train_classifier.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command
from ddpm_lightning.training.command_line.failures import telling_failures


@telling_failures
def run(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.training.classifier import train_classifier

    train_classifier(cfg)


main = command(run)
