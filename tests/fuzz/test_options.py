"""Commands that the program tells, of any path: what the shell and then Hydra read is the path."""

import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from ddpm_lightning.runtime.command_line import option

MARKS = st.text(st.sampled_from("a0/._-+@%:=~[]{}(),;!#&*?<>|'\"\\$ ü"), max_size=12)
WORDS = st.sampled_from(["2024", "1.0", "1e3", "1_000", "null", "True", "nan", "-inf", "", " ", "a", "choice(a)"])


@given(MARKS | WORDS)
def test_a_path_is_read_as_it_is(path: str) -> None:
    (word,) = shlex.split(option("checkpoint", path))
    assert OverridesParser.create().parse_override(word).value() == path
