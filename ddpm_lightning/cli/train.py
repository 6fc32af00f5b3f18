"""`train.py`: trains a model, tests and measures it, and writes everything into the run directory."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from ddpm_lightning.configuration.build import compile_network, make_all, make_node
from ddpm_lightning.configuration.paths import plain
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.after_training import check_evaluation, evaluate_run, is_finished, measured_before
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.processes import in_processes, is_first
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.results import commit
from ddpm_lightning.runtime.run_directory import alone_in, files_of_hydra
from ddpm_lightning.runtime.run_files.run_state import metrics_after_training
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.training.building import build_module, build_trainer, check_choices
from ddpm_lightning.training.callbacks.checkpoints import SelfDescription
from ddpm_lightning.training.callbacks.resuming import History, OptimizerOptions, restoring
from ddpm_lightning.training.callbacks.stop import EarlyEnd, StopOnSignal
from ddpm_lightning.training.init_from import start_from
from ddpm_lightning.training.interrupted import (
    Resumed,
    divergence_in_sweep,
    find_resumable,
    log_shortened,
    telling_how_to_resume,
)
from ddpm_lightning.training.loggers.closing import closing_loggers
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.monitors import check_monitors
from ddpm_lightning.training.objective import check_objective, objective_of
from ddpm_lightning.training.run_results import (
    forget_end,
    log_values,
    recording_divergence,
    report,
    results_of,
    sending_files,
)
from ddpm_lightning.training.same_run import check_allowed, normalized

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float | None:
    """Trains a model, or resumes the run in the run directory. Returns the value of objective=, for a sweeper."""
    with reporting_user_errors():
        config = normalized(plain(cfg))
        check_allowed(config)
        if reason := divergence_in_sweep(config):
            log.info("This run diverged: %s; remove %s to try again", reason, relative(results_of(config)))
        else:
            try:
                in_processes(partial(train, hydra_files=files_of_hydra(cfg)), config)
            except UserError:
                if not (reason := divergence_in_sweep(config)):
                    raise
                log.warning("This run diverged, which is recorded: %s", reason)
        return objective_of(config) if is_first() else None


def train(config: dict[str, Any], hydra_files: Mapping[str, str]) -> None:
    """Trains, tests and measures a run in this process, which may be one of several.

    Args:
        config: The whole configuration, resolved.
        hydra_files: The contents of the files in .hydra, by their names.
    """
    commit()  # remembers the commit that runs, even if files change meanwhile
    with quiet_libraries(), alone_in(Path(config["run_dir"])) if is_first() else nullcontext():
        check_choices(config)
        resumed = find_resumable(config)
        if resumed.path is not None and is_finished(config, resumed.ended_at or config["trainer"]["max_steps"]):
            log.info("This run is finished: %s", relative(results_of(config)))
            return
        data = make_node(config, "data", L.LightningDataModule)
        module = build_module(config, data)
        config = {**config, "conditioning": {**config["conditioning"], **module.model.conditioning.facts}}
        evaluated = check_evaluation(config, module.model, data) if metrics_after_training(config) else []

        callbacks = make_all(config, "callbacks", L.Callback)
        events = start_from(config, module, callbacks) if resumed.path is None else []
        of_run = [SelfDescription(config, hydra_files), History(resumed.changed, events)]
        of_run.append(OptimizerOptions(resumed.changed))
        callbacks = [*of_run, *callbacks, EarlyEnd(resumed.ended_at is not None), StopOnSignal()]
        loggers = make_all(config, "logger", Logger)

        trainer = build_trainer(config, module, data, callbacks, loggers)
        check_objective(config, module, trainer, evaluated)
        check_monitors(trainer, module)
        compile_network(module.model, config["compile"])
        data.trainer = trainer  # a batch must divide by its processes and accumulation
        data.setup("fit")  # Lightning does this later, but a wrong folder or batch is better reported now
        with (
            telling_how_to_resume(trainer),
            closing_loggers(loggers),
            sending_files(trainer),
            recording_divergence(config, trainer),
        ):
            fit(config, trainer, module, data, resumed)
            trainer.test(module, datamodule=data, verbose=False)
            results = measured_before(config, trainer.global_step)
            if trainer.is_global_zero:
                results = report(config, module, trainer, results)
            if metrics_after_training(config):
                log_values(trainer, evaluate_run(config, results, trainer))


def fit(
    config: dict[str, Any], trainer: L.Trainer, module: DDPM, data: L.LightningDataModule, resumed: Resumed
) -> None:
    """Trains up to the last step, from the start or from a checkpoint."""
    parameters = sum(p.numel() for p in module.parameters())
    log.info("%s parameters, in %s", f"{parameters:,}", relative(Path(config["run_dir"])))
    if resumed.path is not None:
        log.info("Resuming from %s", relative(resumed.path))
    for logger in trainer.loggers:
        logger.log_hyperparams(config)
    if resumed.ended_at is None:
        forget_end(config)
    with restoring(trainer, resumed.path):
        trainer.fit(module, datamodule=data, ckpt_path=resumed.path, weights_only=True)
    log_shortened(trainer)
