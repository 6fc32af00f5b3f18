"""Table 2 on digits in seconds: two steps a run, a short chain, a tiny network."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ddpm_lightning.cli import train as run
from ddpm_lightning.diffusion.losses import Simple
from ddpm_lightning.diffusion.parameterizations import Mu

ROWS = [
    "mu_learned_elbo",
    "mu_beta_elbo",
    "mu_beta_simple",
    "epsilon_learned_elbo",
    "epsilon_beta_elbo",
    "epsilon_beta_simple",
]
"""In the order in which the sweep runs them."""

SMALL = [
    "experiment=table2_digits",
    "network.channels=8",
    "network.groups=4",
    "network.multipliers=[1,1]",
    "network.attention=[]",
    "schedule.T=8",
    "trainer.max_steps=2",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "data.batch_size=8",
    "module.test_strata=2",
    "module.max_skipped=0",
    "callbacks.bound.num_images=4",
    "callbacks.bound.every_n_steps=1",
    "callbacks.strip=null",
    "callbacks.schedule_plot=null",
    "callbacks.loss_curve=null",
    "callbacks.loss_by_t=null",
    "callbacks.quality=null",
    "callbacks.progress=null",
    "callbacks.grid.num_images=4",
    "callbacks.metrics.every_n_steps=1",
    "evaluation.num_images=70",
    "logger=csv",
]


def options(folder: Path, *more: str) -> list[str]:
    """Returns options of train.py. Folders are named by row and seed, as all options together are too long."""
    where = [f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${hydra:runtime.choices.row}_seed${seed}"]
    return [*SMALL, f"evaluation.cache={folder}/cache", *where, *more]


@contextmanager
def mu_with_simple_diverging() -> Iterator[None]:
    """Inside, that row's loss is NaN, as it came to be in the paper."""
    honest = Simple.__call__

    def spoiled(self: Simple, model: Any, *arguments: Any) -> Any:
        loss = honest(self, model, *arguments)
        return loss * math.nan if isinstance(model.parameterization, Mu) else loss

    with patch.object(Simple, "__call__", spoiled):
        yield


@contextmanager
def killed_in(row: str) -> Iterator[None]:
    """Inside, Ctrl-C comes when this row has trained and is to be measured."""
    honest = run.evaluate_run

    def interrupted(config: dict[str, Any], *arguments: Any) -> Any:
        if Path(config["run_dir"]).name.startswith(row):
            raise KeyboardInterrupt
        return honest(config, *arguments)

    with patch.object(run, "evaluate_run", interrupted):
        yield
