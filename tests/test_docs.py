"""The pages of docs/: their examples run, their links lead somewhere, and the site builds without a network."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT
from tests.readme_lines import ROW, with_lines

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
OWN_OPTIONS = {"least_variance", "two_layers", "sigmoid", "joblib"}
"""Options that come from elsewhere, or that a page tells how to add."""
COMMANDS = "train|sample|evaluate|figure|report|runs|compare|convert|prepare"
COMMAND = re.compile(rf"^(?:python|ddpm) (?P<command>{COMMANDS})(?:\.py)?(?P<options> (?:.*\\\n)*.*)$", re.MULTILINE)
CHOICE = re.compile(r"\b(?P<group>[a-z][a-z_/]*)=(?P<options>[a-z][\w,]*|\[[\w,]+\])(?= |$)")
FOREIGN = re.compile(
    r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?https?:|@import[^;]*https?:|url\(["']?https?:"""
)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def examples(page: Path) -> list[str]:
    return EXAMPLE.findall(page.read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=name)
def test_the_examples_of_a_page_run_one_after_another(page: Path) -> None:
    scope: dict[str, Any] = {"__name__": "example"}
    for example in examples(page):
        exec(compile(example, name(page), "exec"), scope)


@pytest.mark.parametrize("page", sorted(DOCS.glob("concepts/*.md")), ids=name)
def test_a_concept_has_an_equation_and_a_short_example(page: Path) -> None:
    assert page.stem == "index" or examples(page)
    assert "```text" in page.read_text()
    for example in examples(page):
        assert len(example.splitlines()) <= 15


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_to_lines_of_code(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)\s#]+)", text):
        assert link.startswith("http") or (page.parent / link).exists(), link
    with_lines(text, page.parent)  # raises if a symbol or line is not there


@pytest.mark.parametrize("text", ["GaussianDiffusion.q_sample", "alphas = 1 - betas"])
def test_a_link_follows_code_that_moved(text: str) -> None:
    found = ROW.fullmatch(with_lines(f"[`{text}`](../old/room/process.py#L1)", DOCS))
    assert found is not None
    assert found["file"] == "../ddpm_lightning/diffusion/process.py"
    line = (DOCS / found["file"]).read_text().splitlines()[int(found["line"]) - 1]
    assert text.rpartition(".")[2] in line
    with pytest.raises(FileNotFoundError, match="in no other file"):
        with_lines(f"[`{text[::-1]}`](../old/room/process.py#L1)", DOCS)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_options_in_shown_commands_exist(page: Path) -> None:
    for command in COMMAND.finditer(page.read_text()):
        shown = command["options"].partition("#")[0]
        for choice in CHOICE.finditer(shown):
            if (ROOT / "conf" / choice["group"]).is_dir():
                for option in choice["options"].strip("[]").split(","):
                    file = ROOT / "conf" / choice["group"] / f"{option}.yaml"
                    assert file.exists() or option in OWN_OPTIONS, f"{page}: {command[0]}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_is_kept_without_its_outputs(notebook: Path) -> None:
    cells = nbformat.read(notebook, as_version=4).cells
    assert any(cell.cell_type == "code" for cell in cells)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_runs_to_its_end(notebook: Path) -> None:
    """Its cells check what they claim. Each takes less than a minute and a half of one core."""
    resources = {"metadata": {"path": str(ROOT)}}
    NotebookClient(nbformat.read(notebook, as_version=4), timeout=600, resources=resources).execute()


@pytest.mark.slow
def test_the_site_builds_strictly_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 60
    for path in [*pages, *(tmp_path / "site").rglob("*.css")]:
        assert not FOREIGN.findall(path.read_text()), path
    assert (tmp_path / "site" / "search" / "search_index.js").is_file()
