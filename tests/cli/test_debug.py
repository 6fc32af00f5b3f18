"""experiment=debug runs everything in little time, and debug=overfit tells a sound network from a broken one."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.commands import SMALL, command, error_of, results

OVERFIT = (
    *SMALL,
    *("debug=overfit", "data.batch_size=8", "trainer.max_steps=100", "optimizer.lr=1e-2", "sampler.num_steps=4"),
    *("schedule.beta_1=0.3", "schedule.beta_T=0.9", "callbacks.overfit.bound=0.3"),  # much noise, few steps
    *("callbacks.grid=null", "callbacks.strip=null", "callbacks.bound=null", "callbacks.metrics.every_n_steps=50"),
    "callbacks.checkpoint.every_n_steps=100",
)


class AnswersAConstant(nn.Module):
    """A broken network: it does not look at the image."""

    def __init__(self, out_channels: int, **_: Any) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.constant[:, None, None].expand_as(x)


def test_a_sound_network_overfits(tmp_path: Path) -> None:
    command("train", f"hydra.run.dir={tmp_path}", *OVERFIT)
    assert "Overfitted, as it should: the loss on the 8 training images is" in (tmp_path / "train.log").read_text()
    assert results(tmp_path)["metrics"]["test/bpd_beta_estimate"]["step"] == 100


def test_a_broken_network_is_told_and_its_checkpoint_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = f"++network={{_target_:{__name__}.{AnswersAConstant.__name__}}}"
    small = [option for option in OVERFIT if not option.startswith("network.")]
    said = " ".join(error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *small, broken).split())
    assert "of a zero network's, and should be below 30% after 100 steps" in said
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_debug_runs_ten_steps_of_everything_in_half_a_minute(tmp_path: Path) -> None:
    """Of one core's time, for others may use it, too."""
    begun = time.process_time()
    command("train", "experiment=debug", "logger=wandb_offline", f"hydra.run.dir={tmp_path}")
    assert time.process_time() - begun < 30
    pictures = {path.name for path in tmp_path.glob("samples/*.png")} | {path.name for path in tmp_path.glob("*.png")}
    assert pictures >= {
        *(f"{name}_{when}.png" for name in ("grid", "strip", "chain") for when in ("0000005", "0000010", "final")),
        *("loss_by_t_0000005.png", "loss.png", "schedule.png"),
    }
    assert results(tmp_path)["metrics"].keys() >= {
        *("test/bpd_beta_estimate", "fd_digits_70_train_ddim5", "score_digits_70_ddim5"),
        *("precision_digits_70_train_ddim5", "recall_digits_70_train_ddim5"),
    }
    assert all(record["step"] == 10 for record in results(tmp_path)["metrics"].values())
    command("sample", f"checkpoint={tmp_path}/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}/s", "num_images=4")
    assert (tmp_path / "s" / "grid.png").is_file()
