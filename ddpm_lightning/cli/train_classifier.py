"""The command that trains a small feature network: `ddpm train_classifier`, `python train_classifier.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command


@command
def main(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.training.classifier import train_classifier

    train_classifier(cfg)
