"""The set-up installs what the lock names, whatever else the package index has on the day."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

BACKEND = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    import zipfile, pathlib
    name = {name!r}
    with zipfile.ZipFile(pathlib.Path(folder) / f"{{name}}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{{name}}.py", "VERSION = '1.0'")
        info = f"{{name}}-1.0.dist-info"
        file.writestr(f"{{info}}/METADATA", f"Metadata-Version: 2.1\\nName: {{name}}\\nVersion: 1.0\\n")
        file.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(f"{{info}}/RECORD", "")
    return f"{{name}}-1.0-py3-none-any.whl"

build_editable = build_wheel
"""


def write_wheel(index: Path, name: str, version: str, requires: str = "", code: str = "") -> Path:
    """Writes a wheel with one module, whose VERSION is its version."""
    path = index / f"{name}-{version}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: more\n{requires}"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", code or f"VERSION = {version!r}")
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def write_source(index: Path, name: str, built_by: str) -> Path:
    """Writes a package that is there as source alone, and is built by another."""
    path = index / f"{name}-1.0.tar.gz"
    files = {
        "pyproject.toml": f'[build-system]\nrequires = ["{built_by}"]\nbuild-backend = "{built_by}"\n',
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{name}-1.0/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def locked(path: Path) -> str:
    """The line of a lock file that pins this file."""
    name, version = path.name.removesuffix(".tar.gz").split("-")[:2]
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with our install.py, its lock, and an index that has a newer release of everything in it."""
    project = write_project(tmp_path_factory.mktemp("install"))
    install(project)
    return project


def write_project(folder: Path) -> Path:
    """Writes the project and its index into a folder."""
    index, project = folder / "index", folder / "project"
    index.mkdir()
    project.mkdir()
    shutil.copy(ROOT / "install.py", project)
    asking = write_wheel(index, "asking", "1.0", "Requires-Dist: asked[more]>=1.0\n")
    asked = write_wheel(index, "asked", "1.0", 'Requires-Dist: behind; extra == "more"\n')
    behind = write_wheel(index, "behind", "1.0")
    tool = write_wheel(index, "tool", "1.0", code=BACKEND.format(name="built"))
    packer = write_wheel(index, "packer", "1.0", code=BACKEND.format(name="ddpm_lightning"))
    built = write_source(index, "built", "tool")
    for name in ("asking", "asked", "behind", "tool", "packer"):
        write_wheel(index, name, "2.0", code="raise ImportError('a newer release, which nobody has tried')")
    (project / "requirements-build.lock").write_text(locked(tool))
    (project / "requirements.lock").write_text("".join(map(locked, (asking, asked, behind, built, packer))))
    ours = re.search(r"^\[tool\.uv\]\n(?:[^\[].*\n)*", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    backend = '[build-system]\nrequires = ["packer"]\nbuild-backend = "packer"\n'
    (project / "pyproject.toml").write_text(backend + (ours[0] if ours else ""))
    return project


def install(project: Path, exit_code: int = 0, **variables: str) -> str:
    """Runs the project's install command against the local index; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project.parent / "index")}
    environment |= {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(project.parent / "index")}
    environment |= {"PATH": os.defpath, **variables}  # without uv, unless a test wants it
    command = [sys.executable, str(project / "install.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout + done.stderr


def installed(project: Path) -> str:
    """The packages of the project's .venv, as `pip freeze` lists them."""
    pip = [project / ".venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "freeze"]
    return subprocess.run(pip, capture_output=True, text=True, check=True).stdout


def test_a_newer_release_changes_nothing(project: Path) -> None:
    """Also behind an extra, where pip resolves apart from the pin, and among the tools that build from source."""
    assert_pinned(installed(project))


def test_uv_installs_the_pinned_releases_too(tmp_path: Path) -> None:
    """With the project's own settings of uv, which uv reads when it installs."""
    project = write_project(tmp_path)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "uv").symlink_to(Path(sysconfig.get_path("scripts")) / "uv")
    assert "Resolved" in install(project, PATH=f"{folder}{os.pathsep}{os.defpath}")
    assert_pinned(installed(project))


def assert_pinned(found: str) -> None:
    for name in ("asked", "asking", "behind", "built", "packer", "tool"):
        assert f"{name}==1.0" in found.replace(" @ file", "==1.0 @ file")


def test_a_finished_set_up_does_nothing(project: Path) -> None:
    assert install(project) == ""


def test_an_interrupted_set_up_is_completed(project: Path) -> None:
    python = project / ".venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "behind"], check=True)
    (project / ".venv" / "installed-from-lock").unlink()  # which is written last
    assert "Setting up" in install(project)
    assert "behind==1.0" in installed(project)


@pytest.mark.slow
def test_a_broken_environment_is_created_again(project: Path) -> None:
    """As it is left when Ctrl-C falls while `python -m venv` brings pip."""
    (project / ".venv" / "installed-from-lock").unlink()
    for folder in (project / ".venv" / "lib").glob("*/site-packages/pip"):
        shutil.rmtree(folder)
    install(project)
    assert "behind==1.0" in installed(project)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_left_out(project: Path) -> None:
    """As in a read-only home, where pip fails to keep what it has built."""
    python = project / ".venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "built"], check=True)
    (project / ".venv" / "installed-from-lock").unlink()
    install(project, XDG_CACHE_HOME="/proc/nowhere")
    assert "built==1.0" in installed(project).replace(" @ file", "==1.0 @ file")


def test_a_changed_lock_is_noticed(project: Path) -> None:
    """What it names no longer is removed."""
    lock = project / "requirements.lock"
    newer = write_wheel(project.parent / "index", "asked", "1.5")
    kept = [line for line in lock.read_text().splitlines(keepends=True) if not line.startswith(("asked", "behind"))]
    lock.write_text("".join(kept) + locked(newer))
    assert "behind" in install(project)
    assert "asked==1.5" in installed(project)
    assert "behind" not in installed(project)


def test_a_file_with_another_hash_is_refused(project: Path) -> None:
    lock = project / "requirements.lock"
    before = lock.read_text()
    lock.write_text(re.sub(r"(asking==1.0 --hash=sha256:)\w{4}", r"\g<1>0000", before))
    (project / ".venv" / "installed-from-lock").unlink(missing_ok=True)
    pip = [project / ".venv" / "bin" / "python", "-m", "pip", "uninstall", "--quiet", "--yes", "asking"]
    subprocess.run(pip, check=True)
    assert "Error: the set-up is incomplete" in install(project, exit_code=1)
    assert "asking" not in installed(project)
    lock.write_text(before)


def test_make_sets_up_with_this_program_alone() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "$(PYTHON) install.py" in makefile
    assert "pip install" not in makefile
