"""Runs one job in several processes of this machine, which start, stop and fail together.

Lightning starts the others with the command line, which in a sweep is the whole sweep again. torchrun's elastic agent
kills processes 30 seconds after SIGTERM, which may be too early to save, does not pass SIGUSR1 on, and shows a
user's mistake as a traceback.
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
from ddpm_lightning.runtime.signals import CLUSTER_WARNINGS, STOP_SIGNALS, Interrupted, handling, is_first_task, requeue
from ddpm_lightning.runtime.user_errors import reporting_user_errors

Config = dict[str, Any]
Work = Callable[[Config], None]

GRACE = 10.0
"""Seconds that the other processes have to send their error messages after one has failed."""

MAX_MESSAGE = 20_000
"""Characters of a message to the parent. It must fit into a pipe that the parent reads only at the end."""

STOP_CODES = {Interrupted(signum).exit_code: signum for signum in STOP_SIGNALS}
"""The exit codes of processes that a signal asked to stop, and the signals."""

RANK_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables by which a process finds the others."""


def in_processes(work: Work, config: Config) -> None:
    """Calls work(config) in one process per device that config["trainer"] asks for.

    It runs in this process if that is one device, or if torchrun or Slurm has started a process for each device.

    Raises:
        UserError: A process failed.
        SystemExit: The processes were asked to stop.
    """
    count = number_of_processes(config["trainer"])
    try:
        if count == 1 or started_by_others():
            with keeping_rank():
                work(config)
        else:
            Team(work, config, count).run()
    except Interrupted as stop:
        requeue(stop.signum)
        # srun ends all tasks when the first one fails, and the first task may still have to close W&B.
        raise SystemExit(stop.exit_code if is_first_task() else 0) from None


def number_of_processes(trainer: Any) -> int:
    """Returns the number of devices on this machine that a trainer's configuration asks for."""
    if not isinstance(trainer, dict):
        return 1  # what builds the trainer reports the mistake
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
    """Returns whether torchrun, or Slurm's srun with several tasks, has started this process."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1


def is_first() -> bool:
    """Returns whether this is the first process of the run. It can be asked before there is a trainer."""
    return getattr(rank_zero_only, "rank", 0) == 0


@contextmanager
def keeping_rank() -> Iterator[None]:
    """Restores the environment variables of the rank after the block, for the next job of a sweep."""
    before = {name: os.environ.get(name) for name in RANK_VARIABLES}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class AnotherFailed(UserError):
    """Another process failed; the message is its reason."""


class AnotherDiverged(AnotherFailed, Diverged):
    """Another process found that the model has diverged."""


class Team:
    """The processes of a run, seen from their parent, which only watches over them.

    Args:
        work: The function that each process calls.
        config: Its argument.
        count: The number of processes on this machine.
    """

    def __init__(self, work: Work, config: Config, count: int) -> None:
        context = get_context("spawn")
        port, nodes, hydra = find_free_network_port(), config["trainer"].get("num_nodes", 1), job_configuration()
        first = int(os.environ.get("NODE_RANK", 0)) * count
        self.signum: int | None = None
        self.pipes: list[tuple[Connection, Connection]] = []
        self.processes: list[SpawnProcess] = []
        for rank in range(count):
            pipe = context.Pipe(duplex=False)
            place = {"LOCAL_RANK": rank, "WORLD_SIZE": count * nodes, "MASTER_PORT": port}
            arguments = (work, config, first + rank, place, hydra, pipe[1])
            self.pipes.append(pipe)
            self.processes.append(context.Process(target=_member, args=arguments))

    def run(self) -> None:
        """Starts the processes and returns when all have ended well.

        Raises:
            Interrupted: They were asked to stop.
            UserError: One of them failed.
        """
        with handling(STOP_SIGNALS, self._pass_on):
            with spawning():
                for process in self.processes:
                    process.start()
                    self._send_signal(process)  # one that came while it started
            self._wait()
        self._raise_failure()

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        again = self.signum is not None and signum == signal.SIGINT
        self.signum = signal.SIGKILL if again else self.signum or signum
        for process in self.processes:
            self._send_signal(process)

    def _send_signal(self, process: SpawnProcess) -> None:
        if self.signum is not None and process.is_alive():
            os.kill(process.pid or 0, self.signum)

    def _wait(self) -> None:
        pending = {process.sentinel: process for process in self.processes}
        while pending:
            for sentinel in wait(list(pending)):
                ended = pending.pop(cast(int, sentinel))
                ended.join()
                if ended.exitcode not in (0, *STOP_CODES):
                    self._end()

    def _end(self) -> None:
        deadline = time.monotonic() + GRACE
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        try:
            self._raise_failure()
        finally:
            for process in self.processes:
                process.kill()
                process.join()

    def _raise_failure(self) -> None:
        codes = [process.exitcode or 0 for process in self.processes]
        messages = [here.recv() for here, there in self.pipes if here.poll()]
        mistakes = dict.fromkeys(text for text, is_mistake in messages if is_mistake)
        if mistakes:
            raise UserError("; ".join(mistakes))
        stopped = [STOP_CODES[code] for code in codes if code in STOP_CODES]
        if self.signum is not None and any(codes):
            raise Interrupted(signal.SIGINT if self.signum == signal.SIGKILL else self.signum)
        if any(code < 0 for code in codes):  # the messages of the others only say that they lost it
            raise UserError(killed(codes))
        if stopped:
            raise Interrupted(stopped[0])
        if any(codes):
            print("\n".join(text for text, is_mistake in messages), file=sys.stderr)
            raise UserError("a process failed; its traceback stands above")


@contextmanager
def spawning() -> Iterator[None]:
    """Makes child processes start as new Python processes inside the block, also in a worker of joblib.

    Slurm's warnings come to each process of a job and would end multiprocessing's resource tracker, so it starts with
    them blocked.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, CLUSTER_WARNINGS)
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CLUSTER_WARNINGS)
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


def killed(codes: list[int]) -> str:
    """Returns a sentence that says which process a signal ended, from the exit codes of all."""
    rank, code = next((rank, code) for rank, code in enumerate(codes) if code < 0)
    why = " (as a machine that is short of memory does)" if -code == signal.SIGKILL else ""
    return (
        f"process {rank} of {len(codes)} was ended by {signal.Signals(-code).name}{why}, and so the others were ended; "
        "the same command resumes from the last checkpoint"
    )


def job_configuration() -> DictConfig | None:
    """Returns Hydra's own configuration of this job, if there is a job, without the classes of its plugins.

    Hydra's search for plugins defines the classes of launchers a second time, and the first ones cannot be pickled.
    """
    cfg = HydraConfig.instance().cfg
    if cfg is None:
        return None
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
    assert isinstance(plain, DictConfig)
    OmegaConf.copy_cache(cast(DictConfig, cfg), plain)  # ${now:…} must not change
    return plain


def _member(
    work: Work,
    config: Config,
    rank: int,
    place: dict[str, int],
    hydra: DictConfig | None,
    to_parent: Connection,
) -> None:
    _set_up_member(rank, place, hydra)
    try:
        with reporting_user_errors():
            work(config)
        if is_initialized():
            destroy_process_group()  # its threads sometimes abort Python at exit
    except Interrupted as stop:
        raise SystemExit(stop.exit_code) from None
    except CompactHydraException as error:
        if not isinstance(error.__cause__, AnotherFailed):
            to_parent.send((str(error).removeprefix("Error: ")[:MAX_MESSAGE], True))
        raise SystemExit(1) from None
    except Exception:
        to_parent.send((f"Process {rank}:\n{traceback.format_exc()}"[-MAX_MESSAGE:], False))
        raise SystemExit(1) from None


def _set_up_member(rank: int, place: dict[str, int], hydra: DictConfig | None) -> None:
    """Sets signals, environment, configuration and logging of a process that is one of several."""
    os.setpgrp()  # the terminal's Ctrl-C comes to the parent alone, which passes it on
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the run handles it, there is nothing to save
    threading.Thread(target=_end_with_parent, daemon=True).start()
    given = {name: os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT") if name in os.environ}  # several nodes
    os.environ |= {"MASTER_ADDR": "127.0.0.1"} | {key: str(value) for key, value in place.items()} | given
    os.environ.pop("SLURM_NTASKS", None)  # or Lightning would look for Slurm's tasks
    rank_zero_only.rank = rank  # type: ignore[attr-defined]
    HydraConfig.instance().cfg = hydra  # type: ignore[assignment]  # as Hydra itself does
    if hydra is not None and rank == 0:
        logging.config.dictConfig(cast(Config, OmegaConf.to_container(hydra.hydra.job_logging, resolve=True)))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
