"""W&B: a logger that never holds up or ends a run, with the names and groups that its users expect."""

import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import wandb
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf
from PIL import Image
from torch.distributed import is_initialized

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.errors import UserError, check_boolean, check_positive
from ddpm_lightning.runtime.command_line import SOURCE
from ddpm_lightning.runtime.private_parts import leave_out_anonymous
from ddpm_lightning.runtime.processes import is_first
from ddpm_lightning.runtime.results import commit
from ddpm_lightning.runtime.run_directory import try_to_write
from ddpm_lightning.training.loggers.background import Background
from ddpm_lightning.training.loggers.media import MediaLogger

log = logging.getLogger(__name__)

OF_THE_FAILED = 5.0
"""Seconds that W&B has to finish a run of several processes that failed, whose parent waits for the reason."""

OF_THE_STOPPED = 30.0
"""Seconds that W&B has to finish a run that was asked to stop: Slurm warns it a minute or two before it is killed."""

TAGGED = ("data", "schedule", "parameterization", "variance", "loss", "sampler", "network")
"""The groups whose options are a run's tags."""


LONGEST_NAME = 128
"""Characters of a run's name, which W&B's server takes."""


KNOWN = {*signature(wandb.init).parameters, *signature(WandbLogger).parameters, "upload_checkpoint"}
"""What a logger of W&B can be told."""


VARIABLES = {"name": "WANDB_NAME", "group": "WANDB_RUN_GROUP", "tags": "WANDB_TAGS"}
"""W&B's own variables, each of which counts more than our label. W&B reads all others itself."""


class NoRun:
    """Stands where a W&B run would, and does nothing."""

    def __getattr__(self, name: str) -> "NoRun":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "NoRun":
        return self


class BackgroundWandbLogger(WandbLogger, MediaLogger):
    """A WandbLogger whose calls return at once and are done in a thread; if W&B is broken, it says so once.

    upload_checkpoint: whether the last checkpoint is given to W&B at the end, beside the results. patience: how many
    seconds W&B has at the end.
    """

    def __init__(self, *, upload_checkpoint: bool = False, patience: float = 60.0, **options: Any) -> None:
        super().__init__(**options)
        check_positive("logger.wandb.patience", patience, "W&B needs some seconds to finish; use 60")
        self.patience = patience
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
            self.background.warn(f"{type(error).__name__}: {error}")
            self.broken = self._wandb_init.get("mode") == "offline"
            self._wandb_init["mode"] = "offline"  # what cannot be sent now can be synced later
            end_service()  # which takes the run for begun, and would refuse another of its id
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
        self._show(lambda: {name: wandb.Table([*columns], [*rows])})

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
        patience = min(self.patience, OF_THE_STOPPED) if exit_code > 128 else self.patience
        patience = min(patience, OF_THE_FAILED) if exit_code and is_initialized() else patience
        finished = self.background.finish(lambda: self.experiment.finish(exit_code=exit_code), patience)
        if not finished or self.background.warned:
            end_service()


def end_service() -> None:
    """Kills the process that W&B has started, where it does not answer, and forgets it: Python would wait for it at the
    end, and the next run of a sweep would use it."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            number, name, _, parent, *_ = path.read_text(encoding="utf-8").split()
            if name == "(wandb-core)" and int(parent) == os.getpid():
                os.kill(int(number), signal.SIGKILL)
    forgetting = Background("W&B")
    forgetting.warned = True  # it was told before
    forgetting.finish(wandb.teardown, OF_THE_FAILED)


def make_wandb_logger(
    *, save_dir: str, offline: bool | None = None, patience: float | None = None, **options: Any
) -> WandbLogger:
    """A logger of the run whose id lies in save_dir/wandb/run_id; options: WandbLogger's own.

    The run bears the options that were typed as its name, the sweep as its group, and its choices as tags, unless the
    options or W&B's own variables (WANDB_NAME, WANDB_RUN_GROUP, WANDB_TAGS …) say otherwise. offline: None is what
    WANDB_MODE says, and True without it.

    Raises UserError for an option or a project's name that W&B does not know, and where it is to be online, and W&B
    knows no key.
    """
    if offline is None:
        offline = os.environ.get("WANDB_MODE") not in ("online", "shared")
    check_boolean("logger.wandb.offline", offline, "use logger=wandb_offline or logger=wandb_online")
    check_options(options)
    choose_folders(Path(save_dir))  # first, for check_key starts W&B's service
    asked = options.get("id") or options.get("version") or os.environ.get("WANDB_RUN_ID")
    ours: dict[str, Any] = {"id": run_id(Path(save_dir), asked), "reinit": "create_new"}
    if os.environ.get("WANDB_MODE") == "disabled":
        ours["mode"] = "disabled"
    elif offline:  # and not Lightning's own, which would be for all runs that follow
        ours["mode"] = "offline"
    elif is_first():
        check_key()
    if is_first():
        ours |= {name: label for name, label in labels(Path(save_dir)).items() if VARIABLES[name] not in os.environ}
    if "WANDB_RESUME" in os.environ:
        ours["resume"] = os.environ["WANDB_RESUME"]
    ours["patience"] = (60 if offline else 600) if patience is None else patience  # a checkpoint takes its time to send
    name_repository(options.get("settings"))
    logger = BackgroundWandbLogger(save_dir=folder_of(save_dir), **{**ours, **options})
    leave_out_anonymous(logger)
    return logger


def folder_of(save_dir: str) -> str:
    """Returns the folder for W&B's files: WANDB_DIR if the user has set it; W&B's agent sets it to where it runs."""
    given = None if "WANDB_SWEEP_ID" in os.environ else os.environ.get("WANDB_DIR")
    return given or save_dir


def choose_folders(save_dir: Path) -> None:
    """Has W&B keep its own log and the artifacts in the run directory where it cannot write to the home folder."""
    usual = {wandb.env.CACHE_DIR: wandb.env.get_cache_dir(), wandb.env.DATA_DIR: Path(wandb.env.get_data_dir())}
    for name, folder in usual.items():
        if not is_writable(folder):
            os.environ[name] = str((save_dir / "wandb" / "files").absolute())


def is_writable(folder: Path) -> bool:
    """Returns whether files can be written to a folder, which is made if it is missing."""
    try:
        try_to_write(folder)
    except OSError:
        return False
    return True


def name_repository(settings: wandb.Settings | None) -> None:
    """Has W&B record the repository that this package runs from, not the one around the working folder."""
    if settings is None or settings.git_root is not None or "WANDB_GIT_ROOT" in os.environ:
        return
    settings.git_root = str(SOURCE)
    if commit() is None:
        settings.disable_git = True


def check_options(options: dict[str, Any]) -> None:
    """Raises UserError for an option or a project that W&B would refuse in the background, and then log nothing."""
    for name in options.keys() - KNOWN:
        raise UserError(f"logger.wandb.{name} is no option of W&B's; python train.py --help shows the usual ones")
    try:
        wandb.Settings(project=options.get("project"))
    except (wandb.errors.UsageError, ValueError) as error:
        raise UserError(f"logger.wandb.project: {error}; choose another name") from error


def check_key() -> None:
    """Raises UserError where W&B would ask for a key, which it can not while it works in the background."""
    try:
        known = os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun") or wandb.login(
            prompt=False, verify=False
        )
    except Exception as error:  # of the key's form, above all
        raise UserError(
            f"W&B does not take the key that it knows ({error}); mend WANDB_API_KEY, or wandb login --relogin"
        ) from error
    if not known:
        raise UserError("W&B online needs a key, and W&B knows none; wandb login, or use logger=wandb_offline")


def run_id(save_dir: Path, asked: str | None = None) -> str | None:
    """Returns the id of the W&B run, which a resumed run keeps: the one asked for, by an option or W&B's agent, or that
    of the file, or a new one. None on all processes but the first, which alone logs, and where it cannot be written."""
    if not is_first():
        return None
    path = save_dir / "wandb" / "run_id"
    try:
        known = path.read_text(encoding="utf-8") if path.exists() else None
        chosen = asked or known or secrets.token_hex(4)
        if chosen != known:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, chosen)
        return chosen
    except OSError as error:
        log.warning("%s cannot be written (%s); if this run is stopped, it goes on as another one of W&B", path, error)
        return asked


def labels(save_dir: Path) -> dict[str, Any]:
    """Name, group and tags of a run, by what was typed; or of the report on a sweep."""
    if (save_dir / "multirun.yaml").is_file():
        return {"name": "report", "group": save_dir.resolve().name}
    if not HydraConfig.initialized():
        return {}
    hydra: Any = OmegaConf.to_container(HydraConfig.get(), resolve=False, enum_to_str=True)
    choices = hydra["runtime"]["choices"]
    found: dict[str, Any] = {
        "name": shortened(" ".join(hydra["overrides"]["task"])) or "default",
        "tags": [f"{group}:{choices[group]}" for group in TAGGED if choices.get(group)],
    }
    if hydra["mode"] == "MULTIRUN":
        above = Path(hydra["runtime"]["output_dir"]).parents  # the sweep is not always the next one
        found["group"] = next((folder for folder in above if (folder / "multirun.yaml").is_file()), above[0]).name
    return found


def shortened(name: str) -> str:
    """To what W&B takes, the middle left out; the whole of it is in .hydra/overrides.yaml."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
