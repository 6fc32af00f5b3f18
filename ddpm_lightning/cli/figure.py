"""`figure.py`: draws the paper's figures for a checkpoint, and writes their numbers to results.json."""

from omegaconf import DictConfig

from ddpm_lightning.cli.evaluate import evaluate
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.processes import in_processes
from ddpm_lightning.runtime.user_errors import reporting_user_errors


def run(cfg: DictConfig) -> None:
    """Draws the chosen figures, and writes results.json after each.

    A figure that cannot be drawn does not stop the others. All such figures are reported at the end.
    """
    with reporting_user_errors():
        config = plain(cfg)
        config["metrics"] = config.pop("figure", {})
        if not any(config["metrics"].values()):
            raise UserError("no figure is chosen; add figure=[interpolation] or another one of python figure.py --help")
        if config["checkpoint"] is None:
            raise UserError("no checkpoint given; add checkpoint=PATH, a run keeps its own at checkpoints/last.ckpt")
        in_processes(evaluate, {**config, "metrics_group": "figure", "one_by_one": True})
