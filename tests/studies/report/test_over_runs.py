"""`python -m ddpm_lightning.studies.report.over_runs`."""

import json
import math
from pathlib import Path

import pytest
from scipy import stats

from ddpm_lightning.studies.report.over_runs import main


def write(folder: Path, **values: float | str) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"metrics": {k: {"value": v} for k, v in values.items()}}))
    return folder


def test_means_and_errors_are_those_of_scipy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [1.25, 1.5, 2.0]
    runs = [write(tmp_path / str(k), fd=value, once=3.0) for k, value in enumerate(values[:2])]
    runs.append(write(tmp_path / "last", fd=values[2], other="nan") / "results.json")
    main([str(run) for run in runs])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"| fd | {sum(values) / 3:.2f} ± {stats.sem(values):.2f} | 3 |"
    assert lines[3] == "| once | 3.00 ± 0.00 | 2 |"
    assert lines[4] == "| other | – | 1, 1 of them not finite |"
    assert math.isclose(stats.sem(values), 0.22, abs_tol=5e-3)


def test_what_is_no_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.json").write_text("[]")
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SystemExit) as ended:
            main([str(path)])
        assert ended.value.code == 1
        assert f"Error: {path}" in capsys.readouterr().err
