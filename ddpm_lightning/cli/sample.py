"""The command that draws images from a checkpoint: `ddpm sample`, `python sample.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command


@command
def main(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.training.sampling import sample

    sample(cfg)
