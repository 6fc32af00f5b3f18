"""Callbacks that break a run off, or spoil it, at a chosen moment; for tests, through `+callbacks.NAME._target_=…`."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning as L
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.utils._python_dispatch import TorchDispatchMode

from ddpm_lightning.training import checkpoint
from ddpm_lightning.training.callbacks.previews import Preview
from ddpm_lightning.training.callbacks.quality import SampleQuality
from ddpm_lightning.training.callbacks.validation_bound import ValidationBound

MOMENTS = ("backward", "after the step", "drawing", "saving", "between renames", "bound", "quality", "testing")


class SignalAt(L.Callback):
    """Sends itself a signal, once, at the first such moment from this step on; of several processes, one does."""

    def __init__(self, moment: str, step: int, signum: int = signal.SIGKILL, rank: int = 0) -> None:
        self.moment, self.step, self.signum, self.rank, self.sent = moment, step, signum, rank, False

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        self.trainer = trainer
        self.sent = trainer.global_rank != self.rank
        places: dict[str, list[tuple[Any, str]]] = {
            "drawing": [(Preview, "walk")],
            "bound": [(ValidationBound, "measure")],
            "quality": [(SampleQuality, "_see_generated_images")],
        }
        for owner, name in places.get(self.moment, []):
            patch.object(owner, name, self._before(getattr(owner, name))).start()
        if self.moment == "between renames":
            patch.object(checkpoint, "replace_by_link", self._after(checkpoint.replace_by_link)).start()
        if self.moment == "saving":
            patch("torch.save", self._half_written).start()

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._now("backward")

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._now("after the step")

    def on_test_batch_end(self, *_: Any) -> None:
        self._now("testing")

    def _now(self, moment: str) -> None:
        if moment == self.moment and not self.sent and self.trainer.global_step >= self.step:
            self.sent = True
            os.kill(os.getpid(), self.signum)

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def first(*args: Any, **kwargs: Any) -> Any:
            self._now(self.moment)
            return function(*args, **kwargs)

        return first

    def _after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def then(*args: Any, **kwargs: Any) -> Any:
            found = function(*args, **kwargs)
            self._now(self.moment)
            return found

        return then

    def _half_written(self, content: Any, file: Any) -> None:
        file.write(b"half of a checkpoint")
        file.flush()
        self._now("saving")
        file.seek(0)
        file.truncate()
        ORIGINAL_SAVE(content, file)


ORIGINAL_SAVE = torch.save


class FailAt(L.Callback):
    """A bug in one process of several."""

    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            raise RuntimeError("a bug")


class Slowly(L.Callback):
    """Takes its time over each step, so that something can happen meanwhile."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(self.seconds)


class ClosedSlowly(DummyLogger):
    """As W&B is, over a slow network."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def finish(self, exit_code: int) -> None:
        time.sleep(self.seconds if rank_zero_only.rank == 0 else 0)  # type: ignore[attr-defined]


class Spoil(L.Callback):
    """Puts NaN or infinity into data, gradients or weights at these steps (counted from 0)."""

    def __init__(self, what: str, steps: list[int], value: float = float("nan")) -> None:
        self.what, self.steps, self.value = what, steps, value

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.what == "data" and trainer.global_step in self.steps:
            batch.x_0[0].fill_(self.value)

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.what == "gradients" and trainer.global_step in self.steps:
            next(_gradients(module)).fill_(self.value)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if self.what == "weights" and trainer.global_step in self.steps:
            for parameter in module.parameters():
                parameter.data.fill_(self.value)


def _gradients(module: L.LightningModule) -> Iterator[torch.Tensor]:
    return (p.grad for p in module.parameters() if p.grad is not None)


class CountWaits(L.Callback):
    """Counts, by the number of steps made, the operations of training that would wait for a GPU, into a JSON file."""

    def __init__(self, path: str) -> None:
        self.path, self.counts = Path(path), Counter[int]()

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.mode = Watched(lambda: self.counts.update([trainer.global_step]))
        self.mode.__enter__()

    def on_train_end(self, *_: Any) -> None:
        self.mode.__exit__(None, None, None)
        self.path.write_text(json.dumps(self.counts))


WAITING = {f"aten.{name}" for name in ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal")}


class Watched(TorchDispatchMode):
    """Calls `waits` before each operation that hands a value, or a number of values, to Python: item, bool, nonzero …;
    tolist of several values is not seen on the CPU."""

    def __init__(self, waits: Callable[[], None]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func.overloadpacket) in WAITING:
            self.waits()
        return func(*args, **(kwargs or {}))
