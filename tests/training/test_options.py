"""Options as one types them: quotes, unknown names and paths."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.training.commands import ROOT, error_of


@pytest.mark.parametrize(
    "value",
    ["runs/a[1]/last.ckpt", "runs/seed=1/last.ckpt", "~/last.ckpt", "a (2).ckpt", "it's.ckpt", 'a"b\\', "é #1", "[1,2"],
)
def test_what_hydra_cannot_read_is_told_in_quotes(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "sample", f"checkpoint={value}")
    assert f"Hydra cannot read checkpoint={value}" in said
    (pasted,) = shlex.split(said.splitlines()[0].partition("for the shell: ")[2])
    assert OverridesParser.create().parse_override(pasted).value() == value


@pytest.mark.parametrize("typed", ["last.ckpt", "/tmp/last.ckpt", "a b=c"])
def test_what_is_no_option(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "options are name=value, such as seed=1" in error_of(capsys, "sample", typed)


def test_reading_options_does_not_wait_for_pytorch() -> None:
    looks = "import sys, ddpm_lightning.training.guard; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", looks], check=True, cwd=ROOT)


def test_a_told_option_reaches_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a[1]" / "x=2 (copy).ckpt"
    said = error_of(capsys, "sample", f"checkpoint={path}")
    (pasted,) = shlex.split(said.splitlines()[0].partition("for the shell: ")[2])
    assert f"there is no checkpoint {path}" in error_of(capsys, "sample", pasted, f"hydra.run.dir={tmp_path}")
