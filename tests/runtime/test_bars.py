"""Progress bars: where stderr is no terminal, a line at intervals, for every command."""

import ast
import io
import sys
import time
from pathlib import Path

import pytest

from ddpm_lightning.runtime import progress_bars as bars
from ddpm_lightning.runtime.progress_bars import progress_bar
from tests.commands import train
from tests.conftest import ROOT


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def walk(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, interval: float) -> str:
    """What a bar of half a second and more writes."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(bars, "INTERVAL", interval)
    with progress_bar(total=50, desc="Training", unit="step") as bar:
        for _ in range(50):
            time.sleep(0.01)
            bar.update()
    return stream.getvalue()


def test_without_a_terminal_a_bar_writes_whole_lines_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.monotonic()
    said = walk(io.StringIO(), monkeypatch, interval=0.1)
    lines = said.splitlines()
    assert 2 <= len(lines) <= 2 + (time.monotonic() - begun) / 0.1  # and one at the end
    assert all(line.startswith("Training: ") and "/50 [" in line for line in lines)
    assert said.endswith("\n")
    assert "\r" not in said


def test_without_a_terminal_a_short_bar_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert walk(io.StringIO(), monkeypatch, interval=60.0) == ""


def test_on_a_terminal_a_bar_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    said = walk(Terminal(), monkeypatch, interval=60.0)
    assert said.count("\r") >= 4
    assert "100%" in said


def test_a_day_of_training_writes_less_than_a_megabyte() -> None:
    line = len("Training: 100%|##########| 800000/800000 [24:00:00<00:00, 10.00step/s, loss=0.0300]\n")
    assert 24 * 3600 / bars.INTERVAL * line < 1e6


def test_a_short_run_writes_no_bar_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    assert "%|" not in capsys.readouterr().err


def test_no_command_has_a_bar_of_another_kind() -> None:
    for path in sorted((ROOT / "ddpm_lightning").rglob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        bare = [call for call in calls if isinstance(call, ast.Name) and call.id in ("tqdm", "trange")]
        assert not bare or path.name == "progress_bars.py", path
