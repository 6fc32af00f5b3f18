"""A W&B logger that never delays or ends a run, and that names, groups and tags it."""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from torch.distributed import is_initialized

from ddpm_lightning.errors import check_boolean, check_positive
from ddpm_lightning.runtime.private_parts import leave_out_anonymous
from ddpm_lightning.runtime.processes import is_first
from ddpm_lightning.training.loggers.background import Background
from ddpm_lightning.training.loggers.media import MediaLogger
from ddpm_lightning.training.loggers.wandb_setup import (
    check_key,
    check_options,
    choose_folders,
    labels,
    name_repository,
    run_id,
    wandb_folder,
)

PATIENCE_AFTER_FAILURE = 5.0
"""Seconds for W&B to finish a failed run of several processes, while the parent process waits for the error."""

PATIENCE_AFTER_SIGNAL = 30.0
"""Seconds for W&B to finish a run that received a signal. Slurm kills it a minute or two after its warning."""

LABEL_VARIABLES = {"name": "WANDB_NAME", "group": "WANDB_RUN_GROUP", "tags": "WANDB_TAGS"}
"""Environment variables of W&B that override our label of the run. W&B reads all others itself."""


class NoRun:
    """Replaces a W&B run: every attribute and call does nothing."""

    def __getattr__(self, name: str) -> "NoRun":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "NoRun":
        return self


class BackgroundWandbLogger(WandbLogger, MediaLogger):
    """A WandbLogger whose calls return at once and run in a thread. If W&B fails, one warning says so.

    Args:
        upload_checkpoint: whether to upload the last checkpoint at the end of the run.
        patience: seconds for W&B to finish at the end of the run, above 0.
        options: arguments of Lightning's WandbLogger.
    """

    def __init__(self, *, upload_checkpoint: bool = False, patience: float = 60.0, **options: Any) -> None:
        super().__init__(**options)
        check_positive("logger.wandb.patience", patience, "W&B needs some seconds to finish; use 60")
        self.patience = patience
        check_boolean("logger.wandb.upload_checkpoint", upload_checkpoint, "true uploads the last checkpoint to W&B")
        self.upload_checkpoint = upload_checkpoint
        self.background = Background("W&B")
        self.broken = False

    @property
    def experiment(self) -> Any:
        """The W&B run, which starts in the background. Before it starts, or if it cannot start, a `NoRun`."""
        if not self.background.is_current():  # Lightning reads this attribute in the main thread
            return self._experiment or NoRun()
        if self.broken:
            return NoRun()
        try:
            return super().experiment
        except Exception as error:  # the run continues after any error
            self.background.warn(f"{type(error).__name__}: {error}")
            self.broken = self._wandb_init.get("mode") == "offline"
            self._wandb_init["mode"] = "offline"  # the user can sync an offline run later
            end_service()  # W&B's service would refuse to start the same run id again
            return self.experiment

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.background.do(partial(super().log_metrics, dict(metrics), step))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.background.do(partial(super().log_hyperparams, params))

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        self.background.do(partial(super().log_image, key, images, step, **kwargs))

    def show_picture(self, name: str, image: Image.Image, step: int) -> None:
        self.log_image(name, [image], step=step)

    def show_histograms(self, histograms: Mapping[str, Sequence[float]], step: int) -> None:
        self._show(lambda: {name: wandb.Histogram([*values]) for name, values in histograms.items()}, step)

    def show_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._show(lambda: {name: wandb.Table([*columns], [[*map(_cell, row)] for row in rows])})

    def show_page(self, name: str, html: str) -> None:
        self._show(lambda: {name: wandb.Html(html, inject=False)})

    @rank_zero_only
    def _show(self, make: Callable[[], dict[str, Any]], step: int = 0) -> None:
        """Makes W&B's own kinds of objects in the background, and logs them."""
        self.background.do(lambda: self.experiment.log({**make(), "trainer/global_step": step}))

    def keep_checkpoint(self, path: Path) -> None:
        if self.upload_checkpoint:
            self.keep_files("model", [path])

    @rank_zero_only
    def keep_files(self, kind: str, paths: Sequence[Path]) -> None:
        """Stores those of the files that exist as one W&B artifact of this kind."""

        def log() -> None:
            artifact = wandb.Artifact(f"{kind}-{self.experiment.id}", kind)
            for path in found:
                artifact.add_file(str(path))
            self.experiment.log_artifact(artifact)

        if found := [path for path in paths if path.is_file()]:
            self.background.do(log)

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Closes the W&B run, as failed unless the exit code is 0."""
        patience = min(self.patience, PATIENCE_AFTER_SIGNAL) if exit_code > 128 else self.patience
        patience = min(patience, PATIENCE_AFTER_FAILURE) if exit_code and is_initialized() else patience
        finished = self.background.finish(lambda: self.experiment.finish(exit_code=exit_code), patience)
        if not finished or self.background.warned:
            end_service()


def _cell(value: Any) -> Any:
    """Returns what a table of W&B takes for a value."""
    return wandb.Image(value) if isinstance(value, Image.Image) else value


def end_service() -> None:
    """Kills W&B's service process, which does not answer, and resets the W&B library.

    Otherwise Python would wait for the service at exit, and the next run of a sweep would use it.
    """
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            number, name, _, parent, *_ = path.read_text(encoding="utf-8").split()
            if name == "(wandb-core)" and int(parent) == os.getpid():
                os.kill(int(number), signal.SIGKILL)
    teardown = Background("W&B")
    teardown.warned = True  # about the same failure
    teardown.finish(wandb.teardown, PATIENCE_AFTER_FAILURE)


def make_wandb_logger(
    *, save_dir: str, offline: bool | None = None, patience: float | None = None, **options: Any
) -> WandbLogger:
    """Returns a W&B logger for the run in a folder, which keeps its W&B run when it resumes.

    The typed options become the W&B run's name, the sweep its group, and the chosen options of `TAGGED_GROUPS` its
    tags. The arguments below and W&B's environment variables (WANDB_NAME, WANDB_RUN_GROUP, WANDB_TAGS …) override that.

    Args:
        save_dir: the folder of the run; its file wandb/run_id stores the id of the W&B run.
        offline: whether W&B only writes files; None follows WANDB_MODE, and is True without it.
        patience: seconds for W&B to finish at the end of the run; None is 60 offline and 600 online.
        options: further arguments of `BackgroundWandbLogger` and of wandb.init.

    Raises:
        UserError: if W&B does not know an option or accept the project's name, or has no key and is to be online.
    """
    if offline is None:
        offline = os.environ.get("WANDB_MODE") not in ("online", "shared")
    check_boolean("logger.wandb.offline", offline, "use logger=wandb_offline or logger=wandb_online")
    check_options(options)
    choose_folders(Path(save_dir))  # before check_key, which starts W&B's service
    asked = options.get("id") or options.get("version") or os.environ.get("WANDB_RUN_ID")
    ours: dict[str, Any] = {"id": run_id(Path(save_dir), asked), "reinit": "create_new"}
    if os.environ.get("WANDB_MODE") == "disabled":
        ours["mode"] = "disabled"
    elif offline:  # Lightning's `offline` would apply to all later runs of the process
        ours["mode"] = "offline"
    elif is_first():
        check_key()
    if is_first():
        ours |= {
            name: label for name, label in labels(Path(save_dir)).items() if LABEL_VARIABLES[name] not in os.environ
        }
    if "WANDB_RESUME" in os.environ:
        ours["resume"] = os.environ["WANDB_RESUME"]
    ours["patience"] = (60 if offline else 600) if patience is None else patience  # uploading a checkpoint takes time
    name_repository(options.get("settings"))
    logger = BackgroundWandbLogger(save_dir=wandb_folder(save_dir), **{**ours, **options})
    leave_out_anonymous(logger)
    return logger
