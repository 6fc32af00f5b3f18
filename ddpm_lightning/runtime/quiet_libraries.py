"""Silences what Lightning and PyTorch say that does not apply to this project."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NOT_APPLICABLE = (
    ".*does not have many workers.*",  # small data sets lie in memory
    "This DataLoader will create .* worker processes.*",
    ".*Grad strides do not match bucket view strides.*",
    ".*callbacks used to create the checkpoint need to be provided.*",
    ".*`srun` command is available.*",  # runtime/processes.py starts the processes
    ".*LeafSpec.*is deprecated.*",
)
"""Messages of warnings, as regular expressions."""


def quiet_matplotlib() -> None:
    """Hides what matplotlib says of its cache of fonts. Libraries import it, so call this before their import."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where HOME is read-only, it takes a temporary folder
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hides Lightning's advertisements and the warnings that do not apply, inside the block."""
    quiet_matplotlib()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for name in ("profilers", "callbacks.model_summary"):  # only users who asked for these have them
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.INFO)
    with warnings.catch_warnings():
        for message in NOT_APPLICABLE:
            warnings.filterwarnings("ignore", message=message)
        # DDP's successor of the option, forward_sync_buffers, needs torch 2.13; this project also takes older ones.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        yield
