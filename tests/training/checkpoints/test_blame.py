"""What fails when a run starts is blamed on what is at fault: a checkpoint, a lock, or neither."""

import errno
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning as L
import pytest
import torch

from ddpm_lightning.runtime.run_directory import alone_in
from ddpm_lightning.training.callbacks.resuming import check_shapes
from tests.commands import SMALL, command, error_of, slow, train
from tests.training.checkpoints.test_kept import failing

FEW = ["callbacks.grid=null", "callbacks.strip=null", "callbacks.bound=null", "callbacks.checkpoint.every_n_steps=1"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a run that made one step."""
    run = train(tmp_path_factory.mktemp("run"), *FEW, "trainer.max_steps=1")
    return dict(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True))


def put(checkpoint: dict[str, Any], folder: Path) -> Path:
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    torch.save(checkpoint, path)
    return path


class FailsAt(L.Callback):
    """A bug of the user's own, in this hook."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._fail)

    def _fail(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("a bug of my own")


@pytest.mark.parametrize(
    "hook",
    ["setup", *slow("on_fit_start", "on_train_start", "on_train_batch_start"), "on_after_backward"],
)
def test_a_bug_of_the_users_own_is_shown_where_it_is(
    checkpoint: dict[str, Any], tmp_path: Path, hook: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(checkpoint, tmp_path)
    bug = [f"+callbacks.bug._target_={__name__}.FailsAt", f"+callbacks.bug.hook={hook}"]
    with pytest.raises(SystemExit):
        command("train", f"hydra.run.dir={tmp_path}", *SMALL, *FEW, *bug)
    said = capsys.readouterr().err
    assert "a bug of my own" in said
    assert "last.ckpt" not in said


def test_a_failure_of_the_network_is_not_the_checkpoints(
    checkpoint: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when a driver fails."""
    put(checkpoint, tmp_path)
    with (
        patch("torch.nn.functional.group_norm", side_effect=RuntimeError("the driver is gone")),
        pytest.raises(SystemExit),
    ):
        command("train", f"hydra.run.dir={tmp_path}", *SMALL, *FEW)
    said = capsys.readouterr().err
    assert "the driver is gone" in said
    assert "last.ckpt" not in said


def forget_moments(checkpoint: dict[str, Any]) -> None:
    for state in checkpoint["optimizer_states"][0]["state"].values():
        del state["exp_avg"]


def cut_a_moment(checkpoint: dict[str, Any]) -> None:
    state = checkpoint["optimizer_states"][0]["state"][0]
    state["exp_avg"] = state["exp_avg"].flatten()[:2].clone()


def repeat_the_step(checkpoint: dict[str, Any]) -> None:
    for state in checkpoint["optimizer_states"][0]["state"].values():
        state["step"] = state["step"].repeat(5)


def forget_progress(checkpoint: dict[str, Any]) -> None:
    checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"] = "many"


def forget_the_window(checkpoint: dict[str, Any]) -> None:
    checkpoint["callbacks"]["TrainingMetrics"]["losses"] = "low"


@pytest.mark.parametrize(
    "spoil", [cut_a_moment, forget_progress, *slow(forget_moments, repeat_the_step, forget_the_window)]
)
def test_a_state_that_does_not_fit_is_the_checkpoints(
    checkpoint: dict[str, Any], tmp_path: Path, spoil: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = torch.load(put(checkpoint, tmp_path), weights_only=True)
    spoil(copied)
    torch.save(copied, tmp_path / "checkpoints" / "last.ckpt")
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, *FEW)
    assert f"{tmp_path}/checkpoints/last.ckpt cannot be resumed from" in said


OPTIMIZERS = ["Adam", "AdamW", "SGD", "RMSprop", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "ASGD", "Rprop"]


@pytest.mark.parametrize("name", [*OPTIMIZERS, "Adafactor"])
def test_the_state_of_every_optimizer_fits_its_own_weights(name: str) -> None:
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in ([3, 2], [4], [])]
    optimizer = getattr(torch.optim, name)(weights, lr=1e-3, **({"momentum": 0.9} if name == "SGD" else {}))
    sum(weight.square().sum() for weight in weights).backward()
    optimizer.step()
    check_shapes(optimizer.state_dict(), optimizer)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_trained_on(
    tmp_path: Path, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    with patch("fcntl.flock", failing(number)), alone_in(tmp_path):
        assert f"{tmp_path} cannot be locked" in caplog.text
