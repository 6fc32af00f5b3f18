"""evaluate.py metrics=[gamma] writes the file from which variance=analytic takes its σ_t²."""

from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from tests.commands import command, error_of, results, train


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run")) / "checkpoints" / "last.ckpt"


def test_gamma_is_measured_once_and_swapped_in(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = [f"checkpoint={checkpoint}", "num_images=4", f"hydra.run.dir={tmp_path}"]
    command("evaluate", *measure, "metrics=[gamma]", "metrics.gamma.num_images=10")
    record = results(tmp_path)["metrics"]["train/gamma_first10"]
    gamma = torch.load(tmp_path / "gamma.pt", weights_only=True)["gamma"]
    assert record["value"] == pytest.approx(float(gamma[1:].mean()))
    swapped = ["variance=analytic", f"variance.gamma={tmp_path / 'gamma.pt'}"]
    elsewhere = f"hydra.run.dir={tmp_path / 'swapped'}"
    command("evaluate", *measure[:2], elsewhere, "metrics=[bpd]", *swapped)
    assert "test/bpd_analytic" in results(tmp_path / "swapped")["metrics"]
    assert "results of another variance" in error_of(capsys, "evaluate", *measure, "metrics=[bpd]", *swapped)
    command("sample", f"checkpoint={checkpoint}", "num_images=1", f"hydra.run.dir={tmp_path / 'samples'}", *swapped)
    assert "metrics=[gamma]" in error_of(capsys, "evaluate", *measure[:2], "metrics=[bpd]", "variance=analytic")


def test_a_write_that_fails_keeps_the_old_file(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gamma.pt").write_bytes(b"old")

    def half(contents: object, file: str | BinaryIO) -> None:
        Path(file).write_bytes(b"ha") if isinstance(file, str) else file.write(b"ha")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", half)
    options = [f"checkpoint={checkpoint}", "metrics=[gamma]", "metrics.gamma.num_images=2"]
    assert "No space left" in error_of(capsys, "evaluate", *options, f"hydra.run.dir={tmp_path}")
    assert (tmp_path / "gamma.pt").read_bytes() == b"old"


def test_it_is_the_same_at_any_batch_size(checkpoint: Path, tmp_path: Path) -> None:
    options = [f"checkpoint={checkpoint}", "num_images=4", "metrics=[gamma]", "metrics.gamma.num_images=10"]
    found = []
    for size in (3, 10):
        folder = tmp_path / str(size)
        command("evaluate", *options, f"hydra.run.dir={folder}", f"+data.eval_batch_size={size}")
        found.append(torch.load(folder / "gamma.pt", weights_only=True)["gamma"])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-7)
