"""The entry points: what train.py and sample.py do."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import CompactHydraException
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.build import build_model, load_weights, make
from ddpm_lightning.training.callbacks.checkpoint import SelfDescription, last_checkpoint
from ddpm_lightning.training.checkpoint import check_same_model, model_weights, read_checkpoint
from ddpm_lightning.training.generate import walk
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.results import provenance, write_results
from ddpm_lightning.typing import Pixels

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> None:
    """Trains, tests the averaged weights and writes the run directory; goes on where that holds a checkpoint."""
    with told_plainly(), quiet():
        config = plain(cfg)
        torch.manual_seed(config["seed"])
        data = make(config["data"])
        data.setup("fit")
        model = build_model(config, data)
        module = make_module(config, model)
        callbacks = [SelfDescription(config), *make_all(config["callbacks"])]
        loggers = make_all(config["logger"])
        trainer = make_with(config["trainer"], callbacks=callbacks, logger=loggers)
        checkpoint = resumable(config)
        log.info("Training %s parameters in %s", f"{sum(p.numel() for p in model.parameters()):,}", config["run_dir"])
        with closing(loggers):
            for logger in loggers:
                logger.log_hyperparams(config)
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            trainer.test(module, datamodule=data, verbose=False)
            if trainer.is_global_zero:
                report(config, module, trainer)


def make_module(config: dict[str, Any], model: torch.nn.Module) -> DDPM:
    """The LightningModule of a configuration around p_θ."""
    parts = {part: make(config[part]) for part in ("loss", "sampler", "optimizer", "timesteps")}
    module = make_with(config["module"], model=model, **parts)
    assert isinstance(module, DDPM)
    return module


def resumable(config: dict[str, Any]) -> Path | None:
    """The checkpoint in the run directory that this run goes on from, if there is one."""
    path = last_checkpoint(config["run_dir"])
    if not path.exists():
        return None
    check_same_model(read_checkpoint(path), config, path)
    log.info("Going on from %s", path)
    return path


def report(config: dict[str, Any], module: DDPM, trainer: L.Trainer) -> None:
    """Writes results.json, tells the loggers, and says where the run lies."""
    name = f"bpd_{module.model.variance.name}"
    value = {
        "value": module.bound.mean,
        "standard_error": module.bound.standard_error,
        "unit": "bits/dim",
        "estimator": f"one draw of t in each of {module.test_strata} strata of 2..T, t=1 and L_T exact",
        "clip_x_0": True,
        "split": "test",
        "num_images": module.bound.count,
        "step": trainer.global_step,
        "weights": "ema" if "ema" in config["callbacks"] else "raw",
    }
    run_dir = Path(config["run_dir"])
    write_results(run_dir / "results.json", {"metrics": {f"test/{name}": value}, **provenance(config["seed"])})
    for logger in trainer.loggers:
        logger.log_metrics({f"test/{name}": module.bound.mean}, step=trainer.global_step)
    log.info("Test split: %.3f ± %.3f bits/dim (%s)", module.bound.mean, module.bound.standard_error, name)
    shown = relative(run_dir)
    log.info(
        "The run lies in %s. Sample from it with: %s sample.py checkpoint=%s",
        shown,
        relative(Path(sys.executable)),
        last_checkpoint(shown),
    )


def sample(cfg: DictConfig) -> None:
    """Writes images from a checkpoint."""
    with told_plainly():
        config = plain(cfg)
        check_sample(config)
        path = Path(config["checkpoint"])
        checkpoint = read_checkpoint(path)
        data = make(checkpoint["config"]["data"])
        model = build_model(checkpoint["config"], data)
        load_weights(model, model_weights(checkpoint, config["use_ema"]), str(path))
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        images = sample_images(config, model, data)
        folder = Path(config["run_dir"])
        written = make(config["output"]).write(images, folder)
        log.info("%d images of step %d: %s", len(images), checkpoint["global_step"], relative(written))


def check_sample(config: dict[str, Any]) -> None:
    """Raises UserError where sample.py's own options cannot work."""
    if config["checkpoint"] is None:
        raise UserError("no checkpoint given; add checkpoint=PATH, a run keeps its own at checkpoints/last.ckpt")
    for name in ("num_images", "batch_size"):
        if not isinstance(config[name], int) or config[name] < 1:
            raise UserError(f"{name}={config[name]} is not a whole number of at least 1; give a number of images")


def sample_images(config: dict[str, Any], model: Any, data: Any) -> Pixels:
    """num_images images, batch by batch, as bytes: [n, c, h, w]."""
    sampler = make(config["sampler"])
    count, at_once = config["num_images"], config["batch_size"]
    starts = range(0, count, at_once)
    images = []
    with tqdm(total=len(starts) * sampler.chain(model).process.T, desc="Sampling", unit="step") as bar:
        for first in starts:
            x = torch.empty(0)
            shape = (data.channels, *data.size)
            for step in walk(model, sampler, shape, min(at_once, count - first), seed=config["seed"], first=first):
                x = step.x
                bar.update()
            images.append(data.pixels.to_bytes(x).cpu())
    return torch.cat(images)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration, resolved, as a plain dict."""
    config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def make_all(nodes: dict[str, Any] | None) -> list[Any]:
    """The objects of a group of named ones; an option set to null is left out."""
    return [make(node) for node in (nodes or {}).values() if node is not None]


def make_with(node: dict[str, Any], **parts: Any) -> Any:
    """Like `make`, for arguments that are objects already."""
    return make({**node, "_partial_": True})(**parts)


def relative(path: Path) -> Path:
    """The path as one types it here."""
    return Path(os.path.relpath(path)) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path


@contextmanager
def closing(loggers: list[Any]) -> Iterator[None]:
    """After, the W&B run is closed, as failed if it failed, so that the next job of a sweep has one of its own."""
    failed = 1
    try:
        yield
        failed = 0
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish(exit_code=failed)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Inside, a mistake of the user ends the command with its sentence and no traceback (HYDRA_FULL_ERROR=1: both)."""
    try:
        yield
    except (UserError, OmegaConfBaseException, OSError) as error:
        raise CompactHydraException(f"Error: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, Lightning leaves out its advertisements and the warnings that do not hold here."""
    for name in ("lightning.pytorch", "matplotlib.font_manager"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        yield
