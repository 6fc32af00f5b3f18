"""No key ever lands in a run directory or in what a command says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_lightning.configuration.secrets import check_no_secrets
from ddpm_lightning.errors import UserError
from tests.commands import SMALL, error_of
from tests.conftest import ROOT

KEY = "0123456789abcdef" * 2 + "01234567"

SECRETS = [
    f"+logger.wandb.settings.api_key={KEY}",
    f"++logger.wandb.api_key={KEY}",
    f"+logger.wandb.settings.apikey={KEY}",
    f"+logger.wandb.settings={{api_key:{KEY}}}",
    f"+password={KEY}",
    f"+anything.hf_token='{KEY}'",
    f"+client_secret={KEY}",
    f"logger.wandb.settngs.api_key={KEY}",  # Hydra's own error would repeat it
    "+logger.wandb.notes=${oc.env:WANDB_API_KEY}",
    "+logger.wandb.notes='${oc.env:WANDB_API_KEY,none}'",
    "+logger.wandb.notes=${oc.env:HF_TOKEN}",
]


@pytest.mark.parametrize("option", SECRETS)
@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_secret_as_an_option_is_refused_and_nothing_written(
    option: str, mode: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    where = [f"hydra.run.dir={tmp_path}/run", f"hydra.sweep.dir={tmp_path}/sweep"]
    said = error_of(capsys, "train", *mode, *where, "logger=wandb_offline", option)
    assert "would put a secret into the run directory" in said
    assert "wandb login" in said
    assert KEY not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read", ["${oc.env:${name}}", "a ${oc.env:WANDB_${name}_KEY} b", "${ oc.env : 'API_KEY'}"])
def test_a_secret_that_an_interpolation_reads_is_refused(read: str) -> None:
    with pytest.raises(UserError, match=r"a\.b\[1\] would put a secret"):
        check_no_secrets({"a": {"b": [1, read]}})


def test_two_secrets_of_a_sweep_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", "-m", f"hydra.sweep.dir={tmp_path}/sweep", f"+logger.wandb.api_key={KEY},b")
    assert "would put a secret" in said
    assert not list(tmp_path.iterdir())


def test_a_secret_in_a_shared_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shared" / "logger").mkdir(parents=True)
    (tmp_path / "shared" / "logger" / "mine.yaml").write_text(f"wandb:\n  settings:\n    api_key: {KEY}\n")
    said = error_of(
        capsys, "train", "--config-dir", f"{tmp_path}/shared", f"hydra.run.dir={tmp_path}/run", "logger=mine"
    )
    assert "logger.wandb.settings.api_key would put a secret" in said
    assert KEY not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option", ["+logger.wandb.settings.api_key=null", "+network.num_tokens=3", "+network.tokenizer=x"]
)
def test_what_is_no_secret_passes(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}/run", option, "loss=hybrid")
    assert "variance=beta is fixed" in said


@pytest.mark.slow
def test_the_key_of_the_environment_is_nowhere(tmp_path: Path) -> None:
    """By wandb offline, in every byte of the run directory, W&B's own files included, and of the output."""
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "train.py", f"hydra.run.dir={run}", *SMALL, "trainer.max_steps=1", "logger=wandb_offline"],
        cwd=ROOT,
        env={**os.environ, "WANDB_API_KEY": KEY, "WANDB_CACHE_DIR": str(tmp_path), "WANDB_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [path for path in run.rglob("*") if path.is_file()]
    assert any("offline-run" in str(path) and path.suffix == ".wandb" for path in files)
    assert (run / "checkpoints" / "last.ckpt") in files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY.encode() not in done.stdout + done.stderr
