"""Which checkpoints a run keeps, on any file system, and whatever happens to their files meanwhile."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning as L
import pytest
import torch

from ddpm_lightning.atomic_files import atomic_write, rename_if_absent
from ddpm_lightning.training.checkpoint import PREVIOUS, AtomicCheckpointIO, read_checkpoint
from tests.commands import train


def saved(folder: Path) -> dict[str, int]:
    """The number in each checkpoint of a folder."""
    return {path.name: torch.load(path, weights_only=True)["number"] for path in sorted(folder.iterdir())}


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


without_hard_links = patch.object(Path, "hardlink_to", failing(errno.EPERM))


def test_a_checkpoint_that_is_moved_away_costs_nothing(tmp_path: Path) -> None:
    folder, keep = tmp_path / "checkpoints", AtomicCheckpointIO()
    for number in (1, 2):
        keep.save_checkpoint({"number": number}, folder / "last.ckpt")
    (folder / "last.ckpt").rename(tmp_path / "mine.ckpt")
    keep.save_checkpoint({"number": 3}, folder / "last.ckpt")
    assert saved(folder) == {"last.ckpt": 3, PREVIOUS: 1}
    keep.save_checkpoint({"number": 4}, folder / "last.ckpt")
    assert saved(folder) == {"last.ckpt": 4, PREVIOUS: 3}


def test_a_folder_that_is_moved_away_is_made_again(tmp_path: Path) -> None:
    folder, keep = tmp_path / "checkpoints", AtomicCheckpointIO()
    keep.save_checkpoint({"number": 1}, folder / "last.ckpt")
    folder.rename(tmp_path / "mine")
    keep.save_checkpoint({"number": 2}, folder / "last.ckpt")
    assert saved(folder) == {"last.ckpt": 2}


class MovesAway(L.Callback):
    """A user who takes the checkpoint out of the folder after this step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        last = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        if trainer.global_step == self.step:
            last.rename(last.parents[1] / "mine.ckpt")


def test_a_run_goes_on_whose_checkpoint_is_moved_away(tmp_path: Path) -> None:
    mover = f"+callbacks.mover._target_={__name__}.MovesAway"
    train(tmp_path, mover, "+callbacks.mover.step=2", "callbacks.grid=null", "callbacks.strip=null")
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4
    assert read_checkpoint(tmp_path / "mine.ckpt")["global_step"] == 2


def test_without_hard_links_the_second_checkpoint_is_a_copy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """exFAT, many FUSE and network mounts."""
    keep = AtomicCheckpointIO()
    with without_hard_links:
        for number in range(4):
            keep.save_checkpoint({"number": number}, tmp_path / "last.ckpt")
    assert saved(tmp_path) == {"last.ckpt": 3, PREVIOUS: 2}
    assert caplog.text.count("has no hard links") == 1


def test_a_second_checkpoint_that_cannot_be_kept_does_not_cost_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the disk has room for one, but not for two."""
    keep = AtomicCheckpointIO()
    with without_hard_links, patch("shutil.copyfileobj", failing(errno.ENOSPC)):
        for number in range(3):
            keep.save_checkpoint({"number": number}, tmp_path / "last.ckpt")
    assert saved(tmp_path) == {"last.ckpt": 2}
    assert caplog.text.count("keeps no second checkpoint") == 1


def test_a_folder_that_cannot_be_synced_does_not_cost_what_was_written(tmp_path: Path) -> None:
    """Some network mounts sync files but no folders."""

    def sync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with patch("os.fsync", sync):
        AtomicCheckpointIO().save_checkpoint({"number": 1}, tmp_path / "last.ckpt")
    assert saved(tmp_path) == {"last.ckpt": 1}


def test_without_hard_links_the_first_to_write_a_file_still_wins(tmp_path: Path) -> None:
    with without_hard_links:
        for content in (b"first", b"second"):
            with atomic_write(tmp_path / "a", shared=True, rename=rename_if_absent) as file:
                file.write(content)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"first"}
