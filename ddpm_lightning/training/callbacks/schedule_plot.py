"""Draws the noise schedule when training starts."""

from pathlib import Path

import lightning as L
from PIL import Image

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.runtime.pictures import save
from ddpm_lightning.runtime.plots import as_image
from ddpm_lightning.training.loggers.all_loggers import log_picture
from ddpm_lightning.training.module import DDPM


class SchedulePlot(L.Callback):
    """Draws β_t, ᾱ_t and log SNR(t) when a new run starts, as schedule.png and in the loggers."""

    def on_train_start(self, trainer: L.Trainer, module: DDPM) -> None:  # type: ignore[override]
        if trainer.is_global_zero and trainer.global_step == 0:
            image = draw_schedule(module.model.process)
            save(image, Path(trainer.default_root_dir) / "schedule.png")
            log_picture(trainer, "schedule", image)


def draw_schedule(process: GaussianDiffusion) -> Image.Image:
    """Returns a picture of β_t, ᾱ_t and log SNR(t) for t = 1..T."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    tables = {"β_t": process.beta, "ᾱ_t": process.alpha_bar, "log SNR(t)": process.snr.log()}
    for axes, (name, table) in zip(figure.subplots(1, 3), tables.items(), strict=True):
        axes.plot(range(1, process.T + 1), table[1:].tolist())
        axes.set(xlabel="t", ylabel=name)
        axes.grid(alpha=0.3)
    return as_image(figure)
