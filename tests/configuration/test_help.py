"""`--help` lists what the command takes, and a misspelt option is told with the nearest."""

import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_lightning.cli.__main__ import COMMANDS
from ddpm_lightning.configuration.groups import CONF, GROUPS, groups_of
from tests.commands import ROOT, command, error_of

FOREIGN = {
    "train": {"figure", "output", "source", "target", "study"},
    "sample": {"loss", "optimizer", "trainer", "figure", "metrics", "source", "extractor"},
    "evaluate": {"loss", "optimizer", "figure", "output", "schedule"},
    "figure": {"loss", "optimizer", "output", "schedule", "source"},
    "report": {"schedule", "data", "sampler"},
    "runs": {"schedule", "data", "sampler"},
    "compare": {"schedule", "data", "sampler"},
    "convert": {"schedule", "loss", "sampler"},
    "prepare": {"schedule", "loss", "sampler"},
    "train_classifier": {"schedule", "loss", "sampler"},
}
"""Groups of other commands, by command."""


def help_of(capsys: pytest.CaptureFixture[str], name: str, *options: str) -> str:
    """What `python NAME.py OPTIONS --help` prints."""
    with pytest.raises(SystemExit) as ended:
        command(name, *options, "--help")
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_every_group_has_a_line_that_says_what_it_is() -> None:
    folders = {str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")}
    assert folders - {".", "hydra/job_logging"} == set(GROUPS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_the_groups_of_the_command_alone(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = help_of(capsys, name)
    for group in groups_of(name):
        assert f"  {group}: {GROUPS[group]}\n" in said
    assert not FOREIGN[name] & groups_of(name)
    assert not any(f"  {group}: " in said for group in FOREIGN[name])


def test_every_group_belongs_to_a_command() -> None:
    assert set(GROUPS) == {group for name in COMMANDS for group in groups_of(name)} | {"study"}


def test_help_shows_the_values_of_what_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    said = help_of(capsys, "train", "schedule=cosine")
    assert "[cosine]" in said
    assert "max_beta: 0.999" in said


@pytest.mark.parametrize(
    ("typed", "near"),
    [("schedule=cosin", "cosine"), ("metrics=[fd_digit]", "fd_digits"), ("sampler/spacing=quadratc", "quadratic")],
)
def test_a_misspelt_option_is_told_with_the_nearest(typed: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"did you mean {near}" in error_of(capsys, "train", typed)
    assert "did you mean lossy_coding?" in error_of(capsys, "figure", "figure=lossy")


def test_an_option_without_a_value_is_told_with_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert "schedule= takes constant, cosine" in error_of(capsys, "train", "schedule=")


def test_help_may_be_cut_off() -> None:
    """As by `| head -1`: no traceback."""
    help_of_train = subprocess.Popen(
        [sys.executable, "train.py", "--help"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert help_of_train.stdout is not None
    help_of_train.stdout.close()
    assert b"Traceback" not in help_of_train.communicate()[1]


@pytest.mark.parametrize(
    ("typed", "said"),
    [("--version", "ddpm 0."), ("--help", "usage: ddpm COMMAND"), ("smaple", "did you mean sample?")],
)
def test_ddpm_says_what_it_can_do(typed: str, said: str, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "ddpm_lightning.cli", typed]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert said in done.stdout + done.stderr
