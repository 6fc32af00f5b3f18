"""A terminal that cannot show a character does not break what a command says."""

import io
import sys

import pytest

from ddpm_lightning.cli.command import write_what_streams_can


def test_a_character_that_the_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONIOENCODING=ascii."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with pytest.raises(UnicodeEncodeError):
        print("5.05 ± 0.12")
    write_what_streams_can()
    print("5.05 ± 0.12", flush=True)
    assert written.getvalue().endswith(b"5.05 \\xb1 0.12\n")
