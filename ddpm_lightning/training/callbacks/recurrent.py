"""A callback that acts every so many optimizer steps, once at each, whatever stops the run in between."""

from abc import abstractmethod
from typing import Any

import lightning as L

from ddpm_lightning.training.callbacks.when import check_interval, is_due
from ddpm_lightning.training.module import DDPM
from ddpm_lightning.training.phases import PHASES


class Recurrent(L.Callback):
    """Acts every so many optimizer steps. A checkpoint holds when it acted last, so that what was due at the
    checkpoint's step, and was not done, is done when the run goes on. owner: how options call it."""

    phase = "draw"
    """Of what the time is counted."""

    def __init__(self, owner: str, every_n_steps: int) -> None:
        self.every_n_steps = check_interval(owner, every_n_steps)
        self.acted_at = -1

    @abstractmethod
    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        """What is to be done."""

    def state_dict(self) -> dict[str, Any]:
        return {"acted_at": self.acted_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.acted_at = state_dict["acted_at"]

    def on_train_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        step = trainer.global_step
        if step > 0 and step % self.every_n_steps == 0:
            self.act_once(trainer, module)

    def on_train_batch_end(self, trainer: L.Trainer, module: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        if is_due(trainer, batch_idx, self.every_n_steps):
            self.act_once(trainer, module)

    def act_once(self, trainer: L.Trainer, module: DDPM) -> None:
        """Acts, unless it has at this step."""
        if self.acted_at != trainer.global_step:
            with PHASES.timed(self.phase):
                self.act(trainer, module)
            self.acted_at = trainer.global_step
