"""What train.py does: data, model, module, callbacks, loggers, trainer; fit, test, report."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from ddpm_lightning.diffusion.losses import Loss
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.diffusion.timesteps import TimestepDistribution
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import check_whole
from ddpm_lightning.training.build import build_model, check_compile, compile_network, make, make_all, make_with, plain
from ddpm_lightning.training.callbacks.checkpoint import SelfDescription, keeps_checkpoints, last_checkpoint
from ddpm_lightning.training.callbacks.ema import keeps_average
from ddpm_lightning.training.callbacks.periodic import Periodic
from ddpm_lightning.training.callbacks.restoring import restoring
from ddpm_lightning.training.callbacks.stop import StopOnSignal
from ddpm_lightning.training.checkpoint import check_same_run, newest_whole
from ddpm_lightning.training.manners import closing, quiet, relative, told_plainly
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.processes import in_processes, is_first
from ddpm_lightning.training.results import commit, provenance, tell, with_warnings, write_results
from ddpm_lightning.training.run_dir import alone_in
from ddpm_lightning.training.signals import STOP, Interrupted

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> None:
    """Trains, tests the averaged weights and writes the run directory; goes on where that holds a checkpoint."""
    with told_plainly():
        in_processes(train_here, plain(cfg))


def train_here(config: dict[str, Any]) -> None:
    """The same in this process, which may be one of several."""
    commit()  # of what runs, whatever becomes of the files meanwhile
    with quiet(), alone_in(Path(config["run_dir"])) if is_first() else nullcontext():
        checkpoint = resumable(config)
        if is_finished(checkpoint, config):
            log.info("This run is finished: %s", relative(Path(config["run_dir"]) / "results.json"))
            return
        check_choices(config)
        data = make(config["data"], L.LightningDataModule)
        torch.manual_seed(config["seed"])
        module = make_module(config, build_model(config, data))
        compile_network(module.model, config["compile"])
        callbacks = [SelfDescription(config), *make_all(config["callbacks"], L.Callback), StopOnSignal()]
        loggers = make_all(config["logger"], Logger)
        trainer = make_with(config["trainer"], callbacks=callbacks, logger=loggers)
        data.setup("fit")  # Lightning would do so later; a wrong folder is better told now
        with closing(loggers):
            fit_and_test(config, trainer, module, data, loggers, checkpoint)


def fit_and_test(
    config: dict[str, Any], trainer: L.Trainer, module: DDPM, data: Any, loggers: list[Any], checkpoint: Path | None
) -> None:
    """The run itself, once everything is built."""
    parameters = sum(p.numel() for p in module.parameters())
    log.info("%s parameters, in %s", f"{parameters:,}", relative(Path(config["run_dir"])))
    if checkpoint is not None:
        log.info("Going on from %s", relative(checkpoint))
    for logger in loggers:
        logger.log_hyperparams(config)
    with going_on(trainer):
        with restoring(trainer, checkpoint):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        trainer.test(module, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        report(config, module, trainer)


@contextmanager
def going_on(trainer: L.Trainer) -> Iterator[None]:
    """Inside, being asked to stop (Ctrl-C, SIGTERM, SIGUSR1, SIGUSR2) ends the run with a word on how to go on."""
    with STOP.listening():
        try:
            yield
        except Interrupted as stop:
            tell_how_to_go_on(trainer, str(stop))
            raise


def tell_how_to_go_on(trainer: L.Trainer, why: str) -> None:
    """Says where the run stopped, and what goes on with it."""
    run_dir = relative(Path(trainer.default_root_dir))
    found = last_checkpoint(run_dir).exists()
    log.info(
        "Stopped by %s at step %d; the same options with hydra.run.dir=%s go on from %s",
        why,
        trainer.global_step,
        run_dir,
        last_checkpoint(run_dir) if found else "the start, for there is no checkpoint yet",
    )


def check_choices(config: dict[str, Any]) -> None:
    """Raises UserError for an illegal combination, before anything is read or built."""
    check_whole("seed", config["seed"], 0, "it numbers the run's randomness; use 0")
    check_compile(config["compile"])
    make(config["loss"], Loss).check(make(config["variance"], Variance))


def make_module(config: dict[str, Any], model: torch.nn.Module) -> DDPM:
    """The LightningModule of a configuration around p_θ."""
    kinds: dict[str, Any] = {"loss": Loss, "sampler": Sampler, "optimizer": Callable, "timesteps": TimestepDistribution}
    parts = {part: make(config[part], kind) for part, kind in kinds.items()}
    module = make_with(config["module"], model=model, **parts)
    assert isinstance(module, DDPM)
    return module


def resumable(config: dict[str, Any]) -> Path | None:
    """The checkpoint in the run directory that this run goes on from, if there is one."""
    found = newest_whole(last_checkpoint(config["run_dir"]))
    if found is None:
        return None
    path, checkpoint = found
    check_same_run(checkpoint, config, path)
    return path


def is_finished(checkpoint: Path | None, config: dict[str, Any]) -> bool:
    """Whether the run in this directory has made all its steps and written its results."""
    results = Path(config["run_dir"]) / "results.json"
    if checkpoint is None or not results.exists():
        return False
    try:
        steps = [value["step"] for value in json.loads(results.read_text())["metrics"].values()]
        return bool(min(steps) >= config["trainer"]["max_steps"])
    except (ValueError, TypeError, KeyError):  # a damaged file; it is written anew
        return False


def report(config: dict[str, Any], module: DDPM, trainer: L.Trainer) -> None:
    """Writes results.json, tells the loggers, and says where the run lies."""
    tested = test_result(module, trainer)
    found = {**tested, **last_measured(trainer)}
    run_dir = relative(Path(config["run_dir"]))
    write_results(run_dir / "results.json", {"metrics": with_warnings(found), **provenance(config["seed"])})
    for name, record in tested.items():
        for logger in trainer.loggers:
            logger.log_metrics({name: record["value"]}, step=trainer.global_step)
    tell(found)
    how = ""
    if keeps_checkpoints(trainer):
        how = f" Sample from it with: {relative(Path(sys.executable))} sample.py checkpoint={last_checkpoint(run_dir)}"
    log.info("The run lies in %s.%s", run_dir, how)


def test_result(module: DDPM, trainer: L.Trainer) -> dict[str, dict[str, Any]]:
    """Bits/dim of the test split, and what it is a number of."""
    variance = module.model.variance.name
    raw = "" if keeps_average(trainer) else "_raw"
    record = {
        "value": module.bound.mean,
        "standard_error": module.bound.standard_error,
        "unit": "bits/dim",
        "estimator": f"L_T exact, one draw of t in each of {module.test_strata} strata, p(t) ∝ 1/t",
        "clip_x_0": True,
        "variance": variance,
        "split": "test",
        "num_images": module.bound.count,
        "step": trainer.global_step,
        "weights": "raw" if raw else "ema",
        "precision": str(trainer.precision),
    }
    return {f"test/bpd_{variance}{raw}_estimate": record}


def last_measured(trainer: L.Trainer) -> dict[str, dict[str, Any]]:
    """What the callbacks found last."""
    found: dict[str, dict[str, Any]] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Periodic):
            found |= callback.records
    return found
