"""The house keeps its plan: who may import whom, how long a file may be, and what the README points at."""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule
from tests.conftest import ROOT
from tests.readme_lines import README, ROW, with_lines

PACKAGE = ROOT / "ddpm_lightning"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
ORDER = (
    *("typing", "errors", "seeding", "atomic_files", "npz", "image_files"),
    *("diffusion", "networks", "metrics", "data", "library"),
    *("runtime", "configuration", "training", "evaluation", "studies", "launching", "cli"),
)
"""The rooms of ddpm_lightning: each may import those before it."""

APART = ({"diffusion", "networks", "metrics", "data"}, {"studies", "launching"})
"""Rooms of which none imports another of the same set."""

PURE = {"diffusion", "networks", "library"}
STANDARD = {"math", "abc", "collections", "dataclasses", "typing", "itertools", "contextlib", "functools"}
HYDRA = {"cli", "configuration", "launching"}
"""The rooms that Hydra's configurations pass through, and the files elsewhere that ask Hydra about the job:"""
HYDRA_FILES = {
    *(
        "runtime/command_line.py",
        "runtime/private_parts.py",
        "runtime/user_errors.py",
        "runtime/processes.py",
        "runtime/run_directory.py",
    ),
    *("training/loggers/wandb_setup.py", "training/objective.py"),
    *("studies/report/callback.py", "studies/report/plan.py"),
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
def test_rooms_import_only_those_before_them(path: Path) -> None:
    here = room(path)
    for module in imports(path):
        head, *rest = module.split(".")
        if head == "ddpm_lightning" and rest and here != "__init__":
            assert ORDER.index(rest[0]) <= ORDER.index(here), f"{path} imports {module}"
            assert rest[0] == here or not any({rest[0], here} <= rooms for rooms in APART), f"{path} imports {module}"
        elif here in PURE:
            assert head in STANDARD | {"torch"}, f"{path} imports {module}"
        if head in ("hydra", "omegaconf"):
            assert here in HYDRA or str(path.relative_to(PACKAGE)) in HYDRA_FILES, f"{path} imports {module}"


def test_private_parts_of_hydra_and_lightning_are_touched_in_one_file() -> None:
    for path in FILES:
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        private = [node.attr for node in nodes if node.attr.startswith("_") and not node.attr.startswith("__")]
        of_theirs = {node.attr for node in nodes if ast.unparse(node.value).endswith(("trainer", "logger", "hydra"))}
        touched = of_theirs & set(private) or [module for module in imports(path) if "._internal" in module]
        assert not touched or path.name == "private_parts.py", path


def test_no_two_files_share_a_name_and_no_folder_is_crowded() -> None:
    names = Counter(path.name for path in FILES if path.name != "__init__.py" and path.parent != PACKAGE / "cli")
    assert not [name for name, count in names.items() if count > 1]
    crowds = Counter(path.parent for path in [*FILES, *TESTS, *BENCHMARKS] if path.name != "__init__.py")
    assert not [folder for folder, count in crowds.items() if count > 15]


def test_no_two_public_classes_share_a_name() -> None:
    nodes = (node for path in FILES for node in ast.parse(path.read_text()).body)
    names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_small_and_say_what_they_are(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    assert ast.get_docstring(ast.parse(path.read_text()))


def lacks_encoding(node: ast.AST) -> bool:
    """Whether this is a call that reads or writes a text file in the encoding of the locale."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    modes = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
    opens_text = node.func.attr == "open" and modes in (["r"], ["w"], ["a"], ["x"])
    is_text = opens_text or node.func.attr in ("read_text", "write_text")
    return is_text and "encoding" not in {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("path", [*FILES, ROOT / "install.py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files_are_utf_8_in_any_locale(path: Path) -> None:
    calls = filter(lacks_encoding, ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    assert [node.lineno for node in calls if isinstance(node, ast.Call)] == []


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
        "runs.py",
        "compare.py",
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


def test_shapes_are_checked_while_the_tests_run() -> None:
    process = GaussianDiffusion(LinearSchedule())
    with pytest.raises(jaxtyping.TypeCheckError):
        process.q_sample(torch.zeros(4, 1), torch.ones(3, dtype=torch.int64), torch.zeros(4, 1))
