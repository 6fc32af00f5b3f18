"""Runs the jobs of a sweep on Slurm (hydra/launcher=slurm), through submitit.

Hydra's plain submitit launcher shows only the first failure, notices a cancelled job only on clusters with sacct, and
does not ask for the GPUs and CPUs that trainer= and data= imply. Each job is one task that starts a process for each
device, so that it stops and fails as on one machine. The module is imported only for Slurm: submitit is optional.
"""

import logging
import math
import pickle
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
from omegaconf import DictConfig, OmegaConf
from submitit import AutoExecutor, Job

from ddpm_lightning.errors import UserError
from ddpm_lightning.launching.failures import names_of, raise_for
from ddpm_lightning.runtime.command_line import SOURCE, relative
from ddpm_lightning.runtime.user_errors import reporting_user_errors

log = logging.getLogger(__name__)

SECONDS_PER_LOOK = 1.0
"""Seconds between two searches for results."""

SECONDS_PER_QUERY = 15.0
"""Seconds between two calls of squeue, which loads the cluster's scheduler."""

MAX_ABSENCES = 5
"""The number of squeue's answers without a job after which it has ended without a result.

It takes a minute, because a shared folder may show late what another machine wrote.
"""

ERROR_PREFIX = f"{CompactHydraException.__module__}.{CompactHydraException.__name__}: Error: "
"""The start of a traceback's last line if the user made a mistake."""


class SlurmCheck(Callback):
    """Ends the command with one sentence if this machine has no Slurm, and puts SlurmSweep in its parent's place.

    Hydra itself takes only launchers of the package hydra_plugins.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        sys.exit("Error: hydra/launcher=slurm sends the jobs of a sweep; add -m (one run is a sweep of one job)")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        missing = [program for program in ("sbatch", "srun", "squeue") if shutil.which(program) is None]
        if missing:
            sys.exit(
                f"Error: hydra/launcher=slurm needs Slurm, and there is no {missing[0]} here; give the command on a "
                "cluster's login node, or leave the launcher out to run the jobs here, one after another"
            )
        Plugins.instance().class_name_to_class[config.hydra.launcher._target_] = SlurmSweep


class SlurmSweep(SlurmLauncher):
    """Submits the jobs as one array and waits for them. Failed jobs are logged at once, and listed at the end.

    Its parameters are those of Hydra's submitit launcher.
    """

    def __call__(self, *args: Any) -> JobReturn:
        done: JobReturn = super().__call__(*args)
        done.return_value  # raises the job's error, so that Slurm marks the job as failed  # noqa: B018
        return done

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        names = names_of(job_overrides)
        with reporting_user_errors():
            jobs = self._submit(job_overrides, initial_job_idx)
        for name, job in zip(names, jobs, strict=True):
            log.info("Job %s: %s (%s)", job.job_id, name, relative(job.paths.stdout))
        with leaving_running(jobs):
            wait_for(jobs, log_failure)
        results = [result_of(job) for job in jobs]
        raise_for([(name, why) for name, why in zip(names, results, strict=True) if isinstance(why, str)], len(jobs))
        return cast(list[JobReturn], results)

    def _submit(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job[JobReturn]]:
        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        configs = [loader.load_sweep_config(self.config, list(overrides)) for overrides in job_overrides]
        params = with_resources(self.params, configs)
        folder, timeouts = params.pop("submitit_folder"), params.pop("max_num_timeout")
        executor = AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        common = set(OmegaConf.structured(BaseQueueConf))
        executor.update_parameters(**{key if key in common else f"slurm_{key}": params[key] for key in params})
        arguments = [
            (list(overrides), "hydra.sweep.dir", first + number, f"job_id_for_{first + number}", Singleton.get_state())
            for number, overrides in enumerate(job_overrides)
        ]
        try:
            return executor.map_array(self, *zip(*arguments, strict=True))
        except RuntimeError as error:  # submitit's, with sbatch's message
            raise UserError(f"Slurm did not take the jobs: {' '.join(str(error).split())}") from error


def with_resources(params: dict[str, Any], configs: Sequence[DictConfig]) -> dict[str, Any]:
    """Adds what the jobs need to the launcher's parameters: GPUs, CPUs, and the path of this package.

    Args:
        params: The launcher's parameters.
        configs: The configurations of all jobs.

    Returns:
        The parameters. Numbers of GPUs and CPUs that the user gave are kept. A job ends if one of its tasks dies.

    Raises:
        UserError: The number of GPUs or of processes is not known.
    """
    asked = any(params[option] for option in ("gpus_per_node", "gpus_per_task", "gres"))
    gpus = params["gpus_per_node"] if asked else max(map(needed_gpus, configs)) or None
    if not asked and not gpus:
        warn_of_no_gpu(configs)
    if asked and not gpus and not params["cpus_per_task"]:
        check_processes(configs)
    processes = max(gpus or 1, *(whole(config, "trainer.devices", 1) for config in configs))
    readers = max(whole(config, "data.num_workers", 0) for config in configs)
    cpus = params["cpus_per_task"] or math.ceil(processes / params["tasks_per_node"]) * (1 + readers)
    return {
        **params,
        "gpus_per_node": gpus,
        "cpus_per_task": cpus,
        "srun_args": [f"--cpus-per-task={cpus}", "--kill-on-bad-exit=1"],  # a step does not inherit the job's
        "setup": [f"export PYTHONPATH={shlex.quote(str(SOURCE))}:$PYTHONPATH", *(params["setup"] or ())],
        "additional_parameters": {"requeue": True, **params["additional_parameters"]},
    }


def needed_gpus(config: DictConfig) -> int:
    """Returns the number of GPUs that a job needs. Raises UserError if it needs some and their number is not known."""
    if OmegaConf.select(config, "trainer.accelerator") not in ("cuda", "gpu"):
        return 0
    count = whole(config, "trainer.devices", 0)
    if count == 0:
        raise UserError(
            "the jobs need GPUs, trainer.devices= does not say how many, and Slurm gives none by itself; add "
            "hydra.launcher.gpus_per_node=4, or as many as a node has"
        )
    return count


def warn_of_no_gpu(configs: Sequence[DictConfig]) -> None:
    """Warns if jobs would use GPUs, but ask Slurm for none."""
    if any(OmegaConf.select(config, "trainer.accelerator") == "auto" for config in configs):
        log.warning(
            "No GPU is asked for, so the jobs run on CPUs unless Slurm gives GPUs by itself; for one GPU each add "
            "hydra.launcher.gpus_per_node=1, or trainer.accelerator=cpu if CPUs are meant"
        )


def check_processes(configs: Sequence[DictConfig]) -> None:
    """Raises UserError if a job starts a process for each GPU that it finds, and their number is not known."""
    for config in configs:
        devices = OmegaConf.select(config, "trainer.devices")
        if devices is not None and whole(config, "trainer.devices", 0) == 0:
            raise UserError(
                f"trainer.devices={devices} with hydra.launcher.gres= or gpus_per_task= does not say how many "
                "processes a job starts, each of which needs a CPU and one more for each of data.num_workers=; add "
                "hydra.launcher.cpus_per_task=16, or as many as that is"
            )


def whole(config: DictConfig, key: str, otherwise: int) -> int:
    """Returns an option of a job if it is a whole number above 0, else `otherwise`."""
    value = OmegaConf.select(config, key)
    return value if isinstance(value, int) and value > 0 else otherwise


def wait_for(jobs: Sequence[Job[JobReturn]], when_ended: Callable[[Job[JobReturn]], None] = lambda job: None) -> None:
    """Waits until each job has a result or has left the queue, and logs their states whenever these change.

    when_ended: Called with each job when it has ended.
    """
    absent: Counter[str] = Counter()
    asked, logged = -math.inf, ""
    pending = {job.job_id: job for job in jobs}
    while pending:
        waiting = [job.job_id for job in without_result(jobs) if absent[job.job_id] < MAX_ABSENCES]
        for ended in [job for job in pending if job not in waiting]:
            when_ended(pending.pop(ended))
        if not pending:
            return
        states = None
        if time.monotonic() - asked >= SECONDS_PER_QUERY:
            asked, states = time.monotonic(), queue()
        if states is not None:
            absent = Counter({job.job_id: absent[job.job_id] + 1 for job in jobs if job.job_id not in states})
            counts = Counter(states[job] for job in waiting if job in states)
            now = ", ".join(f"{count} {state}" for state, count in counts.items())
            if now and now != logged:
                log.info("Slurm's jobs: %s", now)
            logged = now
        time.sleep(SECONDS_PER_LOOK)


def log_failure(job: Job[JobReturn]) -> None:
    """Logs why a job failed, if it did."""
    if isinstance(why := result_of(job), str):
        log.error("Job %s failed: %s", job.job_id, why)


def without_result(jobs: Sequence[Job[JobReturn]]) -> list[Job[JobReturn]]:
    """Returns the jobs that have not ended."""
    for folder in {job.paths.folder for job in jobs}:
        with suppress(OSError):
            folder.chmod(folder.stat().st_mode)  # makes NFS read the folder again, as submitit does
    return [job for job in jobs if not has_result(job)]


def has_result(job: Job[JobReturn]) -> bool:
    """Returns whether a job has written its result or its error."""
    return bool(job.paths.result_pickle.exists())


def queue() -> dict[str, str] | None:
    """Returns the states of the user's jobs by submitit's ids, such as "pending (Priority)"; None if squeue fails."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i %T %r"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        return None
    lines = (line.split(maxsplit=2) for line in answer.stdout.splitlines())
    return {job: state.lower() + (f" ({why})" if why != "None" else "") for job, state, why in lines}


def result_of(job: Job[JobReturn]) -> JobReturn | str:
    """Returns what a job returned, or one sentence that says why it returned nothing."""
    if not has_result(job):
        why = f"job {job.job_id} was ended before it was done (cancelled, or out of memory or time)"
        return f"{why}; its log is {relative(job.paths.stdout)}"
    outcome, result = pickle.loads(job.paths.result_pickle.read_bytes())
    if outcome == "success":
        return cast(JobReturn, result)
    return f"{result.strip().splitlines()[-1].removeprefix(ERROR_PREFIX)}; its log is {relative(job.paths.stdout)}"


@contextmanager
def leaving_running(jobs: Sequence[Job[JobReturn]]) -> Iterator[None]:
    """Lets the jobs run on after Ctrl-C in the block, and logs how to cancel them."""
    try:
        yield
    except KeyboardInterrupt:
        log.info("The jobs keep running; scancel %s cancels them", jobs[0].job_id.partition("_")[0])
        raise
