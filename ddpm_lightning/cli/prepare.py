"""The command that writes images as shards: `ddpm prepare`, `python prepare.py`."""

from omegaconf import DictConfig

from ddpm_lightning.cli.command import command


@command
def main(cfg: DictConfig) -> None:
    """Runs the command on a composed configuration."""
    from ddpm_lightning.prepare.prepare import prepare

    prepare(cfg)
