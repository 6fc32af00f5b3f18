"""The command that draws the paper's figures: `ddpm figure`, `python figure.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command
from ddpm_lightning.training.command_line.failures import telling_failures


@telling_failures
def run(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.figures.draw import draw

    draw(cfg)


main = command(run)
