"""The house keeps its plan: who may import whom, how long a file may be, and what the README points at."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.readme_lines import README, ROW, with_lines

PACKAGE = ROOT / "ddpm_lightning"
FILES = sorted(PACKAGE.rglob("*.py"))
BENCHMARKS = sorted(path for room in ("benchmarks", "scaling") for path in (ROOT / "tests" / room).glob("*.py"))
SHARED = {"typing", "errors", "image_files", "npz"}
"""The rooms of ddpm_lightning that everyone may enter."""

MAY_IMPORT = {
    "diffusion": {"diffusion"},
    "networks": {"networks"},
    "metrics": {"metrics"},
    "data": {"data", "seeding"},
    "training": {"training", "diffusion", "metrics", "seeding"},
    "report": {"report", "training"},
    "figures": {"figures", "training", "diffusion", "metrics", "seeding"},
    "interchange": {"interchange", "training", "diffusion", "networks"},
    "prepare": {"prepare", "training", "data"},
    "image_files": set(),
    "npz": set(),
    "seeding": set(),
    "typing": set(),
    "errors": set(),
    "library": {"diffusion", "networks"},
    "cli": {"cli", "training", "figures", "report", "interchange", "prepare"},
}
PURE = {"diffusion", "networks", "library"}
STANDARD = {"math", "abc", "collections", "dataclasses", "typing", "itertools", "contextlib", "functools"}
ENTRIES = ("run", "sampling", "evaluation/evaluate", "classifier")
HYDRA = {
    f"training/{name}.py"
    for name in (*ENTRIES, "build", "run_dir", "manners", "processes", "guard", "slurm", "wandb_logger", "objective")
}
HYDRA |= {
    str(path.relative_to(PACKAGE))
    for room in ("cli", "training/command_line")
    for path in (PACKAGE / room).glob("*.py")
}
HYDRA |= {f"report/{name}.py" for name in ("report", "plan", "callback")} | {
    "interchange/convert.py",
    "prepare/prepare.py",
    "figures/draw.py",
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield str(node.module)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_only_whom_they_may(path: Path) -> None:
    for module in imports(path):
        head, *rest = module.split(".")
        if head == "ddpm_lightning" and rest and room(path) != "__init__":
            assert rest[0] in MAY_IMPORT[room(path)] | SHARED, f"{path} imports {module}"
        elif room(path) in PURE:
            assert head in STANDARD | {"torch"}, f"{path} imports {module}"
        if head in ("hydra", "omegaconf"):
            assert str(path.relative_to(PACKAGE)) in HYDRA, f"{path} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_small_and_say_what_they_are(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_median_function_is_under_ten_lines() -> None:
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    )
    assert lengths[len(lengths) // 2] < 10


def test_entry_scripts_have_no_logic() -> None:
    for script in (
        "train.py",
        "sample.py",
        "evaluate.py",
        "report.py",
        "convert.py",
        "prepare.py",
        "figure.py",
        "train_classifier.py",
    ):
        assert len((ROOT / script).read_text().splitlines()) <= 16


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.name)
def test_benchmarks_measure_the_package_as_users_run_it(path: Path) -> None:
    """tests.conftest checks every annotation at run time, which takes time; so no benchmark may import it."""
    assert not any(module.startswith("tests.conftest") for module in imports(path))
    assert len(path.read_text().splitlines()) <= 300
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_target_of_the_configs_exists() -> None:
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        for target in re.findall(r"_target_: (ddpm_lightning\.\S+)", path.read_text()):
            module, _, name = target.rpartition(".")
            assert hasattr(importlib.import_module(module), name), f"{path}: {target}"


def test_the_readme_is_short() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("page", [*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_to_code_lead_to_the_right_lines(page: Path) -> None:
    assert page.read_text() == with_lines(page.read_text(), page.parent), "run `make format`"


def test_a_page_leads_from_the_paper_to_the_code() -> None:
    assert len(ROW.findall((ROOT / "docs" / "paper.md").read_text())) >= 20
