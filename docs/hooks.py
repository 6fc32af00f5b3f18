"""What mkdocs does beyond its plugins: pages for the files of the repository, links to them, and their source.

A page links to any file of the repository by its path. Each linked file gets a page: Markdown as it is, code with a
number and an anchor at every line, a folder as a list. Other files, such as pictures, are copied.
"""

import ast
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import rooms
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from shapes import as_code

from tests.readme_lines import ROOT, ROW, definition, with_lines

DOCS = ROOT / "docs"
CODE = {".py", ".yaml", ".yml", ".toml", ".sbatch"}
ROOMS = [
    ("diffusion", "The paper: forward process, reverse process, losses, samplers, the bound"),
    ("networks", "Networks: (x, t) → tensor"),
    ("data", "DataModules: images as integers and on [−1, 1]"),
    ("metrics", "Features of images, and the scores computed from them"),
    ("runtime", "Files, signals, processes, results"),
    ("configuration", "From typed options to objects: composing, checking, building"),
    ("training", "The LightningModule, callbacks, loggers, checkpoints"),
    ("evaluation", "Metrics of a checkpoint or of images"),
    ("studies", "Figures, reports, interchange, shards"),
    ("launching", "The jobs of a sweep, and their failures"),
    ("cli", "The commands"),
    ("shared", "What every room may import: errors, shapes, randomness by name"),
]
SHARED = "shared"
LINK = re.compile(r"(?<=\]\()(?P<path>[^()\s#:]+)(?:#(?P<anchor>[^()\s]*))?(?=\))")
ALONE = re.compile(rf"^{ROW.pattern}$", re.MULTILINE)
FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the pages of the reference and of the studies to the navigation."""
    assert config.nav is not None
    studies = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/README.md"))
    pages = {
        "Reference": ["reference/library.md", *(f"reference/{room}.md" for room, _ in existing_rooms())],
        "Studies": ["experiments/README.md", *(f"experiments/{name}/README.md" for name in studies)],
    }
    for section in config.nav:
        for title in pages.keys() & section.keys():
            section[title] = [*section[title], *pages[title]]
    return config


def existing_rooms() -> list[tuple[str, str]]:
    return [(room, title) for room, title in ROOMS if room == SHARED or (ROOT / "ddpm_lightning" / room).is_dir()]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the reference, the studies, and every file of the repository that a page links to."""
    files.append(File.generated(config, "reference/library.md", content=library()))
    for room, title in existing_rooms():
        files.append(File.generated(config, f"reference/{room}.md", content=reference(room, title)))
    new = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "experiments").rglob("README.md")]
    new += [target for page in DOCS.rglob("*.md") for target in targets(page)]
    seen = {ROOT / "README.md"}  # whose place index.md has
    while new:
        path = new.pop()
        if path in seen or path.is_relative_to(DOCS) or not path.exists():
            continue
        seen.add(path)
        files.append(as_file(path, config))
        if path.suffix == ".md":
            new += targets(path)
        if path.is_dir():
            new += listed(path)
    return files


def targets(page: Path) -> Iterator[Path]:
    """Yields the files and folders of the repository that a Markdown file links to."""
    for prose in FENCE.split(with_lines(page.read_text(encoding="utf-8"), page.parent))[::2]:
        for link in LINK.finditer(prose):
            path = (page.parent / link["path"]).resolve()
            if path.exists():
                yield path


def as_file(path: Path, config: MkDocsConfig) -> File:
    if path.is_dir() or path.suffix in CODE:
        return File.generated(config, site_path(path), content=folder(path) if path.is_dir() else source(path))
    return File.generated(config, site_path(path), abs_src_path=str(path))


def site_path(path: Path) -> str:
    """Returns where a file of the repository lies among the pages."""
    if path == ROOT / "README.md":
        return "index.md"
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    inside = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        return f"{inside}/files.md"
    return f"{inside}.md" if path.suffix in CODE else inside


def listed(path: Path) -> list[Path]:
    return [child for child in sorted(path.iterdir()) if child.suffix in {*CODE, ".json", ".md"}]


def front_matter(title: str) -> str:
    return f"---\ntitle: {title}\nsearch: {{exclude: true}}\nhide: [toc]\n---\n\n# `{title}`\n\n"


def folder(path: Path) -> str:
    """Returns the page of a folder: a list of its files."""
    names = "\n".join(f"- [{child.name}]({child.name})" for child in listed(path))
    return front_matter(f"{path.relative_to(ROOT).as_posix()}/") + names


def source(path: Path) -> str:
    """Returns the page of a file of code, line N of which has the anchor LN."""
    try:
        lexer: Any = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = get_lexer_for_filename("script.sh")
    lexer.stripnl = False
    lines = highlight(path.read_text(encoding="utf-8"), lexer, HtmlFormatter(nowrap=True)).rstrip("\n").split("\n")
    rows = "\n".join(f'<span id="L{n}" class="line">{line or " "}</span>' for n, line in enumerate(lines, start=1))
    title = html.escape(path.relative_to(ROOT).as_posix())
    return front_matter(title) + f'<div class="highlight source"><pre><code>{rows}\n</code></pre></div>\n'


def reference(room: str, title: str) -> str:
    """Returns the page of one room of the package, each module with its docstrings."""
    package = ROOT / "ddpm_lightning"
    modules = sorted(package.glob("*.py") if room == SHARED else (package / room).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules if path.stem[0] != "_"]
    return f"# {room}\n\n{title}.\n\n" + "\n".join(f"::: {name}\n" for name in names)


def library() -> str:
    """Returns the page of the names that `from ddpm_lightning import …` brings, each with its first sentence."""
    rows = []
    for node in ast.parse((ROOT / "ddpm_lightning" / "library.py").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            homes = {alias.name: home(str(node.module), alias.name) for alias in node.names}
            rows += [(name, module, summary(module_path(module), name)) for name, module in homes.items()]
    table = "\n".join(f"| [`{name}`][{module}.{name}] | {text} |" for name, module, text in sorted(rows, key=str))
    head = "# Names of the library\n\n`from ddpm_lightning import …` brings these names, without Lightning and Hydra."
    return f"{head}\n\n| name | what |\n|---|---|\n{table}\n"


def module_path(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def home(module: str, name: str) -> str:
    """Returns the module that defines a name which a module or a package brings."""
    package = module_path(module).with_suffix("") / "__init__.py"
    if not package.is_file():
        return module
    imports = [node for node in ast.parse(package.read_text()).body if isinstance(node, ast.ImportFrom)]
    return next(str(node.module) for node in imports if name in {alias.name for alias in node.names})


def summary(path: Path, name: str) -> str:
    """Returns the first sentence of a docstring, to stand in a table."""
    sentence = re.split(r"(?<!Eq\.)(?<!App\.)(?<=[.:])\s", ast.get_docstring(definition(path, name)) or "")[0]
    return as_code(" ".join(sentence.split()).removesuffix(":")).replace("|", "∣")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Brings line numbers up to date, shows the source below a link that stands alone, and leads links to the pages."""
    if page.file.abs_src_path is None:  # a page made above
        path = ROOT / page.file.src_uri
    else:
        path = Path(page.file.abs_src_path)
        if path.suffix == ".md":
            markdown = ALONE.sub(lambda link: with_source(link, path.parent), with_lines(markdown, path.parent))
    markdown = markdown.replace("<!-- rooms -->", f'<div class="wide">{rooms.svg()}</div>')
    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(lambda link: led(link, path.parent, page.file.src_uri), part) for part in parts[::2]]
    return "".join(parts)


def with_source(link: re.Match[str], folder: Path) -> str:
    """Returns the link, and below it the definition that it leads to."""
    path = folder / link["file"]
    node = definition(path, link["symbol"])
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = path.read_text().splitlines()[first - 1 : node.end_lineno]
    indent = len(lines[0]) - len(lines[0].lstrip())
    code = "\n".join(line[indent:] for line in lines)
    return f'{link[0]}\n\n```python linenums="{first}"\n{code}\n```\n'


def led(link: re.Match[str], folder: Path, src_uri: str) -> str:
    """Returns a link's target as a path among the pages."""
    target = (folder / link["path"]).resolve()
    if not target.exists() or not target.is_relative_to(ROOT):
        return link[0]
    inside = os.path.relpath(site_path(target), PurePosixPath(src_uri).parent)
    return inside + (f"#{link['anchor']}" if link["anchor"] else "")
