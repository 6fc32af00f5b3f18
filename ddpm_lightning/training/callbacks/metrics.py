"""Logs training: the loss, the loss by quartile of t, the gradient norm, the learning rate, speed and memory."""

import math
import resource
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ddpm_lightning.runtime.phases import PHASES
from ddpm_lightning.runtime.results import add_up
from ddpm_lightning.training.callbacks.ema import ema_distance
from ddpm_lightning.training.callbacks.trainer_state import check_interval, is_due
from ddpm_lightning.training.loggers.all_loggers import log_metrics
from ddpm_lightning.training.module import DDPM


def new_sums(parts: int, device: torch.device | str = "cpu") -> Tensor:
    """Returns zeros, [2, parts]: the sums and the counts of losses by equal parts of 1..T."""
    return torch.zeros(2, parts, dtype=torch.float64, device=device)


def add_step(sums: Tensor, outputs: dict[str, Tensor], T: int) -> None:
    """Adds the losses of one batch to `sums`, in place. Losses that are NaN or infinite are left out.

    Args:
        sums: sums and counts by part of 1..T, [2, parts].
        outputs: what `DDPM.training_step` returned.
        T: number of diffusion steps.
    """
    part = (outputs["t"] - 1) * sums.shape[1] // T
    losses = outputs["loss_per_example"].double()
    known = losses.isfinite()
    sums.index_add_(1, part, torch.stack([losses.where(known, 0), known.double()]))


QUARTILES = 4

LOGGED = (
    *("train/loss", *(f"train/loss_q{q + 1}" for q in range(QUARTILES)), "train/grad_norm", "train/skipped_steps"),
    *("train/lr", "train/images_per_s", "train/memory_gib", "train/ema_distance"),
    *(f"time/{phase}_s" for phase in ("train", "measure", "draw", "save", "rest")),
)
"""The names of the numbers that TrainingMetrics may log every `every_n_steps` steps."""


class TrainingMetrics(L.Callback):
    """Logs training metrics every `every_n_steps` optimizer steps, and at the end of training.

    A window is the steps since the last log. Each row of metrics.csv has, over its window:

    - train/loss: the mean loss; train/loss_q1 … q4: the unweighted mean loss by quartile of t, of which q1 has the
      least noise.
    - train/grad_norm (before clipping), train/lr and train/ema_distance (‖θ̄ − θ‖ / ‖θ‖): at the last step.
    - train/skipped_steps: the number of skipped steps since the run began.
    - train/images_per_s: over all processes, without the time to measure, draw and save.
    - train/memory_gib: the peak memory of this process so far.
    - time/train_s, measure_s, draw_s, save_s and rest_s: seconds by phase. The rest is mostly waiting for data.

    time/after_…_s are seconds after the last window, mostly for the final pictures. A run that is interrupted within a
    window continues the window's clocks when it resumes, without the time in between.

    Args:
        every_n_steps: optimizer steps per window, at least 1.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = check_interval("callbacks.metrics", every_n_steps)
        self.loaded: dict[str, Any] = {}
        self.opened: float | None = None
        self.before = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns the current window, so that a resumed run logs what an uninterrupted one logs."""
        clocks = {"passed": self._passed(), "elapsed": time.perf_counter() - self.closed, "spent": PHASES.so_far()}
        return {**self._window(self.by_t, self.losses), "batches": self.batches, **clocks}

    @staticmethod
    def _window(by_t: Tensor, losses: Tensor) -> dict[str, Tensor]:
        return {"sums": by_t[0], "counts": by_t[1], "losses": losses}

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        of_all = self._window(add_up(trainer, self.by_t), add_up(trainer, self.losses))
        checkpoint["callbacks"][self.state_key].update(of_all)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loaded = state_dict

    def on_train_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        self._open_window(module.device)
        self.began = time.perf_counter()
        self.closed = self.began - self.loaded.get("elapsed", 0.0)
        PHASES.restart(self.loaded.get("spent", {}))  # drops the times of an earlier run of this process
        if self.loaded and trainer.is_global_zero:  # the checkpoint has the sums over all processes
            self.by_t = torch.stack([self.loaded["sums"], self.loaded["counts"]]).to(module.device)
            self.losses = self.loaded["losses"].to(module.device)
        self.batches = self.loaded.get("batches", 0)
        self.before = self.loaded.get("passed", math.nan if self.batches else 0.0)  # older checkpoints lack it

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.began = time.perf_counter()
        if self.opened is None:  # at a batch, to leave out pictures between two windows
            self.opened, self.apart = self.began, PHASES.total_except("train")

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, module: DDPM, outputs: dict[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        PHASES.add("train", time.perf_counter() - self.began)
        add_step(self.by_t, outputs, module.model.process.T)
        mean = outputs["loss_of_batch"]
        self.losses += torch.stack([mean.nan_to_num(0, 0, 0), mean.isfinite().float()])
        self.batches += 1
        if is_due(trainer, batch_idx, self.every_n_steps):
            self._close_window(trainer, module)

    def on_train_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if self.batches > 0:
            self._close_window(trainer, module)

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if spent := PHASES.take():
            log_metrics(trainer, {f"time/after_{phase}_s": seconds for phase, seconds in spent.items()})

    def _open_window(self, device: torch.device) -> None:
        self.by_t = new_sums(QUARTILES, device)
        self.losses = torch.zeros(2, device=device)  # their sum and count
        self.batches = 0
        self.before, self.opened, self.apart = 0.0, None, 0.0

    def _passed(self) -> float:
        """Returns the seconds of the current window without those of measuring, drawing and saving."""
        if self.opened is None:
            return self.before
        return self.before + time.perf_counter() - self.opened - (PHASES.total_except("train") - self.apart)

    def _close_window(self, trainer: L.Trainer, module: DDPM) -> None:
        log_metrics(trainer, self._metrics(trainer, module) | self._seconds())
        self._open_window(module.device)

    def _metrics(self, trainer: L.Trainer, module: DDPM) -> dict[str, float]:
        sums, counts = add_up(trainer, self.by_t)
        total, batches = add_up(trainer, self.losses).tolist()  # waits for the device before the clock is read
        passed = self._passed()
        return {
            "train/loss": total / batches if batches else math.nan,
            **{f"train/loss_q{q + 1}": float(sums[q] / counts[q]) for q in range(QUARTILES) if counts[q] > 0},
            "train/grad_norm": float(module.grad_norm),
            "train/skipped_steps": float(module.skipped[0]),
            "train/lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train/images_per_s": float(counts.sum()) / passed,
            "train/memory_gib": memory_gib(module.device),
            **({} if (behind := ema_distance(trainer)) is None else {"train/ema_distance": behind}),
        }

    def _seconds(self) -> dict[str, float]:
        """Returns seconds by phase since the last window closed, including pictures drawn between the two windows."""
        now = time.perf_counter()
        spent = PHASES.take()
        rest = now - self.closed - sum(spent.values())
        self.closed = now
        return {f"time/{phase}_s": seconds for phase, seconds in {**spent, "rest": rest}.items()}


def memory_gib(device: torch.device) -> float:
    """Returns the peak memory so far in GiB: of tensors on a GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
