"""Which source made a number: the package's own commit, never another project's."""

import subprocess
from pathlib import Path

import pytest
import wandb

from ddpm_lightning.runtime.command_line import SOURCE
from ddpm_lightning.runtime.results import commit_of
from ddpm_lightning.training.loggers.wandb_setup import name_repository
from tests.conftest import ROOT


def git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    call = ["git", "-C", str(folder), *identity, *command]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()


def commit_everything(folder: Path) -> str:
    """Makes the folder a repository with one commit, and returns that."""
    git(folder, "init", "-q")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


def write_source(root: Path) -> Path:
    """A folder that looks like this project's source."""
    for name in ("ddpm_lightning/__init__.py", "conf/train.yaml"):
        (root / name).parent.mkdir(parents=True)
        (root / name).touch()
    (root / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    return root


def test_a_checkout_has_its_commit_and_says_whether_it_was_changed(tmp_path: Path) -> None:
    root = write_source(tmp_path / "source")
    head = commit_everything(root)
    assert commit_of(root) == head
    (root / "notes.txt").touch()
    assert commit_of(root) == head, "what nothing runs does not count"
    (root / "conf" / "mine.yaml").touch()
    assert commit_of(root) == f"{head}-dirty"
    (root / "conf" / "mine.yaml").unlink()
    (root / "ddpm_lightning" / "__init__.py").write_text("changed = True")
    assert commit_of(root) == f"{head}-dirty"


def test_a_tag_does_not_change_what_is_recorded(tmp_path: Path) -> None:
    head = commit_everything(write_source(tmp_path))
    git(tmp_path, "tag", "-a", "v1", "-m", "first")
    assert commit_of(tmp_path) == head


def test_another_projects_repository_is_not_ours(tmp_path: Path) -> None:
    for place in (".venv/lib/python3.11/site-packages", "third_party/ddpm"):
        write_source(tmp_path / place)
    (tmp_path / "ddpm_lightning").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "somebody-elses"\n')
    commit_everything(tmp_path)
    for place in (".venv/lib/python3.11/site-packages", "third_party/ddpm", "."):
        assert commit_of(tmp_path / place) is None, place


def test_a_repository_that_the_environment_names_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As git's hooks set it, of the repository that they are of."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    commit_everything(tmp_path / "theirs")
    head = commit_everything(write_source(tmp_path / "ours"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "ours"))
    assert commit_of(tmp_path / "ours") == head
    assert commit_of(write_source(tmp_path / "installed")) is None


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_everything(write_source(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert commit_of(tmp_path) is None


@pytest.mark.parametrize(("head", "off"), [("0123abc", False), (None, True)])
def test_wandb_is_told_the_packages_repository(head: str | None, off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddpm_lightning.training.loggers.wandb_setup.commit", lambda: head)
    settings = wandb.Settings()
    name_repository(settings)
    assert (settings.git_root, settings.disable_git) == (str(SOURCE), off)
    typed = wandb.Settings(git_root="/elsewhere")
    name_repository(typed)
    assert (typed.git_root, typed.disable_git) == ("/elsewhere", False)
