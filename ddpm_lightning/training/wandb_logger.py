"""W&B: a logger that never holds up or ends a run, with the names and groups that its users expect."""

import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from ddpm_lightning.errors import check_boolean
from ddpm_lightning.training.background import Background
from ddpm_lightning.training.processes import is_first

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that W&B has to finish."""

TAGGED = ("data", "schedule", "parameterization", "variance", "loss", "sampler", "network")
"""The groups whose options are a run's tags."""


class NoRun:
    """Stands where a W&B run would, and does nothing."""

    def __getattr__(self, name: str) -> "NoRun":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "NoRun":
        return self


class BackgroundWandbLogger(WandbLogger):
    """A WandbLogger whose calls return at once and are done in a thread; if W&B is broken, it says so once.

    upload_checkpoint: whether the last checkpoint is given to W&B at the end, beside the results.
    """

    def __init__(self, *, upload_checkpoint: bool = False, **options: Any) -> None:
        super().__init__(**options)
        check_boolean("logger.wandb.upload_checkpoint", upload_checkpoint, "true gives W&B the last checkpoint")
        self.upload_checkpoint = upload_checkpoint
        self.background = Background("W&B")
        self.broken = False

    @property
    def experiment(self) -> Any:
        """The W&B run, which begins in the background; one that does nothing where it has not or cannot."""
        if not self.background.is_here():  # Lightning asks here, too, before it starts
            return self._experiment or NoRun()
        if self.broken:
            return NoRun()
        try:
            return super().experiment
        except Exception as error:  # whatever it is, the run goes on
            self.broken = True
            self.background.warn(f"{type(error).__name__}: {error}")
            return NoRun()

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.background.do(partial(super().log_metrics, dict(metrics), step))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.background.do(partial(super().log_hyperparams, params))

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        self.background.do(partial(super().log_image, key, images, step, **kwargs))

    @rank_zero_only
    def log_objects(self, step: int, **objects: Any) -> None:
        """W&B's own kinds, each given by a call that makes it: histograms, tables, pages."""

        def log() -> None:
            self.experiment.log({**{key: make() for key, make in objects.items()}, "trainer/global_step": step})

        self.background.do(log)

    @rank_zero_only
    def log_files(self, kind: str, paths: Sequence[Path]) -> None:
        """As an artifact of this kind, those of the files that are there."""

        def log() -> None:
            artifact = wandb.Artifact(f"{kind}-{self._id}", kind)
            for path in paths:
                if path.is_file():
                    artifact.add_file(str(path))
            self.experiment.log_artifact(artifact)

        self.background.do(log)

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """Closes the W&B run, as failed unless the exit code is 0."""
        finished = self.background.finish(lambda: self.experiment.finish(exit_code=exit_code), PATIENCE)
        if not finished or self.background.warned:
            end_service()


def end_service() -> None:
    """Kills the process that W&B has started, where it does not answer, and forgets it: Python would wait for it at the
    end, and the next run of a sweep would use it."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, name, _, parent, *_ = path.read_text().split()
            if name == "(wandb-core)" and int(parent) == os.getpid():
                os.kill(int(number), signal.SIGKILL)
    forgetting = Background("W&B")
    forgetting.warned = True  # it was told before
    forgetting.finish(wandb.teardown, PATIENCE)


def make_wandb_logger(*, save_dir: str, **options: Any) -> WandbLogger:
    """A logger of the run whose id lies in save_dir/wandb/run_id; options: WandbLogger's own.

    The run bears the options that were typed as its name, the sweep as its group, and its choices as tags, unless the
    options say otherwise.
    """
    ours = {"id": run_id(Path(save_dir)), "resume": "allow", **labels(Path(save_dir))}
    logger = BackgroundWandbLogger(save_dir=save_dir, **{**ours, **options})
    logger._wandb_init.pop("anonymous", None)  # Lightning passes it on, and W&B answers with a warning
    return logger


def run_id(save_dir: Path) -> str | None:
    """The same whenever the run goes on; None on all processes but the first, which alone logs, and where it cannot be
    written."""
    if not is_first():
        return None
    path = save_dir / "wandb" / "run_id"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(secrets.token_hex(4))
        return path.read_text()
    except OSError as error:
        log.warning("%s cannot be written (%s); if this run is stopped, it goes on as another one of W&B", path, error)
        return None


def labels(save_dir: Path) -> dict[str, Any]:
    """Name, group and tags of a run, by what Hydra wrote into its directory; nothing where it has not."""
    path = save_dir / ".hydra" / "hydra.yaml"
    if not path.is_file():
        return {}
    hydra = OmegaConf.load(path).hydra
    choices = hydra.runtime.choices
    found: dict[str, Any] = {
        "name": " ".join(hydra.overrides.task) or "default",
        "tags": [f"{group}:{choices[group]}" for group in TAGGED if choices.get(group)],
    }
    if hydra.mode == "MULTIRUN":
        found["group"] = Path(os.path.normpath(hydra.sweep.dir)).name
    return found
