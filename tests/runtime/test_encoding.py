"""A terminal or a locale that lacks a character does not break what a command says and writes."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_lightning.cli.command import escape_unprintable_characters
from ddpm_lightning.configuration.groups import CONF


def test_a_character_that_the_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONIOENCODING=ascii."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with pytest.raises(UnicodeEncodeError):
        print("5.05 ± 0.12")
    escape_unprintable_characters()
    print("5.05 ± 0.12", flush=True)
    assert written.getvalue().endswith(b"5.05 \\xb1 0.12\n")


LOGS = """
import logging, sys
from hydra import compose, initialize_config_dir
from hydra.core.utils import configure_log
from omegaconf import OmegaConf

with initialize_config_dir(sys.argv[1], version_base="1.3"):
    for command in sys.argv[2:]:
        logs = compose(command, return_hydra_config=True).hydra.job_logging
        logs.handlers.file.filename = f"{command}.log"
        configure_log(logs)
        logging.getLogger(command).info("5.05 \\xb1 0.12")
"""


def test_logs_are_utf8_in_any_locale(tmp_path: Path) -> None:
    """As with a login from a machine whose locale is not installed here."""
    commands = ["train", "sample", "evaluate", "figure", "train_classifier"]
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    start = [sys.executable, "-c", LOGS, str(CONF), *commands]
    ended = subprocess.run(start, cwd=tmp_path, env={**os.environ, **locale}, check=True, capture_output=True)
    assert b"UnicodeEncodeError" not in ended.stderr
    for command in commands:
        assert "5.05 ± 0.12" in (tmp_path / f"{command}.log").read_text(encoding="utf-8")
