"""A run that starts from the weights of another (init_from=)."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.cli.test_train import STATE, same
from tests.commands import SMALL, command, error_of, results, train

FAST = ["callbacks.grid=null", "callbacks.strip=null", "callbacks.bound=null", "module.test_strata=2"]
STILL = ["trainer.max_steps=1", "optimizer.lr=0", *FAST]
"""One step that moves nothing, so that the checkpoint holds what the run started from."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose averaged weights are far from its raw ones."""
    run = train(tmp_path_factory.mktemp("source"), "callbacks.ema.decay=0.9", *FAST)
    return run / "checkpoints" / "last.ckpt"


def checkpoint_of(run: Path) -> dict[str, Any]:
    return read_checkpoint(run / "checkpoints" / "last.ckpt")


def raw(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    prefix = "model."
    return {name.removeprefix(prefix): w for name, w in checkpoint["state_dict"].items() if name.startswith(prefix)}


@pytest.mark.parametrize("use_ema", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_starts_from_averaged_weights_or_raw_ones_with_all_else_new(
    source: Path, tmp_path: Path, use_ema: bool
) -> None:
    given = read_checkpoint(source)
    train(tmp_path, *STILL, f"init_from={source}", *([] if use_ema else ["init_use_ema=false"]))
    started = checkpoint_of(tmp_path)
    expected = given["ema"] if use_ema else raw(given)
    same(raw(started), expected)
    same(started["ema"], expected)
    assert started["global_step"] == 1
    assert {int(state["step"]) for state in started["optimizer_states"][0]["state"].values()} == {1}
    event = {"step": 0, "init_from": str(source), "weights": "ema" if use_ema else "raw", "of_step": 4}
    assert results(tmp_path)["history"] == [{**event, "taken": len(expected), "not_taken": [], "initialized": []}]
    assert started["config"]["init_from"] == str(source)


def test_the_average_starts_from_the_given_weights(source: Path, tmp_path: Path) -> None:
    """θ̄_1 = decay θ_0 + (1 − decay) θ_1, where a run from scratch has θ̄_1 = θ_1."""
    train(
        tmp_path,
        *FAST,
        "trainer.max_steps=1",
        "module.warmup_steps=0",
        "callbacks.ema.decay=0.75",
        f"init_from={source}",
    )
    given, made = read_checkpoint(source)["ema"], checkpoint_of(tmp_path)
    for name, weight in raw(made).items():
        expected = 0.75 * given[name].double() + 0.25 * weight.double()
        assert torch.allclose(made["ema"][name].double(), expected, rtol=1e-6, atol=1e-8)


def test_what_does_not_fit_is_named_and_new(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of three channels, in a network that reads and writes three; and another prediction."""
    train(tmp_path, *STILL, "data.channels=3", "parameterization=v", f"init_from={source}")
    given, started = read_checkpoint(source)["ema"], raw(checkpoint_of(tmp_path))
    other = sorted(name for name in given if given[name].shape != started[name].shape)
    assert other
    same({n: w for n, w in started.items() if n not in other}, {n: w for n, w in given.items() if n not in other})
    event = results(tmp_path)["history"][0]
    assert event["not_taken"] == event["initialized"] == other
    said = capsys.readouterr().out
    assert f"Of another shape in the checkpoint, so initialized at random: {', '.join(other)}\n" in said
    assert "Not copied" not in said
    assert "Not in the checkpoint" not in said
    assert "These weights were trained with another parameterization (Epsilon before, V now)" in said


@pytest.mark.slow
def test_a_run_that_was_stopped_resumes_its_own_checkpoint_without_the_source(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(source.read_bytes())
    train(tmp_path / "whole", *FAST, f"init_from={copy}")
    train(tmp_path / "halves", *FAST, f"init_from={copy}", "trainer.max_steps=2")
    copy.unlink()
    train(tmp_path / "halves", *FAST, f"init_from={copy}")
    whole, halves = (checkpoint_of(tmp_path / name) for name in ("whole", "halves"))
    for key in STATE:
        same(whole[key], halves[key], key)
    assert results(tmp_path / "halves")["history"][0] == results(tmp_path / "whole")["history"][0]


def test_a_converted_checkpoint_is_a_start(source: Path, tmp_path: Path) -> None:
    converted = tmp_path / "converted.ckpt"
    command("convert", f"source.path={source}", f"target.path={converted}")
    train(tmp_path / "run", *STILL, f"init_from={converted}")
    same(raw(checkpoint_of(tmp_path / "run")), read_checkpoint(source)["ema"])


def test_what_is_no_start_is_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = [f"hydra.run.dir={tmp_path}/run", *SMALL]
    assert "there is no checkpoint" in error_of(capsys, "train", *where, f"init_from={tmp_path}/none.ckpt")
    points = [option for option in SMALL if not option.startswith(("network.", "data"))]
    said = error_of(capsys, "train", where[0], *points, "network=mlp", "data=two_moons", *FAST, f"init_from={source}")
    assert "has no weight whose name and shape fit this model" in said
    said = error_of(capsys, "train", *where, f"init_from={source}", "init_use_ema=maybe")
    assert "init_use_ema=maybe is neither true nor false" in said
    said = error_of(capsys, "train", f"hydra.run.dir={source.parents[1]}", *SMALL, *FAST, f"init_from={source}")
    assert "is of a run with another init_from (null)" in said


def test_without_averaged_weights_the_option_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "raw", *STILL, "callbacks.ema=null")
    path = tmp_path / "raw" / "checkpoints" / "last.ckpt"
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}/run", *SMALL, f"init_from={path}")
    assert "has no averaged weights; use the raw ones with init_use_ema=false" in said


def test_a_recipe_that_tunes_a_model_asks_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", "experiment=consistency_digits", f"hydra.run.dir={tmp_path / 'run'}")
    assert "CHECKPOINT_TO_TUNE" in said
