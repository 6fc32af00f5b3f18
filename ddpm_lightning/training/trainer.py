"""Lightning's Trainer with the settings that this project needs."""

from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.training.callbacks.stop import TimeLimit
from ddpm_lightning.training.checkpoint import AtomicCheckpointIO

PRECISIONS = ("auto", "32-true", "bf16-mixed")
SHARDING = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)
EPOCH_OPTIONS = {"limit_train_batches", "overfit_batches", "fast_dev_run", "min_epochs", "max_epochs"}


def make_trainer(
    *,
    run_dir: str,
    max_steps: int,
    max_time: Any = None,
    precision: str = "auto",
    accelerator: str = "auto",
    **options: Any,
) -> L.Trainer:
    """A Trainer that counts steps, not epochs (the training data are one endless stream).

    max_time: how long this command may train, "DD:HH:MM:SS"; the same command then resumes, for as long again.
    precision: "32-true", "bf16-mixed", or "auto": the latter where the hardware computes in bf16 natively.
    accelerator: Lightning's, but "auto" is a CUDA GPU or the CPU: the tables are float64, which Apple's GPUs have not.
    options: passed on to lightning.Trainer, but for those that would cut the stream of data into epochs.
    """
    check_whole("trainer.max_steps", max_steps, 1, "nothing would be trained; the paper uses 800000")
    accumulated = options.get("accumulate_grad_batches", 1)
    check_whole("trainer.accumulate_grad_batches", accumulated, 1, "it counts the parts of a batch; use 1")
    check_at_most("trainer.accumulate_grad_batches", accumulated, 10_000, "a step would never end; use 1")
    for option in EPOCH_OPTIONS & options.keys():
        raise UserError(
            f"trainer.{option} counts epochs or parts of them, but training here is one stream of steps; "
            "leave it out and use trainer.max_steps"
        )
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
    # Its own handlers would hang several processes (a collective call inside a handler); signals.py has ours.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def check_strategy(strategy: object) -> None:
    """Raises UserError where weights would be divided among the processes (FSDP, DeepSpeed, tensor parallelism)."""
    if isinstance(strategy, SHARDING) or str(strategy).startswith(("fsdp", "deepspeed")):
        name = strategy if isinstance(strategy, str) else type(strategy).__name__
        raise UserError(
            f"trainer.strategy={name} divides the weights among the processes, but the first of them draws alone, and "
            "each measures its own images, which takes the whole network; use trainer=ddp, and where memory is short "
            "network.activation_checkpointing=true or trainer.accumulate_grad_batches=4 (weights, gradients, Adam's "
            "moments and the average of the paper's largest network are 5.1 GB)"
        )


def choose_accelerator(accelerator: str) -> str:
    """ "auto" as a CUDA GPU where there is one, and else the CPU."""
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def check_precision(precision: str, accelerator: str) -> str:
    """The precision, "auto" as what it stands for. Raises UserError where it is none that works."""
    if precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision={precision} is none of {', '.join(PRECISIONS)}: float16 would need its "
            "gradients scaled, and weights in bf16 would not move; choose one of these"
        )
    return native_precision(accelerator) if precision == "auto" else precision


def native_precision(accelerator: str) -> str:
    """bf16-mixed on GPUs and CPUs (AMX, AVX512-BF16) that compute in bf16; elsewhere it is emulated, and slower."""
    on_gpu = accelerator in ("gpu", "cuda") and torch.cuda.is_available()
    native = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _cpu_computes_in_bf16()
    return "bf16-mixed" if native else "32-true"


def _cpu_computes_in_bf16() -> bool:
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
