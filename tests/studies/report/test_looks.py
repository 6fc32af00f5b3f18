"""The page in a browser: on a phone, on a desk, and in print. Needs Debian's chromium."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm_lightning.studies.report.write import write_report
from tests.commands import command
from tests.studies.report.small_sweep import mu_with_simple_diverging, options

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PHONE, DESK = 390, 1280

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "table2_digits"
    with mu_with_simple_diverging():
        command("train", *options(folder, "seed=0"))
    write_report(folder)
    return folder / "report.html"


def browse(page: Path, *options: str) -> str:
    """What headless Chromium says, without a network."""
    assert CHROMIUM is not None
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--proxy-server=127.0.0.1:9"]
    command_line = [CHROMIUM, *fixed, *options, page.as_uri()]
    return subprocess.run(command_line, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_is_cut_off_or_wider_than_the_window(page: Path, width: int) -> None:
    """The table and the figures scroll inside their own boxes; the page does not."""
    asking = page.with_name("asking.html")
    asking.write_text(
        f"<iframe id=page width={width} height=800 src={page.name}></iframe><script>onload = () => {{ document.title = "
        "'width ' + document.getElementById('page').contentDocument.documentElement.scrollWidth }</script>"
    )
    said = browse(asking, "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom")
    found = re.search(r"<title>width (\d+)</title>", said)
    assert found, said
    assert int(found[1]) <= width


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_there_is_something_to_see(page: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    browse(page, f"--screenshot={picture}", f"--window-size={width},2000")
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape[1] == width
    rows_with_ink = (pixels < 128).any(1).mean()
    assert rows_with_ink > 0.3


def test_it_prints(page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    browse(page, f"--print-to-pdf={paper}")
    pages = re.findall(rb"/Type\s*/Page[^s]", paper.read_bytes())
    assert 1 <= len(pages) <= 8
