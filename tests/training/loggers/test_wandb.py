"""What W&B is told of a run, read back from the file that it wrote offline; and that W&B never stands in the way."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from ddpm_lightning.studies.report.dashboard import PANELS_OF_SWEEP, SECTIONS, Lines, Media, Panel
from ddpm_lightning.studies.runs.run_table import read_table
from ddpm_lightning.training.callbacks.previews import SampleGrid
from ddpm_lightning.training.loggers.background import Background
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from tests.commands import SMALL, command, error_of, results, train
from tests.conftest import ROOT
from tests.runtime.test_stopped import wait_for
from tests.training.loggers.wandb_records import Written, read_folder, read_run
from tests.training.loggers.wandb_server import serving
from tests.training.test_quality import QUALITY

TWICE = ("callbacks.loss_by_t.every_n_steps=2", "callbacks.loss_by_t.bins=4")

MEASURED = ("metrics=[bpd,score_digits,prc_digits]", "evaluation.num_images=70")

NUMBERS = {
    *("train/loss", "train/loss_q1", "train/loss_q2", "train/loss_q3", "train/loss_q4", "train/skipped_steps"),
    *("train/grad_norm", "train/lr", "train/ema_distance", "train/images_per_s", "train/memory_gib"),
    *("time/train_s", "time/measure_s", "time/draw_s", "time/save_s", "time/rest_s"),
    *("val/bpd_beta", "val/bpd_beta_raw", "fd_digits_70_train_ddim4", "fd_digits_70_train_ddim4_raw"),
    *("samples/brightness_shift", "samples/contrast_shift"),
    *("samples/brightness_shift_final", "samples/contrast_shift_final"),
    *("test/bpd_beta", "test/rate_beta", "test/distortion_beta"),
    *("score_digits_70", "precision_digits_70_train", "recall_digits_70_train"),
}
PICTURES = {
    *(f"samples/{name}{called}" for name in ("grid", "strip", "chain") for called in ("", "_final")),
    *("train/loss_by_t", "schedule", "test/bound"),
}
HISTOGRAMS = {
    *(f"samples/{name}{called}" for name in ("brightness", "contrast") for called in ("", "_final")),
    *("data/brightness", "data/contrast"),
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = ("callbacks.quality.raw=true", "callbacks.bound.raw=true", "logger.wandb.upload_checkpoint=true")
    shown = [option for option in QUALITY if option not in ("callbacks.grid=null", "callbacks.strip=null")]
    options = (*shown, *TWICE, "logger=wandb_offline", "logger.wandb.entity=someone", *MEASURED, *raw)
    return train(tmp_path_factory.mktemp("run"), *options, plots=True)


@pytest.fixture(scope="module")
def written(run_dir: Path) -> Written:
    (written,) = read_run(run_dir)
    return written


def test_the_table_of_runs_has_the_names_and_the_last_values_of_wandb(run_dir: Path, written: Written) -> None:
    (row,) = read_table([run_dir]).rows
    last = {key: value for entry in written.history for key, value in entry.items() if not key.startswith("_")}
    numbers = {key: value for key, value in last.items() if isinstance(value, int | float)}
    assert numbers.keys() > NUMBERS
    assert {key: row.values[key] for key in numbers} == pytest.approx(numbers)


def test_every_promised_number_is_there_by_optimizer_step(written: Written) -> None:
    assert written.keys() >= NUMBERS
    assert all("trainer/global_step" in entry for entry in written.history)
    assert [step for step, _ in written.values("train/loss")] == [1, 2, 3, 4]
    assert [step for step, _ in written.values("val/bpd_beta")] == [2, 4]
    assert [step for step, _ in written.values("samples/brightness_shift")] == [2, 4]
    assert [step for step, _ in written.values("samples/brightness_shift_final")] == [4]
    assert all(isinstance(value, int | float) for key in NUMBERS for _, value in written.values(key))


def test_the_numbers_are_those_of_the_runs_own_files(written: Written, run_dir: Path) -> None:
    for name, record in results(run_dir)["metrics"].items():
        assert written.values(name)[-1] == (4, pytest.approx(record["value"])), name


def test_the_seconds_of_the_phases_are_those_that_passed(written: Written) -> None:
    phases = {key for key in sorted(written.keys()) if key.startswith("time/")}
    spent = sum(value for key in phases for _, value in written.values(key))
    between = [entry["_timestamp"] for entry in written.history if "train/loss" in entry]
    assert min(value for key in phases for _, value in written.values(key)) > -1e-3
    assert spent >= between[-1] - between[0] - 1
    assert written.values("time/after_draw_s")[0][1] > 0  # the final pictures


def test_images_per_second_are_those_while_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = SampleGrid.draw

    def slowly(self: SampleGrid, *args: Any) -> Any:
        time.sleep(0.5)
        return draw(self, *args)

    monkeypatch.setattr(SampleGrid, "draw", slowly)
    train(tmp_path, "callbacks.metrics.every_n_steps=4", "logger=csv", "callbacks.strip=null", plots=True)
    (row,) = [row for row in read_rows(tmp_path / "metrics.csv") if row["train/images_per_s"]]
    assert float(row["time/draw_s"]) > 0.5
    assert 16 / float(row["train/images_per_s"]) < float(row["time/train_s"]) + float(row["time/rest_s"]) + 0.05


def test_every_promised_picture_is_there_and_shows_something(written: Written) -> None:
    for key in PICTURES:
        for _, value in written.values(key):
            (name,) = value["filenames"]
            pixels = np.asarray(Image.open(written.folder / "files" / name).convert("L"))
            assert pixels.std() > 1, f"{key} is one grey"
    assert [step for step, _ in written.values("samples/grid")] == [2, 4]
    assert [step for step, _ in written.values("samples/grid_final")] == [4]
    assert [step for step, _ in written.values("schedule")] == [0]


def test_histograms_count_every_image(written: Written) -> None:
    for key in HISTOGRAMS:
        assert {sum(value["values"]) for _, value in written.values(key)} == {4}, key


def test_the_config_is_the_resolved_one_and_the_run_is_labelled(written: Written, run_dir: Path) -> None:
    assert written.config["schedule"]["T"] == 8
    assert written.config["run_dir"] == str(run_dir)
    assert "${" not in str(written.config)
    assert written.run["display_name"].startswith("network.channels=8 network.groups=4 ")
    assert {"data:fake", "schedule:linear", "loss:simple", "variance:beta"} <= set(written.run["tags"])
    assert "run_group" not in written.run
    assert written.run["entity"] == "someone"
    assert written.exit_code == 0


def test_results_and_checkpoint_are_artifacts(written: Written) -> None:
    assert written.artifacts == {"results": ["metrics.csv", "results.json", "train.log"], "model": ["last.ckpt"]}


@pytest.mark.parametrize("panel", [*(panel for each in SECTIONS.values() for panel in each), *PANELS_OF_SWEEP])
def test_no_panel_of_the_dashboard_is_empty(written: Written, panel: Panel) -> None:
    if isinstance(panel, Media):
        assert set(panel.keys) <= written.keys()
    else:
        assert isinstance(panel, Lines)
        assert any(re.search(panel.pattern, key) for key in written.keys())  # noqa: SIM118


def test_no_number_is_without_a_panel(written: Written) -> None:
    shown = [panel for panels in SECTIONS.values() for panel in panels]
    patterns = [panel.pattern for panel in shown if isinstance(panel, Lines)]
    media = {key for panel in shown if isinstance(panel, Media) for key in panel.keys} | {"test/bound"}  # of sweeps
    for key in written.keys() - {"trainer/global_step", "epoch"}:
        assert key in media or any(re.search(pattern, key) for pattern in patterns), key


def test_a_sweep_is_a_group_of_runs_each_closed(tmp_path: Path) -> None:
    options = (*SMALL, "logger=wandb_offline", f"hydra.sweep.dir={tmp_path}/my_sweep", "hydra.sweep.subdir=${seed}")
    command("train", "-m", *options, "seed=0,1")
    found = [read_run(tmp_path / "my_sweep" / seed) for seed in ("0", "1")]
    assert [len(runs) for runs in found] == [1, 1]
    for seed, (run,) in enumerate(found):
        assert run.run["run_group"] == "my_sweep"
        assert f"seed={seed}" in run.run["display_name"]
        assert run.config["seed"] == seed
        assert run.exit_code == 0
        assert [step for step, _ in run.values("train/loss")] == [1, 2, 3, 4]
    assert found[0][0].run["run_id"] != found[1][0].run["run_id"]


@pytest.mark.slow
def test_a_failed_job_of_a_sweep_is_shown_as_failed_and_the_next_as_itself(tmp_path: Path) -> None:
    fails = "+callbacks.fail={_target_:tests.moments.FailAt,step:${seed},rank:0}"
    options = (*SMALL, "logger=wandb_offline", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=${seed}", fails)
    with pytest.raises(BaseException, match=r"a bug|1"):
        command("train", "-m", *options, "seed=2,99")
    (failed,), (other,) = read_run(tmp_path / "2"), read_run(tmp_path / "99")
    assert failed.exit_code == 1
    assert [step for step, _ in failed.values("train/loss")] == [1, 2]
    assert failed.artifacts["results"] == ["metrics.csv", "train.log"]
    assert other.exit_code == 0
    assert [step for step, _ in other.values("train/loss")] == [1, 2, 3, 4]
    assert failed.run["run_id"] != other.run["run_id"]


@pytest.mark.slow
def test_of_two_processes_one_logs_and_the_group_is_the_sweep(tmp_path: Path) -> None:
    """In the sweep's default folder, whose name has the time in it."""
    start = [
        sys.executable,
        str(ROOT / "train.py"),
        "-m",
        *SMALL,
        "trainer=ddp_cpu",
        "logger=wandb_offline",
        "seed=0,1",
    ]
    subprocess.run(start, cwd=tmp_path, check=True, capture_output=True, timeout=280)
    (sweep,) = (tmp_path / "multirun").iterdir()
    found = [read_run(sweep / number) for number in ("0", "1")]
    assert [len(runs) for runs in found] == [1, 1]
    assert [runs[0].run["run_group"] for runs in found] == [sweep.name, sweep.name]
    assert [[step for step, _ in runs[0].values("train/loss")] for runs in found] == [[1, 2, 3, 4]] * 2


def test_a_run_that_goes_on_is_the_same_run_and_repeats_nothing(tmp_path: Path) -> None:
    train(tmp_path, "logger=wandb_offline", "trainer.max_steps=2")
    train(tmp_path, "logger=wandb_offline")
    first, second = read_run(tmp_path)
    assert first.run["run_id"] == second.run["run_id"]
    assert [step for step, _ in first.values("train/loss")] == [1, 2]
    assert [step for step, _ in second.values("train/loss")] == [3, 4]


@pytest.mark.slow
def test_tensorboard_csv_and_none_are_one_word(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path / "tensorboard", "logger=tensorboard", plots=True)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
    assert "samples/grid" in events.Tags()["images"]
    train(tmp_path / "csv", "logger=csv")
    assert (tmp_path / "csv" / "metrics.csv").is_file()
    train(tmp_path / "none", "logger=none")
    assert not (tmp_path / "none" / "metrics.csv").exists()
    assert not list(tmp_path.glob("*/wandb"))


# W&B in trouble.


def test_work_in_the_background_is_done_in_order_and_never_waited_for() -> None:
    background, done, gate = Background("test", queue_size=3), [], threading.Event()
    background.do(gate.wait)
    start = time.perf_counter()
    for number in range(100):
        background.do(lambda number=number: done.append(number))
    assert time.perf_counter() - start < 0.5
    gate.set()
    background.finish(lambda: done.append("last"), patience=10)
    assert done[-1] == "last"
    assert done[:-1] == sorted(done[:-1])
    assert 2 <= len(done[:-1]) <= 4  # what there was room for


def test_work_that_fails_or_hangs_is_told_once_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    background = Background("W&B")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            background.do(lambda: 1 / 0)
        background.finish(threading.Event().wait, patience=0.2)
    assert [record.message for record in caplog.records if "ZeroDivisionError" in record.message] == [
        "W&B is in trouble (ZeroDivisionError: division by zero); the run continues, but its log may be incomplete"
    ]
    assert len(caplog.records) == 1


def test_a_wandb_that_cannot_write_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("in the way")
    train(tmp_path, "logger=wandb_offline")
    assert "run_id cannot be written" in (tmp_path / "train.log").read_text()
    assert results(tmp_path)["metrics"]["test/bpd_beta_estimate"]["step"] == 4


@pytest.mark.slow
def test_a_wandb_that_cannot_begin_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**options: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("wandb.init", broken)
    train(tmp_path, "logger=wandb_offline")
    assert results(tmp_path)["metrics"]["test/bpd_beta_estimate"]["step"] == 4


def test_a_full_disk_ends_no_run(tmp_path: Path) -> None:
    """That of W&B's files alone."""
    (tmp_path / "wandb").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path / "wandb"], check=False)
    if mounted.returncode:
        pytest.skip("not allowed to mount a small disk")
    try:
        train(tmp_path, "logger=wandb_offline", "logger.wandb.patience=5")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "wandb"], check=True)
    assert results(tmp_path)["metrics"]["test/bpd_beta_estimate"]["step"] == 4


@pytest.mark.parametrize(("mode", "logger"), [({}, "wandb_online"), ({"WANDB_MODE": "online"}, "wandb")])
def test_online_without_a_key_is_told_before_anything_is_done(
    mode: dict[str, str],
    logger: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in mode.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    said = error_of(capsys, "train", *SMALL, f"hydra.run.dir={tmp_path / 'run'}", f"logger={logger}")
    assert "W&B online needs a key" in said
    assert not (tmp_path / "run" / "metrics.csv").exists()


LONG = (
    *SMALL,
    *("trainer.max_steps=1000000", "callbacks.grid=null", "callbacks.strip=null", "callbacks.checkpoint=null"),
    *("callbacks.metrics.every_n_steps=20", "logger.wandb.patience=5"),  # few rows, of which none has to wait
)


def train_py(run_dir: Path, *options: str) -> list[str]:
    """The command of a run in a process of its own."""
    return [sys.executable, "train.py", *options, f"hydra.run.dir={run_dir}"]


def steps_in(path: Path) -> list[int]:
    """Which steps metrics.csv has a loss of."""
    return [int(row["step"]) for row in read_rows(path) if row["train/loss"]]


def has_rows(run_dir: Path) -> bool:
    """Returns whether W&B has written a row of metrics, which it may do while the run trains."""
    try:
        return any(run.values("train/loss") for run in read_run(run_dir))
    except (subprocess.CalledProcessError, ValueError, KeyError):  # half a file
        return False


def alone() -> dict[str, str]:
    """The environment of a process that starts W&B's service itself, and does not use this one's."""
    return {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}


def online(url: str) -> dict[str, str]:
    """The environment of a process that has a key of this server."""
    known = {**alone(), "WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40}
    del known["WANDB_MODE"]
    return known


class Heard(NamedTuple):
    """A run online in a process of its own: its folder, what it said, what the server was told of it."""

    folder: Path
    ended: subprocess.CompletedProcess[str]
    run: dict[str, Any]
    history: list[dict[str, Any]]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """With variables as W&B's agent and users set them, and a home folder that cannot be written."""
    folder = tmp_path_factory.mktemp("online")
    variables = {
        **{"HOME": "/proc/nowhere", **{f"XDG_{name}_HOME": "/proc/nowhere" for name in ("CACHE", "CONFIG", "DATA")}},
        **{"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "run1", "WANDB_DIR": str(folder / "agent")},
        **{"WANDB_PROJECT": "elsewhere", "WANDB_NAME": "called", "WANDB_TAGS": "first,second"},
        "WANDB_RUN_GROUP": "not this one",
    }
    start = train_py(folder / "run", *SMALL, "logger=wandb_online", "+logger.wandb.group=typed")
    with serving() as server:
        env = {**online(server.url), **variables}
        ended = subprocess.run(start, cwd=ROOT, env=env, check=True, timeout=180, capture_output=True, text=True)
    return Heard(folder / "run", ended, server.runs[0], server.history)


@pytest.mark.slow
def test_online_the_server_hears_of_everything(heard: Heard) -> None:
    """Even where the home folder cannot be written, in which W&B keeps its own log and the artifacts."""
    assert "handleInform" not in heard.ended.stderr
    assert "in trouble" not in heard.ended.stdout
    assert "matplotlib" not in heard.ended.stdout + heard.ended.stderr
    assert list((heard.folder / "wandb" / "files" / "artifacts" / "staging").iterdir())
    assert [row["trainer/global_step"] for row in heard.history if "train/loss" in row] == [1, 2, 3, 4]


@pytest.mark.slow
def test_wandbs_own_variables_count_and_a_run_of_its_agent_is_that_run(heard: Heard) -> None:
    """What W&B's agent sets, and what users set; an option that is typed wins."""
    said, wandb = heard.run, heard.folder / "wandb"
    assert (said["name"], said["sweep"], said["project"]) == ("run1", "sweep1", "elsewhere")
    assert (said["displayName"], said["tags"], said["groupName"]) == ("called", ["first", "second"], "typed")
    assert (wandb / "run_id").read_text() == "run1"
    assert list(wandb.glob("run-*run1"))


@pytest.mark.slow
def test_an_id_that_is_typed_is_that_of_the_run(tmp_path: Path) -> None:
    train(tmp_path, "logger=wandb_offline", "+logger.wandb.id=mine", "trainer.max_steps=2", "callbacks.strip=null")
    (run,) = read_run(tmp_path)
    assert run.run["run_id"] == (tmp_path / "wandb" / "run_id").read_text() == "mine"


@pytest.mark.slow
def test_a_network_that_goes_away_leaves_what_can_be_synced(tmp_path: Path) -> None:
    """In the run's own file, which W&B's service does not close, for it is still trying when patience ends."""
    start = train_py(tmp_path, *LONG, "logger=wandb_online")
    with serving() as server, subprocess.Popen(start, cwd=ROOT, env=online(server.url)) as process:
        wait_for(lambda: bool(server.history))
        server.shutdown()
        server.server_close()
        time.sleep(2)
        known = steps_in(tmp_path / "metrics.csv")
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=180) == 130
    (folder,) = (tmp_path / "wandb").glob("run-*")
    assert [step for step, _ in read_folder(folder).values("train/loss")][: len(known)] == known


@pytest.mark.slow
def test_what_cannot_be_sent_is_kept_to_be_synced(tmp_path: Path) -> None:
    """W&B online, with a key, where nobody answers."""
    start = train_py(tmp_path, *SMALL, "logger=wandb_online", "+logger.wandb.settings.init_timeout=3")
    subprocess.run(start, cwd=ROOT, env=online("http://127.0.0.1:9"), check=True, timeout=180)
    (run,) = read_run(tmp_path)
    assert [step for step, _ in run.values("train/loss")] == [1, 2, 3, 4]
    assert run.exit_code == 0


@pytest.mark.slow
def test_a_run_that_is_killed_has_all_but_its_last_second(tmp_path: Path) -> None:
    start = train_py(tmp_path, *LONG, "logger=wandb_offline")
    with subprocess.Popen(start, cwd=ROOT, env=alone(), stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: has_rows(tmp_path))
        known = steps_in(tmp_path / "metrics.csv")
        time.sleep(3)
        process.kill()
    (run,) = read_run(tmp_path)
    assert [step for step, _ in run.values("train/loss")][: len(known)] == known


REFUSED = [
    ("+logger.wandb.projct=x", "logger.wandb.projct is not an option of W&B"),
    ("logger.wandb.project=a/b", "cannot contain characters"),
    ("logger.wandb.patience=0", "patience=0"),
]


@pytest.mark.parametrize(("mistake", "words"), REFUSED)
def test_what_wandb_would_refuse_is_told(
    mistake: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(capsys, "train", *SMALL, f"hydra.run.dir={tmp_path}", "logger=wandb_offline", mistake)
    assert words in " ".join(said.split())


def test_disabled_is_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(tmp_path, "logger=wandb_offline")
    assert not read_run(tmp_path)
    assert "trouble" not in (tmp_path / "train.log").read_text()


@pytest.mark.slow
def test_a_long_name_is_cut_and_a_deep_folder_is_of_its_sweep(tmp_path: Path) -> None:
    long = [f"+callbacks.nothing_{number}=null" for number in range(10)]
    where = (f"hydra.sweep.dir={tmp_path}/my_sweep", "hydra.sweep.subdir=seeds/${seed}")
    command("train", "-m", *SMALL, *long, "logger=wandb_offline", *where, "seed=0")
    (run,) = read_run(tmp_path / "my_sweep" / "seeds" / "0")
    assert len(run.run["display_name"]) == 128
    assert run.run["run_group"] == "my_sweep"


def services() -> set[int]:
    """The processes of W&B's service, by number."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"wandb-core" in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_a_service_that_dies_or_hangs_ends_no_run(tmp_path: Path, how: signal.Signals) -> None:
    """The process that W&B starts, in the middle of a run of a process of its own."""
    before = services()
    steps = ("trainer.max_steps=1000", "callbacks.grid=null", "callbacks.strip=null", "callbacks.checkpoint=null")
    start = train_py(tmp_path, *SMALL, "logger=wandb_offline", *steps, "logger.wandb.patience=3")
    with subprocess.Popen(start, cwd=ROOT, env=alone(), stderr=subprocess.PIPE, text=True) as process:
        metrics = tmp_path / "metrics.csv"
        wait_for(lambda: metrics.is_file() and len(metrics.read_text().splitlines()) >= 20)
        wait_for(lambda: bool(services() - before))
        time.sleep(1)  # until all of it has started
        ours = services() - before
        for each in ours:
            os.kill(each, how)
        _, said = process.communicate(timeout=180)
    for each in services() - before:
        os.kill(each, signal.SIGKILL)
    assert process.returncode == 0, said
    assert results(tmp_path)["metrics"]["test/bpd_beta_estimate"]["step"] == 1000
    assert "Traceback" not in said


def test_the_dashboard_is_built_and_serialised_offline(capsys: pytest.CaptureFixture[str]) -> None:
    from ddpm_lightning.studies.report.dashboard import main

    main(["someone", "ddpm_lightning", "--sweep", "table2_digits", "--print"])
    said = capsys.readouterr().out
    assert len(json.loads(said)) == 2
    for panel in (*(panel for each in SECTIONS.values() for panel in each), *PANELS_OF_SWEEP):
        assert panel.title in said
    assert '"table2_digits"' in said  # the group that is shown


def test_the_dashboard_without_a_key_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ddpm_lightning.studies.report.dashboard import main

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(SystemExit) as ended:
        main(["someone", "ddpm_lightning", "--sweep", "it's"])
    assert ended.value.code == 1
    assert "Error: W&B refused" in capsys.readouterr().err
