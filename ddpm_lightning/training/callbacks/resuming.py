"""Callbacks of a resumed run: its history, its changed optimizer options, and clear errors while it is restored."""

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import LBFGS, Adafactor, Optimizer

from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.signals import Interrupted
from ddpm_lightning.training.callbacks.trainer_state import callbacks_of
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.same_run import Difference

log = logging.getLogger(__name__)

HISTORY = "history"
"""The key of the events in a checkpoint and in results.json."""


class History(L.Callback):
    """Keeps the events of a run, each with its optimizer step, in its checkpoints.

    Args:
        changed: the configuration keys that differ from the checkpoint that is resumed.
        events: the first events of a new run, such as the weights that it starts from.
    """

    def __init__(self, changed: Sequence[Difference] = (), events: Sequence[dict[str, Any]] = ()) -> None:
        self.changed = changed
        self.events = list(events)

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.events = list(checkpoint.get(HISTORY, []))

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for change in self.changed:
            log.info("From step %d on, the run has another %s", trainer.global_step, change)
            self.events.append({"step": trainer.global_step, **change._asdict()})

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.events:
            checkpoint[HISTORY] = self.events


def history_of(trainer: L.Trainer) -> dict[str, Any]:
    """Returns the events of the run as {"history": [...]} for results.json, or {} if there are none."""
    events = [event for each in callbacks_of(trainer, History) for event in each.events]
    return {HISTORY: events} if events else {}


class OptimizerOptions(L.Callback):
    """Applies changed optimizer options to a resumed run.

    Lightning restores the options from the checkpoint. This callback writes the new ones into the loaded checkpoint
    before that.

    Args:
        changed: the configuration keys that differ from the checkpoint that is resumed.
    """

    def __init__(self, changed: Sequence[Difference] = ()) -> None:
        self.names = [each.key.removeprefix("optimizer.") for each in changed if each.key.startswith("optimizer.")]
        of_rate = ("optimizer.lr", "module.warmup_steps", "lr_schedule.")
        self.sets_rate = any(each.key.startswith(of_rate) for each in changed)

    def on_load_checkpoint(self, trainer: L.Trainer, module: DDPM, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        now = module.new_optimizer().defaults
        options = {name: now[name] for name in self.names}
        if self.sets_rate:
            options |= {"initial_lr": now["lr"], "lr": now["lr"] * module.rate(checkpoint["global_step"])}
            for scheduler in checkpoint["lr_schedulers"]:
                scheduler["base_lrs"] = [now["lr"]] * len(scheduler["base_lrs"])
        for optimizer in checkpoint["optimizer_states"]:
            for group in optimizer["param_groups"]:
                group |= options


RESTORING_FUNCTIONS = {"load_state_dict", "on_load_checkpoint", "restore_training_state", "resume_start", "resume_end"}
"""Functions of Lightning and PyTorch that read the state in a checkpoint."""

STATEFUL_MODULES = (
    *("lightning.pytorch.loops", "torch.optim", "ddpm_lightning.runtime.phases"),
    *(f"ddpm_lightning.training.{name}" for name in ("callbacks", "module", "skipped_steps")),
)
"""Modules that use restored state at the first step."""

SCALAR_STATES = {"step", "eta", "mu", "mu_product"}
"""The states that PyTorch's optimizers keep as one number per weight. All others have the weight's shape."""


class FirstStep(L.Callback):
    """Checks the optimizer state of the checkpoint that is resumed, and records whether a batch was trained on since.

    Attributes:
        made: whether this process has trained on a batch.
    """

    def __init__(self) -> None:
        self.made = False

    def on_load_checkpoint(self, trainer: L.Trainer, module: DDPM, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        check_shapes(checkpoint["optimizer_states"][0], module.new_optimizer())

    def on_train_batch_end(self, *_: Any) -> None:
        self.made = True


def check_shapes(saved: dict[str, Any], optimizer: Optimizer) -> None:
    """Raises ValueError if the saved state of an optimizer has other shapes than its weights.

    PyTorch does not check this on loading, and its fused steps would crash the process.

    Args:
        saved: the state_dict of an optimizer.
        optimizer: a new optimizer of the weights that the state belongs to.
    """
    if not type(optimizer).__module__.startswith("torch.optim") or isinstance(optimizer, Adafactor | LBFGS):
        return
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, weight in zip(numbers, weights, strict=False):  # PyTorch checks their number
        for name, value in saved["state"].get(number, {}).items():
            shape = torch.Size() if name in SCALAR_STATES else weight.shape
            if isinstance(value, torch.Tensor) and value.shape != shape:
                raise ValueError(f"the optimizer's {name} has shape {[*value.shape]}, but its weight {[*shape]}")


@contextmanager
def restoring(trainer: L.Trainer, checkpoint: Path | None) -> Iterator[None]:
    """Raises UserError in place of an error that the checkpoint's state causes before the first training step.

    Args:
        trainer: the trainer that fits inside the context.
        checkpoint: the checkpoint that is resumed; None for a new run, whose errors stay as they are.
    """
    first_step = FirstStep()
    trainer.callbacks.append(first_step)  # type: ignore[attr-defined]  # last: callbacks before it may fail
    try:
        yield
    except (Interrupted, UserError, OSError, torch.OutOfMemoryError, MisconfigurationException):
        raise
    except Exception as error:  # a wrong state can raise any exception
        if checkpoint is None or first_step.made or not is_from_state(error):
            raise
        raise UserError(
            f"{relative(checkpoint)} cannot be resumed from: its state does not fit this run ({type(error).__name__}: "
            f"{shown(error)}); start a new run with another hydra.run.dir="
        ) from error


def is_from_state(error: BaseException) -> bool:
    """Returns whether an error was raised while a checkpoint was restored, or by code that uses the restored state.

    Errors of data, networks, drivers and the user's own callbacks do not count: they occur without a checkpoint too.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = {frame.f_code.co_name for frame in frames}
    return bool(names & RESTORING_FUNCTIONS) or frames[-1].f_globals["__name__"].startswith(STATEFUL_MODULES)
