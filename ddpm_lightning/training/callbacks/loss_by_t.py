"""Draws the mean loss as a function of t while the model trains."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from PIL import Image
from torch import Tensor

from ddpm_lightning.errors import check_at_most, check_whole
from ddpm_lightning.runtime.pictures import save
from ddpm_lightning.runtime.plots import as_image, new_figure
from ddpm_lightning.runtime.results import add_up
from ddpm_lightning.training.callbacks.metrics import add_step, new_sums
from ddpm_lightning.training.callbacks.periodic import Periodic
from ddpm_lightning.training.loggers.all_loggers import log_picture
from ddpm_lightning.training.module import DDPM


class LossByT(Periodic):
    """Draws the unweighted mean loss by t every `every_n_steps` optimizer steps, over the steps since the last picture.

    The pictures are samples/loss_by_t_STEP.png, and go to the loggers. At the end of training, the steps since the last
    picture become samples/loss_by_t_final.png.

    Args:
        every_n_steps: optimizer steps between two pictures, at least 1.
        bins: number of equal parts of 1..T, from 1 to 10,000.
    """

    def __init__(self, every_n_steps: int = 1000, bins: int = 50) -> None:
        super().__init__("callbacks.loss_by_t", every_n_steps)
        check_whole("callbacks.loss_by_t.bins", bins, 1, "give a number of parts of 1..T; use 50")
        check_at_most("callbacks.loss_by_t.bins", bins, 10_000, "a picture shows no more; use 50")
        self.sums = new_sums(bins)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "sums": self.sums}

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["callbacks"][self.state_key]["sums"] = add_up(trainer, self.sums)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if state_dict["sums"].shape == self.sums.shape:  # else the run resumes with another number of bins
            self.sums = state_dict["sums"]

    def on_train_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        # The checkpoint has the sums over all processes, so only the first one resumes them.
        self.sums = (self.sums if trainer.is_global_zero else torch.zeros_like(self.sums)).to(module.device)
        super().on_train_start(trainer, module)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, module: DDPM, outputs: dict[str, Tensor], batch: Any, batch_idx: int
    ) -> None:
        add_step(self.sums, outputs, module.model.process.T)
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)

    def on_fit_end(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if trainer.global_step >= trainer.max_steps:
            self._show(trainer, module, "final")

    def act(self, trainer: L.Trainer, module: DDPM) -> None:
        self._show(trainer, module, f"{trainer.global_step:07d}")
        self.sums = torch.zeros_like(self.sums)

    def _show(self, trainer: L.Trainer, module: DDPM, label: str) -> None:
        losses, counts = add_up(trainer, self.sums)
        path = Path(trainer.default_root_dir) / "samples" / f"loss_by_t_{label}.png"
        if not trainer.is_global_zero:
            return
        if counts.sum() == 0:
            path.unlink(missing_ok=True)  # from an earlier, shorter training of this run
            return
        image = draw_loss_by_t(losses / counts, module.model.process.T, trainer.global_step)
        save(image, path)
        log_picture(trainer, "train/loss_by_t", image)


def draw_loss_by_t(means: Tensor, T: int, step: int) -> Image.Image:
    """Returns a step plot of the mean loss by t, with one step per bin and a gap for each empty bin (NaN)."""
    figure, axes = new_figure()
    edges = torch.linspace(1, T + 1, len(means) + 1)
    axes.stairs(means.tolist(), edges.tolist())
    axes.set(xlabel="t", ylabel="loss (mean, unweighted)", yscale="log", title=f"Loss by t until step {step}")
    return as_image(figure)
