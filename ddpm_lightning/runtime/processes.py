"""Several processes of this machine for one run: started together, asked to stop together, ended together.

Lightning would start the others by the command line, which in a sweep is the whole sweep again.
"""

import logging
import logging.config
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from lightning.fabric.accelerators.cpu import CPUAccelerator
from lightning.fabric.accelerators.cuda import CUDAAccelerator
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch.distributed import destroy_process_group, is_initialized

from ddpm_lightning.errors import Diverged, UserError, check_at_most
from ddpm_lightning.runtime.devices import check_accelerator, choose_accelerator
from ddpm_lightning.runtime.signals import ASKING, WARNINGS, Interrupted, heard_by, is_first_task, requeue
from ddpm_lightning.runtime.user_errors import reporting_user_errors

Config = dict[str, Any]
Work = Callable[[Config], None]

GRACE = 10.0
"""Seconds that the others have to say what they know, once one failed."""

MOST = 20_000
"""Characters of a message to the parent: what fits into a pipe that nobody reads yet."""

STOPPED = {Interrupted(signum).exit_code: signum for signum in ASKING}
"""How a process ends that was asked to stop."""

RANK_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables by which a process finds the others."""


def in_processes(work: Work, config: Config) -> None:
    """work(config) in as many processes as config["trainer"]["devices"] asks for: in this one if that is one, or if
    torchrun or Slurm has started one for each device. Raises UserError if one of them fails."""
    count = number_of_processes(config["trainer"])
    try:
        if count == 1 or started_by_others():
            with place_kept():
                work(config)
        else:
            Team(work, config, count).run()
    except Interrupted as stop:
        requeue(stop.signum)
        # At the first task that fails srun ends the others, of which the first may still have W&B to close.
        raise SystemExit(stop.exit_code if is_first_task() else 0) from None


def number_of_processes(trainer: Any) -> int:
    """One for each device on this machine."""
    if not isinstance(trainer, dict):
        return 1  # and what builds a trainer says what is wrong
    devices, accelerator = trainer.get("devices", 1), trainer.get("accelerator", "auto")
    check_accelerator(accelerator)
    on_gpu = choose_accelerator(accelerator) in ("cuda", "gpu")
    kind = CUDAAccelerator if on_gpu else CPUAccelerator
    try:
        found = kind.auto_device_count() if devices == "auto" else kind.parse_devices(devices)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer.devices={devices}: {error}") from error
    count = len(found) if isinstance(found, list) else int(found or 1)
    check_at_most("trainer.devices", count, 64, "each is a process of this machine; use 1")
    return count


def started_by_others() -> bool:
    """Whether this is one of the processes of torchrun, or of the tasks that Slurm's srun has started."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def is_first() -> bool:
    """Whether this is the first process of the run, also before there is a trainer."""
    return getattr(rank_zero_only, "rank", 0) == 0


@contextmanager
def place_kept() -> Iterator[None]:
    """After, this process's place among others is what it was, so that the next job of a sweep has its own."""
    before = {name: os.environ.get(name) for name in RANK_VARIABLES}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class AnotherFailed(UserError):
    """Another process could not go on, and says why."""


class AnotherDiverged(AnotherFailed, Diverged):
    """Another process found that the model has diverged."""


class Team:
    """The processes of a run, and their parent, which does nothing but watch over them."""

    def __init__(self, work: Work, config: Config, count: int) -> None:
        context = get_context("spawn")
        port, nodes, log = find_free_network_port(), config["trainer"].get("num_nodes", 1), job_logging()
        first = int(os.environ.get("NODE_RANK", 0)) * count
        self.asked: int | None = None
        self.pipes: list[tuple[Connection, Connection]] = []
        self.processes: list[SpawnProcess] = []
        for rank in range(count):
            pipe = context.Pipe(duplex=False)
            place = {"LOCAL_RANK": rank, "WORLD_SIZE": count * nodes, "MASTER_PORT": port}
            arguments = (work, config, first + rank, place, log, HydraConfig.instance().cfg, pipe[1])
            self.pipes.append(pipe)
            self.processes.append(context.Process(target=_member, args=arguments))

    def run(self) -> None:
        """Starts them and returns when all have ended well. Raises Interrupted if they were asked to stop, UserError if
        one failed."""
        with heard_by(self._pass_on):
            with spawning():
                for process in self.processes:
                    process.start()
                    self._tell(process)  # what was heard while it started
            self._wait()
        self._judge()

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        again = self.asked is not None and signum == signal.SIGINT
        self.asked = signal.SIGKILL if again else self.asked or signum
        for process in self.processes:
            self._tell(process)

    def _tell(self, process: SpawnProcess) -> None:
        if self.asked is not None and process.is_alive():
            os.kill(process.pid or 0, self.asked)

    def _wait(self) -> None:
        pending = {process.sentinel: process for process in self.processes}
        while pending:
            for sentinel in wait(list(pending)):
                ended = pending.pop(cast(int, sentinel))
                ended.join()
                if ended.exitcode not in (0, *STOPPED):
                    self._end()

    def _end(self) -> None:
        deadline = time.monotonic() + GRACE
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        try:
            self._judge()
        finally:
            for process in self.processes:
                process.kill()
                process.join()

    def _judge(self) -> None:
        codes = [process.exitcode or 0 for process in self.processes]
        said = [here.recv() for here, there in self.pipes if here.poll()]
        mistakes = dict.fromkeys(text for text, is_mistake in said if is_mistake)
        if mistakes:
            raise UserError("; ".join(mistakes))
        stopped = [STOPPED[code] for code in codes if code in STOPPED]
        if self.asked is not None and any(codes):
            raise Interrupted(signal.SIGINT if self.asked == signal.SIGKILL else self.asked)
        if any(code < 0 for code in codes):  # what the others said is then only that they lost it
            raise UserError(death(codes))
        if stopped:
            raise Interrupted(stopped[0])
        if any(codes):
            print("\n".join(text for text, is_mistake in said), file=sys.stderr)
            raise UserError("a process failed; what it was about stands above")


@contextmanager
def spawning() -> Iterator[None]:
    """Inside, children start anew; a worker of joblib would have them start as joblib's do, which they cannot. Slurm's
    warnings come to each process of a job, so multiprocessing's own, which does not listen, is started deaf to them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WARNINGS)
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


def death(codes: list[int]) -> str:
    """Of which process, and how."""
    rank, code = next((rank, code) for rank, code in enumerate(codes) if code < 0)
    why = " (as a machine that is short of memory does)" if -code == signal.SIGKILL else ""
    return (
        f"process {rank} of {len(codes)} was ended by {signal.Signals(-code).name}{why}, and so the others were ended; "
        "the same command goes on from the last checkpoint"
    )


def job_logging() -> Config | None:
    """Hydra's, of this job."""
    if not HydraConfig.initialized():
        return None
    return cast(Config, OmegaConf.to_container(HydraConfig.get().job_logging, resolve=True))


def _member(
    work: Work,
    config: Config,
    rank: int,
    place: dict[str, int],
    log: Config | None,
    hydra: DictConfig | None,
    to_parent: Connection,
) -> None:
    os.setpgrp()  # the terminal's Ctrl-C comes to the parent alone, which passes it on
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the run listens, there is nothing to be finished
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {"MASTER_ADDR": "127.0.0.1"} | {key: str(value) for key, value in place.items()} | _given()
    os.environ.pop("SLURM_NTASKS", None)  # or Lightning would look for Slurm's tasks
    rank_zero_only.rank = rank  # type: ignore[attr-defined]
    HydraConfig.instance().cfg = hydra  # type: ignore[assignment]  # as Hydra itself does
    if log is not None and rank == 0:
        logging.config.dictConfig(log)
    try:
        with reporting_user_errors():
            work(config)
        if is_initialized():
            destroy_process_group()  # whose threads would now and then abort Python as it ends
    except Interrupted as stop:
        raise SystemExit(stop.exit_code) from None
    except CompactHydraException as error:
        if not isinstance(error.__cause__, AnotherFailed):
            to_parent.send((str(error).removeprefix("Error: ")[:MOST], True))
        raise SystemExit(1) from None
    except Exception:
        to_parent.send((f"Process {rank}:\n{traceback.format_exc()}"[-MOST:], False))
        raise SystemExit(1) from None


def _given() -> dict[str, str]:
    # Where a run spans several machines, its user says where the first of them is.
    return {name: os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT") if name in os.environ}


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
