"""The device that benchmarks run on. No other file distinguishes CPU and GPU."""

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import profile

from benchmarks.sides.trace import peak_of_trace

FULL_PRECISION, HALF_PRECISION = "32-true", "bf16-mixed"
"""Lightning's names of the precisions, as `trainer.precision=` takes them."""

Meter = Callable[[Callable[[], Any], Callable[[], Any]], int]
"""Takes two pieces of work, the first for warm-up, and returns the peak bytes of the second."""


@cache
def device() -> torch.device:
    """Returns the CUDA GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cores() -> int:
    """Returns the number of cores that this process may run on, as `taskset` sets it."""
    return len(os.sched_getaffinity(0))


def threads() -> int:
    """Returns the number of threads: OMP_NUM_THREADS, or the number of cores."""
    return int(os.environ.get("OMP_NUM_THREADS", cores()))


def fix_threads() -> None:
    """Makes torch use `threads()` threads from now on."""
    torch.set_num_threads(threads())


def most_processes() -> int:
    """Returns how many processes can train side by side: one for each GPU, or for each core."""
    return torch.cuda.device_count() if device().type == "cuda" else cores()


def finish() -> None:
    """Waits until the device has finished all work."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def autocast(precision: str) -> AbstractContextManager[Any]:
    """Returns the context in which Lightning runs a step at this precision."""
    return nullcontext() if precision == FULL_PRECISION else torch.autocast(device().type, dtype=torch.bfloat16)


def machine() -> dict[str, Any]:
    """Describes the machine, so that a measurement can be repeated or doubted."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if device().type == "cuda" else None,
        "cuda": torch.version.cuda if device().type == "cuda" else None,
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def meters() -> dict[str, Meter]:
    """Returns the ways to measure peak memory by name. Each needs a process of its own."""
    if device().type == "cuda":
        return {"torch.cuda.max_memory_allocated": _peak_of_cuda}
    return {"resident set": _peak_of_resident_set, "torch's profiler": _peak_of_profiler}


def _peak_of_cuda(warm_up: Callable[[], Any], work: Callable[[], Any]) -> int:
    warm_up()
    finish()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    finish()
    return torch.cuda.max_memory_allocated() - before


def _peak_of_resident_set(warm_up: Callable[[], Any], work: Callable[[], Any]) -> int:
    # Not getrusage: its maximum goes back to the process that started this one.
    warm_up()
    before = _resident_bytes("VmRSS")
    work()
    return _resident_bytes("VmHWM") - before


def _resident_bytes(what: str) -> int:
    """Returns a field of /proc/self/status in bytes. VmRSS is the memory in use, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def _peak_of_profiler(warm_up: Callable[[], Any], work: Callable[[], Any]) -> int:
    warm_up()
    with profile(profile_memory=True) as profiler:
        work()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return peak_of_trace(path)
