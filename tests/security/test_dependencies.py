"""What is installed is what was locked, and never one of the malicious uploads."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT


def locked(file: str = "requirements.lock") -> dict[str, str]:
    """Every package of the lock file, with the text that belongs to it."""
    blocks = re.split(r"\n(?=[a-zA-Z0-9])", (ROOT / file).read_text())
    return {re.split(r"[=<>!~\[; @]", block, maxsplit=1)[0]: block for block in blocks if not block.startswith("#")}


def test_every_package_is_locked_to_a_version_and_its_hashes() -> None:
    assert len(locked()) > 50
    assert locked("requirements-build.lock").keys() == {"setuptools"}
    for name, block in [*locked().items(), *locked("requirements-build.lock").items()]:
        assert re.match(rf"{re.escape(name)}(\[.*\])?==\S+", block), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name
        assert "://" not in block.partition("# via")[0], name


def test_the_malicious_versions_of_lightning_are_excluded() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {each.name: each for each in map(Requirement, project["dependencies"])}["lightning"]
    assert not any(wanted.specifier.contains(bad) for bad in ("2.6.2", "2.6.3"))
    assert all(wanted.specifier.contains(good) for good in ("2.6.1", "2.6.4", "2.6.6"))
    for name in ("lightning", "pytorch-lightning"):
        version = Version(locked()[name].partition("==")[2].split()[0])
        assert version not in (Version("2.6.2"), Version("2.6.3"))
