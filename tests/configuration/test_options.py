"""Options as one types them: quotes, unknown names and paths."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.commands import ROOT, SMALL, command, error_of, train


@pytest.mark.parametrize(
    "value",
    ["runs/a[1]/last.ckpt", "runs/seed=1/last.ckpt", "~/last.ckpt", "a (2).ckpt", "it's.ckpt", 'a"b\\', "é #1", "[1,2"],
)
def test_what_hydra_cannot_read_is_told_in_quotes(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "sample", f"checkpoint={value}")
    assert f"Hydra cannot read checkpoint={value}" in said
    (pasted,) = shlex.split(said.splitlines()[0].partition("for the shell: ")[2])
    assert OverridesParser.create().parse_override(pasted).value() == value


@pytest.mark.parametrize("typed", ["last.ckpt", "/tmp/last.ckpt", "a b=c", "=c", "+=c"])
def test_what_is_no_option(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "options are name=value, such as seed=1" in error_of(capsys, "sample", typed)


def test_reading_options_does_not_wait_for_pytorch() -> None:
    looks = "import sys, ddpm_lightning.configuration.checked_loader; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", looks], check=True, cwd=ROOT)


def test_a_told_option_reaches_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a[1]" / "x=2 (copy).ckpt"
    said = error_of(capsys, "sample", f"checkpoint={path}")
    (pasted,) = shlex.split(said.splitlines()[0].partition("for the shell: ")[2])
    assert f"there is no checkpoint {path}" in error_of(capsys, "sample", pasted, f"hydra.run.dir={tmp_path}")


MONITOR = "lightning.pytorch.callbacks.LearningRateMonitor"
EVERY_COMMAND = (
    "train",
    "sample",
    "evaluate",
    "figure",
    "report",
    "runs",
    "compare",
    "convert",
    "prepare",
    "train_classifier",
)


@pytest.mark.parametrize("script", EVERY_COMMAND)
def test_a_name_that_no_command_reads(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = error_of(capsys, script, "+foreign=last.ckpt")
    assert "foreign is no option of this command; leave it out" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "typed", "words"),
    [
        ("sample", "+num_image=3", "did you mean num_images?"),
        ("sample", "++num_image=3", "did you mean num_images?"),
        ("sample", "~seed", "~seed removes what the command reads"),
        ("sample", "+schedule@elsewhere=linear", "this command takes no schedule="),
        ("sample", "+hydra.run.dri=x", "did you mean hydra.run.dir?"),
        ("sample", "num_image=3", "did you mean num_images?"),
        ("sample", "+extractor=digits", "this command takes no extractor="),
        ("train", "+evaluation.num_image=3", "did you mean evaluation.num_images?"),
        ("train", "evaluation.num_image=3", "did you mean evaluation.num_images?"),
        ("train", "+callbacks.quick=3", "callbacks.quick is no option"),
        ("train", "sampler=ddim sampler.ets=1", "did you mean sampler.eta?"),
        ("train", "sampler=ddim sampler.ets=1 sed=1", "sampler.ets is no option"),
        ("evaluate", "+data.rot=x", "did you mean data.root?"),
        ("evaluate", "metric=[bpd]", "did you mean metrics?"),
        ("figure", "figure=[steps] figure.steps.draw=1", "did you mean figure.steps.num_draws?"),
        ("train", "network=dit network.channels=8 network.groups=4", "network.channels is no option of network=dit; "),
        (
            "train",
            "schedule=cosine schedule.beta_T=0.1 schedule.beta_1=0.01",
            "schedule.beta_T is no option of schedule=cosine; leave it out",
        ),
        ("train", "data=image_folder data.size=[4,4]", "data.size is no option of data=image_folder; "),
        ("train", "logger=csv +logger.mine=3", "logger.mine is no option of logger=csv; "),
        ("train", "sampler=ddim sampler.spacing.step=3", "is no option of sampler/spacing=uniform; "),
        (
            "evaluate",
            "evaluation.num_images=3",
            "evaluation.num_images is no option of this command; did you mean num_",
        ),
        ("figure", "+evaluation.num_images=3", "evaluation.num_images is no option of this command; did you mean num_"),
        ("train", "+compile=true", "Error: compile= has a value already, which +compile=true cannot be added to"),
        ("train", "+trainer.max_steps=3 sampler=ddim", "trainer.max_steps= has a value already, which +trainer."),
    ],
)
def test_the_nearest_names_are_told(script: str, typed: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in error_of(capsys, script, *typed.split())


@pytest.mark.parametrize(
    "typed",
    [
        f"+callbacks.monitor._target_={MONITOR} +callbacks.monitor.log_momentum=true logger=none",
        "+callbacks.nothing=null ++trainer.max_steps=3 +study=weights ~quality ~callbacks.ema +trainer.benchmark=true",
        "+metrics.mine={_target_:some.Metric} +hydra.job_logging.loggers.mine.level=DEBUG",
    ],
)
def test_what_may_be_added_and_left_out(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    command("train", *typed.split(), "--cfg", "job")
    assert "schedule:" in capsys.readouterr().out


def test_an_option_that_must_be_given_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", "data=image_folder", f"hydra.run.dir={tmp_path}")
    assert "data.root is missing; add data.root=" in said
    assert said.count("data.root is missing") == 1


def test_a_finished_run_refuses_what_a_new_one_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tmp_path, "trainer.max_steps=1")
    clipped = ("trainer.max_steps=1", "+trainer.gradient_clip_val=0.5")
    assert "module.max_grad_norm" in error_of(capsys, "train", f"hydra.run.dir={run}", *SMALL, *clipped)
