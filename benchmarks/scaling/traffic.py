"""Measures the bytes that a process of train.py sends in a step, as the kernel counts them."""

import json
import os
import socket
import statistics
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L

from benchmarks.sides.runs import QUIETLY, SHORTLY, as_command, run_command
from ddpm_lightning.configuration.allowed_targets import TRUST

BYTES_ACKED = 120
"""The offset of tcpi_bytes_acked, a u64, in Linux' struct tcp_info."""


def bytes_sent() -> int:
    """Returns the bytes that all TCP connections of this process have sent and the receivers acknowledged."""
    return sum(_acked(connection) for connection in _connections())


def _connections() -> Iterator[socket.socket]:
    for path in Path("/proc/self/fd").iterdir():
        if path.is_symlink() and str(path.readlink()).startswith("socket:"):
            with socket.socket(fileno=os.dup(int(path.name))) as connection:
                if connection.type == socket.SOCK_STREAM and connection.family in (socket.AF_INET, socket.AF_INET6):
                    yield connection


def _acked(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
    return int(struct.unpack_from("Q", info, BYTES_ACKED)[0])


class BytesSent(L.Callback):
    """Records the sent bytes after each batch, and writes them to FOLDER/RANK.json at the end."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.after: list[int] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.after.append(bytes_sent())

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(self.after))


def bytes_a_step(processes: int, *options: str, turns: int = 1, steps: int = 6) -> float:
    """Returns the bytes of the median step, on average over processes. turns: accumulated batches of a step."""
    with TemporaryDirectory() as folder:
        count = [
            "trainer=ddp_cpu",
            f"trainer.devices={processes}",
            f"trainer.max_steps={steps}",
            f"trainer.accumulate_grad_batches={turns}",
            f"hydra.run.dir={folder}/run",
            "+callbacks.traffic._target_=benchmarks.scaling.traffic.BytesSent",
            f"+callbacks.traffic.folder={folder}",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", TRUST: "benchmarks"}
        command = as_command([*options, "logger=none", *QUIETLY, *SHORTLY, *count])
        run_command(command, environment)
        notes = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    ends = [after[turns - 1 :: turns] for after in notes]
    of_steps = [[after - before for before, after in pairwise(each)] for each in ends]
    return statistics.mean(statistics.median(each) for each in of_steps)
