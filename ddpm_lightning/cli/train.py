"""What train.py does: data, model, module, callbacks, loggers, trainer; fit, test, report."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from ddpm_lightning.configuration.build import (
    ImageData,
    build_model,
    check_compile,
    compile_network,
    make,
    make_all,
    make_sampler,
    make_with,
    plain,
)
from ddpm_lightning.diffusion.losses import Loss
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.timesteps import TimestepDistribution
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.evaluation.after_training import (
    check_evaluation,
    evaluate_run,
    is_finished,
    measured_before,
)
from ddpm_lightning.runtime.command_line import option, relative
from ddpm_lightning.runtime.processes import in_processes, is_first
from ddpm_lightning.runtime.quiet_libraries import quiet_libraries
from ddpm_lightning.runtime.results import commit
from ddpm_lightning.runtime.run_directory import alone_in, files_of_hydra
from ddpm_lightning.runtime.signals import STOP, Interrupted
from ddpm_lightning.runtime.user_errors import reporting_user_errors
from ddpm_lightning.training.callbacks.checkpoints import SelfDescription, last_checkpoint
from ddpm_lightning.training.callbacks.resuming import History, OptimizerOptions, restoring
from ddpm_lightning.training.callbacks.stop import ENDED_EARLY, EarlyEnd, StopOnSignal, ended_early
from ddpm_lightning.training.checkpoint import found_at, newest_whole
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.training.init_from import start_from
from ddpm_lightning.training.loggers.closing import closing_loggers
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.monitors import check_monitors
from ddpm_lightning.training.objective import check_objective, objective_of
from ddpm_lightning.training.run_results import (
    forget_early_end,
    log_values,
    reason_of_divergence,
    recording_divergence,
    report,
    results_of,
    sending_files,
    wanted,
)
from ddpm_lightning.training.same_run import (
    Difference,
    allows_more_training,
    check_allowed,
    check_same_run,
    settled,
)
from ddpm_lightning.training.trainer import check_trainer

log = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """What a run resumes.

    path: its checkpoint; None for a new run. changed: what differs from the checkpoint's options. ended_at: the step at
    which a callback ended the run, if it trains no further; else None.
    """

    path: Path | None
    changed: list[Difference]
    ended_at: int | None


def run(cfg: DictConfig) -> float | None:
    """Trains, tests the averaged weights and writes the run directory; resumes where that holds a checkpoint. Returns
    the value of objective=, by which a sweeper judges the run."""
    with reporting_user_errors():
        config = settled(plain(cfg))
        check_allowed(config)
        train_or_record(cfg, config)
        return objective_of(config) if is_first() else None


def train_or_record(cfg: DictConfig, config: dict[str, Any]) -> None:
    """The run. In a sweep, that it diverges is a result like another, and the sweep goes on."""
    if in_sweep() and (reason := reason_of_divergence(config)):
        log.info("This run diverged: %s; remove %s to try again", reason, relative(results_of(config)))
        return
    try:
        in_processes(partial(train_here, typed=files_of_hydra(cfg)), config)
    except UserError:
        if not in_sweep() or not (reason := reason_of_divergence(config)):
            raise
        log.warning("This run diverged, which is recorded: %s", reason)


def in_sweep() -> bool:
    """Whether this run is one of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def train_here(config: dict[str, Any], typed: Mapping[str, str]) -> None:
    """The same in this process, which may be one of several. typed: the files of .hydra by their names."""
    commit()  # of what runs, whatever becomes of the files meanwhile
    with quiet_libraries(), alone_in(Path(config["run_dir"])) if is_first() else nullcontext():
        resumed = resumable(config)
        if resumed.path is not None and is_finished(config, resumed.ended_at or config["trainer"]["max_steps"]):
            log.info("This run is finished: %s", relative(results_of(config)))
            return
        check_choices(config)
        data = make(config["data"], L.LightningDataModule)
        torch.manual_seed(config["seed"])
        module = make_module(config, build_model(config, data))
        node = with_unused_weights(config["trainer"], module.model, data)
        compile_network(module.model, config["compile"])
        evaluated = check_evaluation(config, module.model, data) if wanted(config) else []
        chosen = make_all(config, "callbacks", L.Callback)
        events = start_from(config, module, chosen) if resumed.path is None else []
        own = [SelfDescription(config, typed), History(resumed.changed, events), OptimizerOptions(resumed.changed)]
        callbacks = [*own, *chosen, EarlyEnd(resumed.ended_at is not None), StopOnSignal()]
        loggers = make_all(config, "logger", Logger)
        trainer = make_with(node, callbacks=callbacks, logger=loggers)
        check_objective(config, module, trainer, evaluated)
        check_monitors(trainer, module)
        data.trainer = trainer  # by whose processes and accumulation a batch must divide
        data.setup("fit")  # Lightning would do so later; a wrong folder or batch is better told now
        with (
            telling_how_to_resume(trainer),
            closing_loggers(loggers),
            sending_files(trainer),
            recording_divergence(config, trainer),
        ):
            fit_and_test(config, trainer, module, data, loggers, resumed)


def fit_and_test(
    config: dict[str, Any], trainer: L.Trainer, module: DDPM, data: Any, loggers: list[Any], resumed: Resumed
) -> None:
    """The run itself, once everything is built."""
    parameters = sum(p.numel() for p in module.parameters())
    log.info("%s parameters, in %s", f"{parameters:,}", relative(Path(config["run_dir"])))
    if resumed.path is not None:
        log.info("Going on from %s", relative(resumed.path))
    for logger in loggers:
        logger.log_hyperparams(config)
    if resumed.ended_at is None:
        forget_early_end(config)
    with restoring(trainer, resumed.path):
        trainer.fit(module, datamodule=data, ckpt_path=resumed.path, weights_only=True)
    if ended_early(trainer):
        tell_early_end(trainer)
    elif trainer.global_step < trainer.max_steps:
        tell_how_to_resume(trainer, "trainer.max_time")
    trainer.test(module, datamodule=data, verbose=False)
    results = measured_before(config, trainer.global_step) if wanted(config) else {"metrics": {}}
    if trainer.is_global_zero:
        results = report(config, module, trainer, results)
    if wanted(config):
        log_values(trainer, evaluate_run(config, results, trainer))


@contextmanager
def telling_how_to_resume(trainer: L.Trainer) -> Iterator[None]:
    """Inside, being asked to stop (Ctrl-C, SIGTERM, SIGUSR1, SIGUSR2) ends the run with a word on how to go on."""
    with STOP.listening():
        try:
            yield
        except Interrupted as stop:
            tell_how_to_resume(trainer, str(stop))
            raise


def tell_how_to_resume(trainer: L.Trainer, why: str) -> None:
    """Says where the run stopped, and what goes on with it."""
    run_dir = Path(trainer.default_root_dir)
    found = found_at(last_checkpoint(run_dir))
    log.info(
        "Stopped by %s at step %d; the same options with %s go on from %s",
        why,
        trainer.global_step,
        option("hydra.run.dir", relative(run_dir)),
        relative(found[0]) if found else "the start, for there is no checkpoint yet",
    )


def tell_early_end(trainer: L.Trainer) -> None:
    """Says that a callback ended the training, and what trains further."""
    log.info(
        "A callback ended the training at step %d of %d, so the run is finished; with a larger trainer.max_steps, or "
        "without that callback, the same command trains further",
        trainer.global_step,
        trainer.max_steps,
    )


def check_choices(config: dict[str, Any]) -> None:
    """Raises UserError for an illegal combination, before anything is read or built."""
    check_whole("seed", config["seed"], 0, "it numbers the run's randomness; use 0")
    check_compile(config["compile"])
    check_trainer(config["trainer"])
    make(config["loss"], Loss).check(make(config["variance"], Variance))


def with_unused_weights(trainer: Any, model: DenoisingDiffusion, data: ImageData) -> Any:
    """The trainer's node. Where one image does not need all weights of the network, DDP is to look at each step for
    those without gradient, unless the user has said whether it should: else it waits for every gradient."""
    strategy = trainer.get("strategy") if isinstance(trainer, dict) else None
    if not isinstance(strategy, dict) or not str(strategy.get("_target_")).endswith("DDPStrategy"):
        return trainer
    if "find_unused_parameters" in strategy or not leaves_weights_out(model, data):
        return trainer
    return {**trainer, "strategy": {**strategy, "find_unused_parameters": True}}


def leaves_weights_out(model: DenoisingDiffusion, data: ImageData) -> bool:
    """Whether some weights get no gradient from one image."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with evaluating(model):
        output = model.network(torch.zeros(1, data.channels, *data.size), torch.zeros(1, dtype=torch.int64))
        return None in torch.autograd.grad(output.sum(), weights, allow_unused=True)


def make_module(config: dict[str, Any], model: DenoisingDiffusion) -> DDPM:
    """The LightningModule of a configuration around p_θ."""
    kinds: dict[str, Any] = {"loss": Loss, "optimizer": Callable, "timesteps": TimestepDistribution}
    parts = {part: make(config[part], kind) for part, kind in kinds.items()}
    module = make_with(config["module"], model=model, sampler=make_sampler(config["sampler"], model), **parts)
    assert isinstance(module, DDPM)
    return module


def resumable(config: dict[str, Any]) -> Resumed:
    """Returns what the run directory holds of this run. Raises UserError where it holds another run."""
    found = newest_whole(last_checkpoint(config["run_dir"]))
    if found is None:
        return Resumed(None, [], None)
    path, checkpoint = found
    changed = check_same_run(checkpoint, config, path)
    has_ended = ENDED_EARLY in checkpoint and not any(map(allows_more_training, changed))
    return Resumed(path, changed, checkpoint["global_step"] if has_ended else None)
