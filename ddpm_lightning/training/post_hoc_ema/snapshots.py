"""Snapshots of averaged weights in a run's folder, and averages of other lengths that are rebuilt from them."""

import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.errors import UserError
from ddpm_lightning.training.checkpoint import EMA, copy_weights, read_checkpoint, without_prefixes
from ddpm_lightning.training.post_hoc_ema.profiles import Profile, check_length, combine, gamma_of

log = logging.getLogger(__name__)

TRACKS = "ema_tracks"
"""The checkpoint's key for the averages of several lengths, in the form of a snapshot."""

NAME = re.compile(r"step_(\d{7,})\.pt")
WARN_ABOVE = 0.05
"""The relative error of a rebuilt profile above which a warning is logged."""

Snapshot = dict[str, Any]
"""Averages at one step: "n", their updates; "lengths", σ_rel of each; "averages", the weights of each by name."""


def folder_of(run_dir: str | Path) -> Path:
    """Returns the folder of a run's snapshots."""
    return Path(run_dir) / "ema_snapshots"


class Snapshots:
    """The snapshots of a run: at most `most` of them, evenly spread over its steps.

    A snapshot is kept at each multiple of `every_n_steps`, and later of 2, 4, 8, … times that.

    Args:
        folder: the folder of the files, which the first write creates.
        every_n_steps: optimizer steps between two snapshots, as long as there are few.
        most: the largest number of snapshots.
    """

    def __init__(self, folder: Path, every_n_steps: int, most: int) -> None:
        self.folder, self.every_n_steps, self.most = folder, every_n_steps, most

    def is_due(self, step: int) -> bool:
        """Returns whether a snapshot is kept after this many optimizer steps."""
        return step % self.spacing(step) == 0

    def spacing(self, step: int) -> int:
        """Returns the number of steps between two snapshots that are kept after this many optimizer steps."""
        spacing = self.every_n_steps
        while step > self.most * spacing:
            spacing *= 2
        return spacing

    def write(self, step: int, snapshot: Snapshot) -> None:
        """Writes a snapshot atomically as vectors, and deletes those no longer kept. Raises UserError on failure."""
        path = file_of(self.folder, step)
        try:
            self.folder.mkdir(exist_ok=True)
            with atomic_write(path) as file:
                torch.save(as_vectors(snapshot), file)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
            raise UserError(
                f"the snapshot {path} cannot be written ({error}); free some space, then give the same command to "
                "resume, or start a run with fewer callbacks.ema.max_snapshots"
            ) from error
        self.remove({other for other in steps_in(self.folder) if other % self.spacing(step)})

    def remove(self, steps: set[int]) -> None:
        """Deletes the snapshots of these steps."""
        for step in steps:
            file_of(self.folder, step).unlink(missing_ok=True)


def file_of(folder: Path, step: int) -> Path:
    """Returns the path of the snapshot of a step."""
    return folder / f"step_{step:07d}.pt"


def steps_in(folder: Path) -> list[int]:
    """Returns the steps of the snapshots in a folder, ascending."""
    names = (NAME.fullmatch(path.name) for path in folder.glob("step_*.pt"))
    return sorted(int(name[1]) for name in names if name)


class KeptAverages:
    """All averages that a run kept up to a checkpoint, from which an average of any length is rebuilt.

    Args:
        checkpoint: the path of a checkpoint of a run with callbacks/ema=power, in the run's own folder.

    Raises:
        UserError: if the checkpoint or a snapshot cannot be used.
    """

    def __init__(self, checkpoint: Path) -> None:
        contents = read_checkpoint(checkpoint)
        if TRACKS not in contents:
            raise UserError(
                f"{checkpoint} has one average, of a fixed length; ema_length= needs a run with callbacks/ema=power"
            )
        folder, end = folder_of(checkpoint.parent.parent), contents["global_step"]
        self.like = without_prefixes(contents[EMA])
        self.profiles: list[Profile] = []
        self.vectors: list[Tensor] = []
        for step in steps_in(folder):
            if step < end:
                self._add(file_of(folder, step), _read(file_of(folder, step)))
        self._add(checkpoint, as_vectors(contents[TRACKS]))
        self.now = self.profiles[-1].n

    def _add(self, path: Path, snapshot: Snapshot) -> None:
        try:
            self.profiles += [Profile(snapshot["n"], gamma_of(length)) for length in snapshot["lengths"]]
            shape = (len(snapshot["lengths"]), sum(weight.numel() for weight in self.like.values()))
            self.vectors += snapshot["averages"].reshape(shape).unbind()
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(f"{path} holds no averages of this run's weights; delete it") from error

    def rebuild(self, length: float) -> dict[str, Tensor]:
        """Returns the average of a length: weights by name, float32 on the CPU.

        Args:
            length: σ_rel, the standard deviation of the average's profile as a share of the training before it.

        Raises:
            UserError: if no average has this length.
        """
        check_length("ema_length", length)
        factors, error = combine(self.profiles, Profile(self.now, gamma_of(length)))
        if error > WARN_ABOVE:
            log.warning(
                "ema_length=%g is rebuilt with an error of %.0f %% of its profile, because the run kept too few "
                "averages near it; choose a length nearer to its callbacks.ema.lengths",
                *(length, 100 * error),
            )
        total = sum(factor * vector.double() for factor, vector in zip(factors, self.vectors, strict=True))
        assert isinstance(total, Tensor)
        parts = torch.split(total.float(), [weight.numel() for weight in self.like.values()])
        return {name: part.view_as(self.like[name]) for name, part in zip(self.like, parts, strict=True)}


def as_vectors(snapshot: Snapshot) -> Snapshot:
    """Returns a snapshot with each average in one vector, which is read many times faster: "averages", [k, weights]."""
    vectors = [torch.cat([weight.flatten() for weight in average.values()]) for average in snapshot["averages"]]
    return {**snapshot, "averages": torch.stack(vectors).cpu()}


def set_average(model: nn.Module, averages: KeptAverages, length: float) -> None:
    """Gives a model the average of a length. Raises UserError if no average has it."""
    copy_weights(without_prefixes(dict(model.named_parameters())), averages.rebuild(length))


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # zipfile and torch raise many kinds of errors on a damaged file
        raise UserError(f"{path} is damaged; delete it to do without this snapshot") from error
