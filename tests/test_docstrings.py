"""The examples in docstrings run, and every abstract class that users subclass has one."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = [path for path in sorted((ROOT / "ddpm_lightning").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_in_docstrings_run(path: Path) -> None:
    module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    failed, tried = doctest.testmod(module, verbose=False)
    assert tried
    assert not failed
