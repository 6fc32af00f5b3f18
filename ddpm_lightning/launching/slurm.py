"""A sweep whose jobs are Slurm's (hydra/launcher=slurm), by way of submitit.

Each job is one task, which starts a process for each device: what ends, fails or is asked to stop is then told as on
one machine. Imported only where Slurm is asked for, as the launcher it builds on need not be installed.
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
from pathlib import Path
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
from ddpm_lightning.runtime.command_line import relative
from ddpm_lightning.runtime.user_errors import reporting_user_errors

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks for results."""

ASK_EVERY = 15.0
"""Seconds between two questions to Slurm, which has others to answer."""

ABSENT_LOOKS = 5
"""Answers without a job after which there will be no result: a minute, for so long a folder that several machines share
may not show what another wrote."""

HOME = str(Path(__file__).parents[2])
"""Where the package lies, for jobs need not start where the command did."""

SENTENCE = f"{CompactHydraException.__module__}.{CompactHydraException.__name__}: Error: "
"""What stands before a mistake of the user in the last line of a traceback."""


class SlurmCheck(Callback):
    """Ends the command with one sentence where no job can be sent, and puts SlurmSweep in its parent's place, for Hydra
    takes launchers of the package hydra_plugins alone."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        sys.exit("Error: hydra/launcher=slurm sends the jobs of a sweep; add -m (one run is a sweep of one job)")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        missing = [program for program in ("sbatch", "srun", "squeue") if shutil.which(program) is None]
        if missing:
            sys.exit(
                f"Error: hydra/launcher=slurm needs Slurm, and there is no {missing[0]} here; give the command on a "
                "cluster's login node, or leave the launcher out, and the jobs run here one after another"
            )
        Plugins.instance().class_name_to_class[config.hydra.launcher._target_] = SlurmSweep


class SlurmSweep(SlurmLauncher):
    """Sends the jobs as one array, and waits for them. Each that fails is told when it has, and again by name when
    all have ended, with its log.

    params: those of Hydra's submitit launcher.
    """

    def __call__(self, *args: Any) -> JobReturn:
        done: JobReturn = super().__call__(*args)
        done.return_value  # raises what the job raised, so that Slurm, too, knows it as failed  # noqa: B018
        return done

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        names = names_of(job_overrides)
        with reporting_user_errors():
            jobs = self._submit(job_overrides, initial_job_idx)
        for name, job in zip(names, jobs, strict=True):
            log.info("Job %s: %s (%s)", job.job_id, name, relative(job.paths.stdout))
        with leaving_them(jobs):
            wait_for(jobs, tell_if_failed)
        said = [result_of(job) for job in jobs]
        raise_for([(name, why) for name, why in zip(names, said, strict=True) if isinstance(why, str)], len(jobs))
        return cast(list[JobReturn], said)

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
        except RuntimeError as error:  # submitit's, with what sbatch said
            raise UserError(f"Slurm did not take the jobs: {' '.join(str(error).split())}") from error


def with_resources(params: dict[str, Any], configs: Sequence[DictConfig]) -> dict[str, Any]:
    """The launcher's parameters, and what else the jobs need: GPUs and CPUs where nobody says how many, this package
    from wherever they start, and their end where a task of several dies. Raises UserError where nobody says how many
    GPUs they are to have, and they need some, or how many processes there will be."""
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
        "srun_args": [f"--cpus-per-task={cpus}", "--kill-on-bad-exit=1"],  # a step does not take over the job's
        "setup": [f"export PYTHONPATH={shlex.quote(HOME)}:$PYTHONPATH", *(params["setup"] or ())],
        "additional_parameters": {"requeue": True, **params["additional_parameters"]},
    }


def needed_gpus(config: DictConfig) -> int:
    """How many GPUs a job cannot do without. Raises UserError where nobody says how many."""
    if OmegaConf.select(config, "trainer.accelerator") not in ("cuda", "gpu"):
        return 0
    count = whole(config, "trainer.devices", 0)
    if count == 0:
        raise UserError(
            "the jobs want GPUs, trainer.devices= does not say how many, and Slurm gives none unasked; add "
            "hydra.launcher.gpus_per_node=4, or as many as a node has"
        )
    return count


def warn_of_no_gpu(configs: Sequence[DictConfig]) -> None:
    """Where jobs would take GPUs, and have none unless Slurm gives them unasked."""
    if any(OmegaConf.select(config, "trainer.accelerator") == "auto" for config in configs):
        log.warning(
            "No GPU is asked for, and so the jobs run on CPUs wherever Slurm gives none unasked; for a GPU each add "
            "hydra.launcher.gpus_per_node=1, or trainer.accelerator=cpu if CPUs are meant"
        )


def check_processes(configs: Sequence[DictConfig]) -> None:
    """Raises UserError where jobs start a process for each GPU that they find, which nobody says to be so many."""
    for config in configs:
        devices = OmegaConf.select(config, "trainer.devices")
        if devices is not None and whole(config, "trainer.devices", 0) == 0:
            raise UserError(
                f"trainer.devices={devices} with hydra.launcher.gres= or gpus_per_task= does not say how many "
                "processes a job starts, each of which wants a CPU and one more for each of data.num_workers=; add "
                "hydra.launcher.cpus_per_task=16, or as many as that is"
            )


def whole(config: DictConfig, key: str, otherwise: int) -> int:
    """An option of a job, if it is a number of things."""
    value = OmegaConf.select(config, key)
    return value if isinstance(value, int) and value > 0 else otherwise


def wait_for(jobs: Sequence[Job[JobReturn]], when_ended: Callable[[Job[JobReturn]], None] = lambda job: None) -> None:
    """Until each has a result, or is not in the queue any more. Says how they stand, whenever that changes.

    when_ended: called with each job once it has ended."""
    absent: Counter[str] = Counter()
    asked, told = -math.inf, ""
    pending = {job.job_id: job for job in jobs}
    while pending:
        waiting = [job.job_id for job in without_result(jobs) if absent[job.job_id] < ABSENT_LOOKS]
        for ended in [job for job in pending if job not in waiting]:
            when_ended(pending.pop(ended))
        if not pending:
            return
        standing = None
        if time.monotonic() - asked >= ASK_EVERY:
            asked, standing = time.monotonic(), queue()
        if standing is not None:
            absent = Counter({job.job_id: absent[job.job_id] + 1 for job in jobs if job.job_id not in standing})
            counts = Counter(standing[job] for job in waiting if job in standing)
            now = ", ".join(f"{count} {how}" for how, count in counts.items())
            if now and now != told:
                log.info("Slurm's jobs: %s", now)
            told = now
        time.sleep(LOOK_EVERY)


def tell_if_failed(job: Job[JobReturn]) -> None:
    """Says why the job failed, if it did."""
    if isinstance(why := result_of(job), str):
        log.error("Job %s failed: %s", job.job_id, why)


def without_result(jobs: Sequence[Job[JobReturn]]) -> list[Job[JobReturn]]:
    """Those that have not come to their end, well or not."""
    for folder in {job.paths.folder for job in jobs}:
        with suppress(OSError):
            folder.chmod(folder.stat().st_mode)  # without this, NFS may answer from its memory, as submitit knows
    return [job for job in jobs if not has_result(job)]


def has_result(job: Job[JobReturn]) -> bool:
    """Whether the job has come to its end, well or not, as far as is known here."""
    return bool(job.paths.result_pickle.exists())


def queue() -> dict[str, str] | None:
    """The user's jobs, as submitit names them, and how they stand, such as "pending (Priority)". None where Slurm does
    not answer."""
    asking = ["squeue", "--me", "--noheader", "--array", "--format=%i %T %r"]
    said = subprocess.run(asking, capture_output=True, text=True)
    if said.returncode != 0:
        return None
    lines = (line.split(maxsplit=2) for line in said.stdout.splitlines())
    return {job: state.lower() + (f" ({why})" if why != "None" else "") for job, state, why in lines}


def result_of(job: Job[JobReturn]) -> JobReturn | str:
    """What the job returned; or why there is nothing, in a sentence."""
    if not has_result(job):
        how = f"job {job.job_id} was ended before it was done (cancelled, or out of memory or time)"
        return f"{how}; its log is {relative(job.paths.stdout)}"
    outcome, result = pickle.loads(job.paths.result_pickle.read_bytes())
    if outcome == "success":
        return cast(JobReturn, result)
    return f"{result.strip().splitlines()[-1].removeprefix(SENTENCE)}; its log is {relative(job.paths.stdout)}"


@contextmanager
def leaving_them(jobs: Sequence[Job[JobReturn]]) -> Iterator[None]:
    """Inside, Ctrl-C ends the waiting alone."""
    try:
        yield
    except KeyboardInterrupt:
        log.info("The jobs go on; scancel %s ends them", jobs[0].job_id.partition("_")[0])
        raise
