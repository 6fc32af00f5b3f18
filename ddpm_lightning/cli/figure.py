"""What figure.py does: a checkpoint in; pictures, and the numbers behind them in results.json, out."""

from omegaconf import DictConfig

from ddpm_lightning.cli.evaluate import evaluate_here
from ddpm_lightning.configuration.build import plain
from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.processes import in_processes
from ddpm_lightning.runtime.user_errors import reporting_user_errors


def run(cfg: DictConfig) -> None:
    """Draws every figure that was asked for, and writes results.json after each. One that cannot be drawn is left out,
    and told again at the end, as a UserError."""
    with reporting_user_errors():
        config = plain(cfg)
        config["metrics"] = config.pop("figure", {})
        if not any(config["metrics"].values()):
            raise UserError("no figure asked for; add figure=[interpolation] or others of: python figure.py --help")
        if config["checkpoint"] is None:
            raise UserError("figures are of a model; add checkpoint=PATH, a run keeps its own at checkpoints/last.ckpt")
        in_processes(evaluate_here, {**config, "one_by_one": True})
