"""Files of published weights: found in torch.hub's cache, downloaded, or named by the user."""

from pathlib import Path
from urllib.error import URLError

import torch

from ddpm_lightning.errors import UserError


def published(url: str, network: str, option: str, advice: str = "", file: str | None = None) -> Path:
    """Returns the file in torch.hub's cache, downloaded if necessary.

    Args:
        url: where the weights are published.
        network: the name of the network, for the message.
        option: the option that takes the path of a file.
        advice: what else the user can do.
        file: the name of the file in the cache; None takes that in the URL.

    Raises:
        UserError: the download fails.
    """
    path: Path = Path(str(torch.hub.get_dir())) / "checkpoints" / (file or url.rpartition("/")[2])
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"{network}'s weights could not be downloaded ({error}); fetch {url} elsewhere, and put "
                f"it at {path} or name it with {option}=PATH{advice}"
            ) from error
    return path
