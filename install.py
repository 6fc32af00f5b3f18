"""Sets up .venv with the packages of requirements.lock and this package. Run it as `python3 install.py`.

It installs only what a lock file names: no dependency is resolved (--no-deps), and packages that need a build use the
locked tools (--no-build-isolation). So a new release of a package changes nothing. The same command completes an
interrupted set-up, and returns at once after a finished one.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
STAMP = VENV / "installed-from-lock"
LOCKS = ("requirements-build.lock", "requirements.lock")  # the tools that build the rest come first
OLDEST = (3, 11)
GIGABYTES = 7
"""The disk space that a new .venv needs, because PyTorch brings its CUDA libraries."""


def main() -> None:
    """Installs the packages of the lock files into .venv, unless that is done already."""
    if sys.version_info < OLDEST:
        sys.exit(f"Error: this is Python {sys.version.split()[0]}, and 3.11 or newer is needed; give PYTHON=python3.13")
    if not is_current():
        print("Setting up .venv from requirements.lock: 2 to 10 minutes, 6 GB", flush=True)
        create_environment()
        for lock in LOCKS:
            install("--require-hashes", "-r", str(ROOT / lock))
        install("--editable", str(ROOT))
        remove_unlocked()
        run(PYTHON, "-m", "pip", "--disable-pip-version-check", "check", problem="the lock contradicts itself")
        STAMP.write_text(fingerprint(), encoding="utf-8")


def is_current() -> bool:
    """Returns whether .venv was completed for the present lock files."""
    return (
        STAMP.is_file()
        and PYTHON.exists()
        and STAMP.read_text(encoding="utf-8") == fingerprint()
        and is_wanted_python()
    )


def fingerprint() -> str:
    """Returns the SHA-256 of the files that decide what is installed, as hexadecimal digits."""
    files = (ROOT / name for name in (*LOCKS, "pyproject.toml"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def is_wanted_python() -> bool:
    """Returns whether .venv has the Python version that runs this program."""
    config = VENV / "pyvenv.cfg"
    found = (
        re.search(r"^version\s*=\s*(\d+)\.(\d+)", config.read_text(encoding="utf-8"), re.MULTILINE)
        if config.is_file()
        else None
    )
    return found is not None and (int(found[1]), int(found[2])) == sys.version_info[:2]


def create_environment() -> None:
    """Creates .venv, unless there is one that works and has this Python version."""
    usable = is_wanted_python() and works(PYTHON, "-m", "pip", "--version")
    if usable:
        return
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < GIGABYTES and not VENV.exists():
        sys.exit(f"Error: {ROOT} has {free:.1f} GB free, and .venv needs {GIGABYTES}; make room, or clone it elsewhere")
    run(sys.executable, "-m", "venv", "--clear", VENV, problem=f"Python cannot create {VENV}")


def install(*what: str) -> None:
    """Installs packages without resolving dependencies."""
    run(
        *(*installer(), "--no-deps", "--no-build-isolation", *what),
        problem="the set-up is incomplete; it needs a network once, and the same command completes it",
    )


@cache
def installer() -> list[object]:
    """Returns the command that installs: uv if there is one outside .venv, else pip, without an unwritable cache."""
    uv = shutil.which("uv")
    if uv and VENV not in Path(uv).parents:
        command, cache_dir = [uv, "pip", "install", "--python", PYTHON], [uv, "cache", "dir"]
    else:
        pip = [PYTHON, "-m", "pip"]
        command, cache_dir = [*pip, "-qq", "install", "--no-input"], [*pip, "cache", "dir"]
    return command if can_write(cache_dir) else [*command, "--no-cache-dir"]


def can_write(cache_dir: list[object]) -> bool:
    """Returns whether files can be written to the folder that a command prints. pip fails on a read-only cache."""
    printed = subprocess.run(list(map(str, cache_dir)), capture_output=True, text=True).stdout.strip()
    try:
        Path(printed).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=printed).close()
    except OSError:
        return False
    return True


def remove_unlocked() -> None:
    """Uninstalls packages that no lock file names, such as those of an older one."""
    locked = "".join((ROOT / lock).read_text(encoding="utf-8") for lock in LOCKS)
    named = re.findall(r"^([\w.-]+)(?:\[.*\])?==", locked, re.MULTILINE)
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    installed = re.findall(r"^([\w.-]+)==", listing.stdout, re.MULTILINE)
    surplus = {*map(normal, installed)} - {*map(normal, named), "pip", "setuptools", "wheel", "ddpm-lightning"}
    if surplus:
        print(f"Removing what requirements.lock does not name: {', '.join(sorted(surplus))}")
        run(PYTHON, "-m", "pip", "uninstall", "--quiet", "--yes", *sorted(surplus), problem="they cannot be removed")


def normal(name: str) -> str:
    """Returns the package name as package indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def works(*command: object) -> bool:
    """Returns whether a command can be run and succeeds."""
    try:
        return subprocess.run(list(map(str, command)), capture_output=True).returncode == 0
    except OSError:
        return False


def run(*command: object, problem: str) -> None:
    """Runs a command. Ends this program with one sentence if it fails."""
    if subprocess.run(list(map(str, command))).returncode:
        sys.exit(f"Error: {problem} (see the message above)")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped; the same command completes the set-up.")
