"""What a training step tells the loggers: loss, loss by quartile of t, gradient norm, learning rate, images/s."""

import math
import resource
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ddpm_lightning.runtime.phases import PHASES
from ddpm_lightning.runtime.results import add_up
from ddpm_lightning.training.callbacks.ema import distance
from ddpm_lightning.training.callbacks.optimizer_steps import check_interval, is_due
from ddpm_lightning.training.loggers.all_loggers import log_metrics
from ddpm_lightning.training.module import DDPM


def new_sums(parts: int, device: torch.device | str = "cpu") -> Tensor:
    """[2, parts], for equal parts of 1..T: of losses, and how many."""
    return torch.zeros(2, parts, dtype=torch.float64, device=device)


def add_step(sums: Tensor, outputs: dict[str, Tensor], T: int) -> None:
    """Counts a step in, by what the module's training_step returned. A loss that is no number is left out: its step is
    skipped, and spoils no mean."""
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
"""The names of what a training step can tell."""


class TrainingMetrics(L.Callback):
    """Every so many optimizer steps, and at the end, logs the mean over the window that has passed, by optimizer step.

    train/loss; train/loss_q1 … q4, unweighted, by quartile of t (q1: the least noise); train/grad_norm before clipping,
    train/lr and train/ema_distance (‖θ̄ − θ‖ / ‖θ‖) at the window's end; train/images_per_s over all processes, while
    nothing is measured, drawn or saved;
    train/memory_gib, the most that this process had in use so far; time/train_s, time/measure_s, time/draw_s,
    time/save_s, and time/rest_s, which is waiting for data above all: where the window's seconds went;
    time/after_…_s: those after the last window, of the final pictures above all. The clocks of a window that was open
    when the run stopped continue when it resumes: the time between is not counted.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = check_interval("callbacks.metrics", every_n_steps)
        self.loaded: dict[str, Any] = {}
        self.opened: float | None = None
        self.before = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The window that is open, so that a run that goes on logs what it would have logged."""
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
        PHASES.restart(self.loaded.get("spent", {}))  # without what an earlier run of this process left there
        if self.loaded and trainer.is_global_zero:  # else what all processes had counted would count for each
            self.by_t = torch.stack([self.loaded["sums"], self.loaded["counts"]]).to(module.device)
            self.losses = self.loaded["losses"].to(module.device)
        self.batches = self.loaded.get("batches", 0)
        self.before = self.loaded.get("passed", math.nan if self.batches else 0.0)  # older checkpoints lack it

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self.began = time.perf_counter()
        if self.opened is None:  # so that pictures drawn between two windows do not count as time to train
            self.opened, self.apart = self.began, PHASES.besides("train")

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
        self.losses = torch.zeros(2, device=device)  # their sum, and how many
        self.batches = 0
        self.before, self.opened, self.apart = 0.0, None, 0.0

    def _passed(self) -> float:
        """Seconds of the open window in which nothing was measured, drawn or saved."""
        if self.opened is None:
            return self.before
        return self.before + time.perf_counter() - self.opened - (PHASES.besides("train") - self.apart)

    def _close_window(self, trainer: L.Trainer, module: DDPM) -> None:
        log_metrics(trainer, self._metrics(trainer, module) | self._seconds())
        self._open_window(module.device)

    def _metrics(self, trainer: L.Trainer, module: DDPM) -> dict[str, float]:
        sums, counts = add_up(trainer, self.by_t)
        total, batches = add_up(trainer, self.losses).tolist()  # waits for the device, so the clock is right
        passed = self._passed()
        return {
            "train/loss": total / batches if batches else math.nan,
            **{f"train/loss_q{q + 1}": float(sums[q] / counts[q]) for q in range(QUARTILES) if counts[q] > 0},
            "train/grad_norm": float(module.grad_norm),
            "train/skipped_steps": float(module.skipped[0]),
            "train/lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train/images_per_s": float(counts.sum()) / passed,
            "train/memory_gib": memory_gib(module.device),
            **({} if (behind := distance(trainer)) is None else {"train/ema_distance": behind}),
        }

    def _seconds(self) -> dict[str, float]:
        """By phase, since the last window closed: pictures that were drawn between the two are of this one."""
        now = time.perf_counter()
        spent = PHASES.take()
        rest = now - self.closed - sum(spent.values())
        self.closed = now
        return {f"time/{phase}_s": seconds for phase, seconds in {**spent, "rest": rest}.items()}


def memory_gib(device: torch.device) -> float:
    """The most that was in use so far: of the GPU by tensors, or of the machine by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
