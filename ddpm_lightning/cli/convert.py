"""The command that carries weights in and out: `ddpm convert`, `python convert.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command


@command
def main(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.interchange.convert import convert

    convert(cfg)
