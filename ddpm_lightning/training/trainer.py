"""Builds Lightning's Trainer, and refuses the options that would not work here."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from ddpm_lightning.configuration.option_names import unknown_name
from ddpm_lightning.errors import UserError, check_at_most, check_whole, near_names
from ddpm_lightning.runtime.devices import check_precision, choose_accelerator
from ddpm_lightning.runtime.private_parts import leave_signals_alone
from ddpm_lightning.training.callbacks.stop import TimeLimit
from ddpm_lightning.training.checkpoint import AtomicCheckpointIO

SHARDING_STRATEGIES = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)

OWN_OPTIONS = {"_target_", "run_dir", "max_steps", "max_time", "precision", "accelerator"}
"""The parameters of make_trainer itself."""

PASSED_ON = {
    *("accumulate_grad_batches", "devices", "num_nodes", "strategy", "sync_batchnorm"),
    *("min_steps", "deterministic", "benchmark", "inference_mode", "detect_anomaly", "profiler"),
}
"""Options that make_trainer passes on and that work as Lightning documents them."""

_COUNTS_STEPS = "training counts steps, not epochs; use trainer.max_steps"
_CLIPS_NORM = "gradients are clipped by their global norm; use module.max_grad_norm"
_OWN_INTERVALS = (
    "each callback has an interval of its own; use callbacks.bound.every_n_steps, callbacks.quality.every_n_steps"
)

REFUSED = {
    "max_epochs": _COUNTS_STEPS,
    "min_epochs": f"{_COUNTS_STEPS} or trainer.min_steps",
    "limit_train_batches": _COUNTS_STEPS,
    "reload_dataloaders_every_n_epochs": "training counts steps, not epochs; leave it out",
    "fast_dev_run": "use experiment=debug, which runs ten steps of everything",
    "num_sanity_val_steps": "use experiment=debug, which runs ten steps of everything",
    "overfit_batches": "use debug=overfit, which trains on a few images",
    "limit_val_batches": "use callbacks.bound.num_images",
    "limit_test_batches": "the test takes the whole split; use module.test_strata=2 for a quick one",
    "limit_predict_batches": "training predicts nothing; use sample.py num_images=",
    "val_check_interval": _OWN_INTERVALS,
    "check_val_every_n_epoch": _OWN_INTERVALS,
    "log_every_n_steps": "use callbacks.metrics.every_n_steps",
    "gradient_clip_val": _CLIPS_NORM,
    "gradient_clip_algorithm": _CLIPS_NORM,
    "enable_checkpointing": "use callbacks.checkpoint=null for a run without checkpoints",
    "enable_progress_bar": "use callbacks.progress=null for a run without a bar",
    "enable_model_summary": "use +callbacks.summary._target_=lightning.pytorch.callbacks.ModelSummary",
    "enable_autolog_hparams": "every logger gets the configuration; use logger=none for none",
    "logger": "use logger=csv, logger=none or another option of that group",
    "callbacks": "use callbacks.NAME=null or +callbacks.NAME._target_=CLASS",
    "barebones": "use logger=none and callbacks.NAME=null",
    "default_root_dir": "use hydra.run.dir",
    "plugins": "use trainer.precision for the precision; the cluster is recognized",
    "use_distributed_sampler": "each process has its own part of the data already; leave it out",
    "model_registry": "use logger.wandb.upload_checkpoint=true",
}
"""Options of Lightning's Trainer that would have no effect or a wrong one, and what to use instead."""


def make_trainer(
    *,
    run_dir: str,
    max_steps: int,
    max_time: Any = None,
    precision: str = "auto",
    accelerator: str = "auto",
    **options: Any,
) -> L.Trainer:
    """Returns a Lightning Trainer that counts optimizer steps, because the training data are one endless stream.

    Args:
        run_dir: the folder of the run.
        max_steps: optimizer steps after which training ends, at least 1.
        max_time: time limit of this command, "DD:HH:MM:SS", or None. The same command then resumes for as long again.
        precision: "32-true"; "bf16-mixed"; or "auto", which is "bf16-mixed" on hardware that computes in bf16.
        accelerator: as in Lightning, but "auto" is a CUDA GPU or the CPU: Apple's GPUs lack float64, which the tables
            of the diffusion process need.
        options: further arguments of lightning.Trainer, those of `PASSED_ON`.

    Raises:
        UserError: if an option is out of bounds, or Lightning refuses it.
    """
    check_counts(max_steps, options.get("accumulate_grad_batches", 1))
    check_strategy(options.get("strategy"))
    accelerator = choose_accelerator(accelerator)
    callbacks = list(options.pop("callbacks", None) or [])
    try:
        callbacks += [] if max_time is None else [TimeLimit(max_time)]
        trainer = L.Trainer(
            accelerator=accelerator,
            enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
            callbacks=callbacks,
            default_root_dir=run_dir,
            max_steps=max_steps,
            max_epochs=-1,
            precision=check_precision(precision, accelerator),  # type: ignore[arg-type]
            plugins=[AtomicCheckpointIO()],
            use_distributed_sampler=False,  # the DataModule gives each process its own part
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **options,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from error
    leave_signals_alone(trainer)  # runtime/signals.py handles them
    return trainer


def check_trainer(config: Mapping[str, Any]) -> None:
    """Raises UserError if the trainer of a configuration has an option that does not work here."""
    for name in config["trainer"] if isinstance(config["trainer"], dict) else ():
        if name in REFUSED:
            raise UserError(f"trainer.{name} has no effect here; {REFUSED[name]}")
        if name not in OWN_OPTIONS | PASSED_ON:
            meant = next(iter(near_names(name, sorted(OWN_OPTIONS | PASSED_ON | REFUSED.keys()))), name)
            if meant in REFUSED:
                raise UserError(f"trainer.{name} is no option of this command; {REFUSED[meant]}")
            raise unknown_name(f"trainer.{name}", OWN_OPTIONS | PASSED_ON, config)


def check_counts(max_steps: int, accumulated: int) -> None:
    """Raises UserError if the number of steps, or of the batches per step, is out of bounds."""
    check_whole("trainer.max_steps", max_steps, 1, "nothing would be trained; the paper uses 800000")
    check_whole("trainer.accumulate_grad_batches", accumulated, 1, "it counts the batches per optimizer step; use 1")
    check_at_most("trainer.accumulate_grad_batches", accumulated, 10_000, "a step would never end; use 1")


def check_strategy(strategy: object) -> None:
    """Raises UserError for a strategy that divides the weights among processes, such as FSDP or DeepSpeed."""
    if isinstance(strategy, SHARDING_STRATEGIES) or str(strategy).startswith(("fsdp", "deepspeed")):
        name = strategy if isinstance(strategy, str) else type(strategy).__name__
        raise UserError(
            f"trainer.strategy={name} divides the weights among the processes, but pictures and measurements "
            "need the whole network in one process; use trainer=ddp, and to save memory "
            "network.activation_checkpointing=true or trainer.accumulate_grad_batches=4 (weights, gradients, Adam's "
            "moments and the average of the paper's largest network are 5.1 GB)"
        )
