"""Several machines are one run: two "nodes" here, each with a home and a folder of its own, and one folder shared."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from ddpm_lightning.training.checkpoint import read_checkpoint
from tests.commands import SMALL, train
from tests.conftest import ROOT
from tests.runtime.test_processes import OPTIONS, TWO, children, rows
from tests.runtime.test_stopped import at, wait_for

STEPS = [*OPTIONS, "trainer.max_steps=6"]


def start_nodes(tmp_path: Path, *options: str) -> list["subprocess.Popen[bytes]"]:
    """torchrun on each of two nodes, for a run in tmp_path/shared."""
    port = find_free_network_port()
    return [
        start_node(tmp_path / f"node{rank}", rank, port, f"hydra.run.dir={tmp_path}/shared", *options)
        for rank in (0, 1)
    ]


def start_node(home: Path, rank: int, port: int, *options: str) -> "subprocess.Popen[bytes]":
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home / "tmp")}
    where = [
        "--nnodes=2",
        "--nproc-per-node=1",
        f"--node-rank={rank}",
        "--master-addr=127.0.0.1",
        f"--master-port={port}",
    ]
    call = [sys.executable, "-m", "torch.distributed.run", *where, str(ROOT / "train.py")]
    with (home / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [*call, *SMALL, *STEPS, TWO, "trainer.devices=1", "trainer.num_nodes=2", *options],
            cwd=home,
            env=os.environ | own | {"PYTHONPATH": str(ROOT)},  # where the tests' callbacks are
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


@pytest.mark.slow
def test_two_nodes_have_the_loss_curve_of_one_process_and_go_on(tmp_path: Path) -> None:
    for node in start_nodes(tmp_path, *at("after the step", 2, signal.SIGTERM), "+callbacks.signal.rank=1"):
        assert node.wait(300) != 0
    assert read_checkpoint(tmp_path / "shared" / "checkpoints" / "last.ckpt")["global_step"] == 2
    for node in start_nodes(tmp_path):
        assert node.wait(300) == 0, (tmp_path / "node0" / "said.txt").read_text()
    alone, together = rows(train(tmp_path / "alone", *STEPS)), rows(tmp_path / "shared")
    assert len(alone) == len(together) == 6
    for one, other in zip(alone, together, strict=True):
        assert float(other["train/loss"]) == pytest.approx(float(one["train/loss"]), rel=1e-4)
    log = (tmp_path / "shared" / "train.log").read_text()
    assert log.count("parameters, in") == 2, "the first process alone writes, in each of the two starts"


@pytest.mark.slow
def test_a_node_that_dies_ends_the_other(tmp_path: Path) -> None:
    """It does not wait for what will not answer."""
    nodes = start_nodes(tmp_path, "trainer.max_steps=1000000")
    try:
        wait_for(lambda: (tmp_path / "shared" / "checkpoints" / "last.ckpt").exists(), seconds=300)
        kill(nodes[1])
        assert nodes[0].wait(120) != 0
    finally:
        kill(nodes[0])


def kill(node: "subprocess.Popen[bytes]") -> None:
    """torchrun, and what it has started."""
    if node.poll() is None:
        for pid in (*children(node.pid), node.pid):
            os.kill(int(pid), signal.SIGKILL)
        node.wait()
