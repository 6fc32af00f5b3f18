"""No command reads a pickle that one is given: a pickle can run any program."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.commands import error_of


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "script",
    ["train", "sample", "evaluate", "figure", "report", "runs", "compare", "convert", "prepare", "train_classifier"],
)
@pytest.mark.parametrize("flag", ["--experimental-rerun {}", "--exp={}"])
def test_no_command_runs_a_pickled_configuration(
    script: str, flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, file = tmp_path / "ran", tmp_path / "evil.pickle"
    file.write_bytes(pickle.dumps(Evil(ran)))
    said = error_of(capsys, script, *flag.format(file).split())
    assert not ran.exists()
    assert f"--experimental-rerun {file} would read a pickle" in said
    assert ".hydra/overrides.yaml" in said
