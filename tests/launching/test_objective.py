"""objective=NAME is what train.py returns to a sweeper; Optuna's searches by it, and resumes where it was stopped."""

import json
import math
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from ddpm_lightning.cli import train as run
from ddpm_lightning.studies.report.runs import read_sweep
from ddpm_lightning.training import objective
from tests.commands import SMALL, command, error_of, results
from tests.conftest import ROOT

OBJECTIVE = "test/bpd_beta_estimate"
BRIEF = (
    *SMALL,
    *("callbacks.grid=null", "callbacks.strip=null", "callbacks.bound=null", "trainer.max_steps=2"),
)


def search(folder: Path, *more: str) -> list[float]:
    """Runs a search of three trials; returns what each of them returned."""
    returned: list[float] = []
    honest = run.objective_of

    def told(config: dict[str, Any]) -> float | None:
        value = honest(config)
        returned.extend([] if value is None else [value])
        return value

    names = "hydra.sweep.subdir=${optimizer.lr}"  # all options together are too long for the name of a folder
    trials = ("hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.n_startup_trials=2", names)
    with patch.object(run, "objective_of", told):
        command("train", "-m", *BRIEF, "hparams_search=optuna", f"hydra.sweep.dir={folder}", *trials, *more)
    return returned


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("search")
    return folder, search(folder, f"objective={OBJECTIVE}")


def best(folder: Path) -> dict[str, Any]:
    """What Optuna found."""
    return dict(yaml.safe_load((folder / "optimization_results.yaml").read_text()))


def test_each_trial_returns_its_number_and_the_best_one_is_found(searched: tuple[Path, list[float]]) -> None:
    folder, returned = searched
    found = {path.parent.name: results(path.parent)["metrics"][OBJECTIVE]["value"] for path in trials_of(folder)}
    assert sorted(found.values()) == sorted(returned)
    assert len(found) == 3
    assert best(folder)["best_value"] == min(returned)
    assert found[str(best(folder)["best_params"]["optimizer.lr"])] == min(returned)


def test_the_report_of_the_sweep_has_the_best_options(searched: tuple[Path, list[float]]) -> None:
    folder, returned = searched
    told = (
        f"best {OBJECTIVE} of 3 runs: {min(returned)} with optimizer.lr={best(folder)['best_params']['optimizer.lr']}"
    )
    assert told in (folder / "report.html").read_text()
    assert told in (folder / "table2.md").read_text()


def test_the_same_command_resumes_the_search(searched: tuple[Path, list[float]]) -> None:
    """It proposes the same options, and trains only what is not there."""
    folder, returned = searched
    lost, *kept = trials_of(folder)
    before = {path: path.stat().st_mtime_ns for path in kept}
    shutil.rmtree(lost.parent)
    assert search(folder, f"objective={OBJECTIVE}") == returned
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert len(trials_of(folder)) == 3


def test_the_objective_is_that_of_the_last_search_in_the_folder(
    searched: tuple[Path, list[float]], tmp_path: Path
) -> None:
    """Also where its runs are those of an earlier search, whose configurations name another objective."""
    folder = shutil.copytree(searched[0], tmp_path / "search")
    values = iter((3.0, 2.0, 4.0))
    for path in trials_of(folder):
        outcome = results(path.parent)
        outcome["metrics"]["other"] = {**outcome["metrics"][OBJECTIVE], "value": next(values)}
        path.write_text(json.dumps(outcome), encoding="utf-8")
    found = yaml.safe_dump({**best(folder), "best_value": 2.0})
    (folder / "optimization_results.yaml").write_text(found, encoding="utf-8")
    told = read_sweep(folder).best
    assert told is not None
    assert told.startswith("best other of 3 runs: 2.0 with ")


def trials_of(folder: Path) -> list[Path]:
    """The results of each run."""
    return sorted(folder.glob("*/results.json"))


def test_a_trial_that_diverges_is_the_worst_and_the_search_goes_on(tmp_path: Path) -> None:
    diverging = ("optimizer.lr=choice(1e-3,1e30)", "module.max_skipped=0")
    returned = search(tmp_path, f"objective={OBJECTIVE}", *diverging)
    assert math.inf in returned
    assert math.isfinite(min(returned))
    assert best(tmp_path)["best_value"] == min(returned)


@pytest.mark.parametrize(("direction", "value"), [("minimize", math.inf), ("maximize", -math.inf)])
def test_the_worst_value_is_that_of_the_direction(direction: str, value: float) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        overrides = ["hparams_search=optuna", f"hydra.sweeper.direction={direction}"]
        HydraConfig.instance().set_config(compose("train", overrides, return_hydra_config=True))
    assert objective.worst() == value


MEASURED = (
    *("metrics=[bpd,score_digits]", "evaluation.num_images=70", "sampler=ddim", "sampler.num_steps=4"),
    *(
        "data.num_images=80",
        "data.size=[8,8]",
        "quality=digits",
        "callbacks.quality.num_images=70",
        "callbacks.quality.sampler.num_steps=4",
    ),
)


@pytest.mark.parametrize(
    "more", [("callbacks.quality.raw=true",), pytest.param(("callbacks.ema=null",), marks=pytest.mark.slow)]
)
def test_the_names_told_before_training_are_those_in_the_results(more: tuple[str, ...], tmp_path: Path) -> None:
    known = "objective=test/bpd_beta_raw" if "callbacks.ema=null" in more else "objective=test/bpd_beta"
    with patch.object(objective, "check_name", wraps=objective.check_name) as check:
        command("train", f"hydra.run.dir={tmp_path}", *BRIEF, *MEASURED, known, *more, f"evaluation.cache={tmp_path}/c")
    _, names = check.call_args_list[0].args
    assert sorted(names) == sorted(results(tmp_path)["metrics"])


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("test/bpd", "test/bpd_beta"),
        ("score_digits_70", "score_digits_70_ddim4"),
        ("fd_digits_50_train_ddim4", "fd_digits_70_train_ddim4"),
    ],
)
def test_a_number_that_nobody_measures_is_told_before_training(
    wrong: str, near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (*BRIEF, *MEASURED, f"objective={wrong}")
    said = " ".join(error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *options).split())
    assert f"objective={wrong} is not measured by this run; did you mean " in said
    assert near in said
    assert not (tmp_path / "checkpoints").exists()
