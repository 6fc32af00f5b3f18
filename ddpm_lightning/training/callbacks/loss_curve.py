"""Draws the loss curve of a run from its metrics.csv."""

from pathlib import Path

import lightning as L

from ddpm_lightning.runtime.run_files.metrics_rows import METRICS_FILE, read_rows


class LossCurve(L.Callback):
    """Draws the loss and the loss by quartile of t as loss.png, at the end of training."""

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        metrics = Path(trainer.default_root_dir) / METRICS_FILE
        if trainer.is_global_zero and metrics.is_file():
            draw_loss(metrics, metrics.with_name("loss.png"))


LABELS = {
    "train/loss": "all t",
    "train/loss_q1": "t in the first quarter (least noise)",
    "train/loss_q2": "second",
    "train/loss_q3": "third",
    "train/loss_q4": "fourth",
}


def draw_loss(metrics: Path, path: Path) -> None:
    """Draws the columns train/loss and train/loss_q1 … q4 of metrics.csv against the optimizer step.

    Args:
        metrics: the path of metrics.csv.
        path: the path of the PNG to write.
    """
    from matplotlib.figure import Figure

    rows = read_rows(metrics)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="optimizer step", ylabel="loss (mean over the window)", yscale="log")
    for column, label in LABELS.items():
        points = [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, linewidth=2 if column == "train/loss" else 1)
    axes.legend(fontsize="small", loc="upper right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
