"""Shows a user's mistake as one sentence without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.signals import raise_on_ctrl_c


@contextmanager
def reporting_user_errors() -> Iterator[None]:
    """Ends the command with one sentence if the block raises an error that the user can mend.

    HYDRA_FULL_ERROR=1 shows the traceback, too. Ctrl-C ends the command with exit code 130.
    """
    raise_on_ctrl_c()
    try:
        yield
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # PyTorch's, which takes seconds to import
            raise
        raise CompactHydraException(
            f"Error: the GPU has not enough memory ({sentence(error).partition('. ')[0]}); make batch_size= smaller "
            "(data.batch_size= in training, data.eval_batch_size= for bits/dim)"
        ) from error
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        raise SystemExit(130) from None
    except MissingMandatoryValue as error:
        raise CompactHydraException(f"Error: {error.full_key} is missing; add {error.full_key}=…") from error
    except (UserError, OmegaConfBaseException, OSError) as error:
        raise CompactHydraException(f"Error: {sentence(error)}") from error


def sentence(error: BaseException) -> str:
    """Returns the error's message, without the traceback that a DataLoader's worker process puts before it."""
    message = str(error)
    return message.rpartition(f"{UserError.__name__}: ")[2].strip() if "Original Traceback" in message else message
