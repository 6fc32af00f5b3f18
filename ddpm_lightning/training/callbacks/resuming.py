"""What a resumed run tells, keeps and changes: its history, optimizer options, and errors while it is restored."""

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
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.same_run import Difference

log = logging.getLogger(__name__)

HISTORY = "history"
"""The key of the events in a checkpoint and in results.json."""


class History(L.Callback):
    """Keeps the events of a run in its checkpoints, each with its step.

    changed: the keys that differ from the checkpoint that is resumed. events: of a new run, what came before its
    first step.
    """

    def __init__(self, changed: Sequence[Difference] = (), events: Sequence[dict[str, Any]] = ()) -> None:
        self.changed = changed
        self.events = list(events)

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.events = list(checkpoint.get(HISTORY, []))

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for change in self.changed:
            log.info("From step %d on with another %s", trainer.global_step, change)
            self.events.append({"step": trainer.global_step, **change._asdict()})

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.events:
            checkpoint[HISTORY] = self.events


def history_of(trainer: L.Trainer) -> dict[str, Any]:
    """The events as results.json has them; {} where there are none."""
    found = next((c.events for c in trainer.callbacks if isinstance(c, History)), [])  # type: ignore[attr-defined]
    return {HISTORY: found} if found else {}


class OptimizerOptions(L.Callback):
    """Puts changed options of the optimizer into the checkpoint before Lightning restores the optimizer from it, which
    would bring the earlier options back.

    changed: the keys that differ from the checkpoint that is resumed.
    """

    def __init__(self, changed: Sequence[Difference] = ()) -> None:
        self.names = [each.key.removeprefix("optimizer.") for each in changed if each.key.startswith("optimizer.")]
        self.sets_rate = "lr" in self.names or any(each.key == "module.warmup_steps" for each in changed)

    def on_load_checkpoint(self, trainer: L.Trainer, module: DDPM, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        now = module.make_optimizer(module.model.parameters()).defaults
        options = {name: now[name] for name in self.names}
        if self.sets_rate:
            options |= {"initial_lr": now["lr"], "lr": now["lr"] * module.warm_up(checkpoint["global_step"])}
            for scheduler in checkpoint["lr_schedulers"]:
                scheduler["base_lrs"] = [now["lr"]] * len(scheduler["base_lrs"])
        for optimizer in checkpoint["optimizer_states"]:
            for group in optimizer["param_groups"]:
                group |= options


LOADING = {"load_state_dict", "on_load_checkpoint", "restore_training_state", "resume_start", "resume_end"}
"""Functions that read what a checkpoint holds."""

OURS = tuple(f"ddpm_lightning.training.{name}" for name in ("callbacks", "module", "phases"))

STATEFUL = ("lightning.pytorch.loops", "torch.optim", *OURS)
"""Modules that use it for the first time at the first step."""


SCALARS = {"step", "eta", "mu", "mu_product"}
"""What PyTorch's optimizers keep as one number for a weight; all else has the weight's shape."""


class FirstStep(L.Callback):
    """Checks the optimizer's state in a checkpoint, and knows whether this process has made a step."""

    def __init__(self) -> None:
        self.made = False

    def on_load_checkpoint(self, trainer: L.Trainer, module: DDPM, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        check_shapes(checkpoint["optimizer_states"][0], module.make_optimizer(module.model.parameters()))

    def on_train_batch_end(self, *_: Any) -> None:
        self.made = True


def check_shapes(saved: dict[str, Any], optimizer: Optimizer) -> None:
    """Raises ValueError where the saved state of an optimizer has other shapes than the weights. PyTorch does not look
    when it loads the state, and its fused steps would crash the process."""
    if not type(optimizer).__module__.startswith("torch.optim") or isinstance(optimizer, Adafactor | LBFGS):
        return
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, weight in zip(numbers, weights, strict=False):  # PyTorch counts them
        for name, value in saved["state"].get(number, {}).items():
            shape = torch.Size() if name in SCALARS else weight.shape
            if isinstance(value, torch.Tensor) and value.shape != shape:
                raise ValueError(f"the optimizer's {name} has the shape {[*value.shape]}, and its weight {[*shape]}")


@contextmanager
def restoring(trainer: L.Trainer, checkpoint: Path | None) -> Iterator[None]:
    """Inside, what fails before the first step because of the checkpoint is told as that."""
    first_step = FirstStep()
    trainer.callbacks.append(first_step)  # type: ignore[attr-defined]  # the last, for others fail at a step's end
    try:
        yield
    except (Interrupted, UserError, OSError, torch.OutOfMemoryError, MisconfigurationException):
        raise
    except Exception as error:  # states of any shape can make optimizers and callbacks raise nearly anything
        if checkpoint is None or first_step.made or not is_of_state(error):
            raise
        raise UserError(
            f"{relative(checkpoint)} cannot be resumed from: what it holds does not fit ({type(error).__name__}: "
            f"{shown(error)}); begin anew in another hydra.run.dir="
        ) from error


def is_of_state(error: BaseException) -> bool:
    """Whether the error was raised while a checkpoint was loaded, or by a line that uses what was loaded: not by data,
    networks, drivers or callbacks of the user's own, which fail without a checkpoint, too."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = {frame.f_code.co_name for frame in frames}
    return bool(names & LOADING) or frames[-1].f_globals["__name__"].startswith(STATEFUL)
