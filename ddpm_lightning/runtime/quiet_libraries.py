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


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hides Lightning's advertisements and the warnings that do not apply, inside the block."""
    for name in ("lightning.pytorch", "matplotlib.font_manager"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("profilers", "callbacks.model_summary"):  # only users who asked for these have them
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.INFO)
    with warnings.catch_warnings():
        for message in NOT_APPLICABLE:
            warnings.filterwarnings("ignore", message=message)
        # DDP's successor of the option, forward_sync_buffers, needs torch 2.13; this project also takes older ones.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
        yield
