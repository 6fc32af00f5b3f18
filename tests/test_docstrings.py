"""The examples in docstrings run, and every abstract class that users subclass has one."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT

FILES = [path for path in sorted((ROOT / "ddpm_lightning").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


def module_of(path: Path) -> ModuleType:
    return import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_in_docstrings_run(path: Path) -> None:
    failed, tried = doctest.testmod(module_of(path))
    assert tried
    assert not failed


ROOMS = ("data", "diffusion", "metrics", "networks")
MODULES = [path for room in ROOMS for path in sorted((ROOT / "ddpm_lightning" / room).rglob("*.py"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_abstract_class_shows_a_subclass(path: Path) -> None:
    module = module_of(path)
    for name, each in vars(module).items():
        if inspect.isabstract(each) and each.__module__ == module.__name__ and not name.startswith("_"):
            assert ">>> class" in str(each.__doc__), name
