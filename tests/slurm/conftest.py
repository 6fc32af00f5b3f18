"""A Slurm of its own for these tests, of two nodes on this machine; taken down at the end, however that comes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLUSTER = Path(__file__).with_name("cluster.sh")


@pytest.fixture(scope="session", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    try:
        up = subprocess.run([CLUSTER, "up", folder], stderr=subprocess.PIPE, text=True)
        if up.returncode != 0:
            pytest.fail(up.stderr.strip(), pytrace=False)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SLURM_CONF", str(folder / "slurm.conf"))
            environment.setenv("MASTER_ADDR", "127.0.0.1")  # for the names of the nodes are nobody's
            yield
    finally:
        subprocess.run([CLUSTER, "down", folder], check=True)


@pytest.fixture(autouse=True)
def no_jobs_left() -> Iterator[None]:
    """What a test leaves in the queue would hold up the next."""
    yield
    subprocess.run(["scancel", "--user=root"], check=True)
