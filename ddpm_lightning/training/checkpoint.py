"""Reads and writes checkpoints: atomically written, self-describing, and loaded as data, never as code."""

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ddpm_lightning.atomic_files import atomic_write, replace_by_link
from ddpm_lightning.configuration.allowed_targets import check_model_parts
from ddpm_lightning.configuration.build import (
    MODEL_PARTS,
    UNCONDITIONAL,
    EvaluationData,
    build_model,
    load_weights,
    make,
)
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.runtime.moved_names import current_names

log = logging.getLogger(__name__)

CONFIG = "config"
"""The checkpoint's key for the run's resolved configuration, a plain dict."""

BUILT = (*MODEL_PARTS, "conditioning", "data")
"""The parts of a checkpoint's configuration from which its model is built again."""

EMA = "ema"
"""The checkpoint's key for the averaged weights, by the names of the model's parameters."""

PREFIXES = ("_orig_mod", "module")
"""The parts that torch.compile and DistributedDataParallel add to the names of the weights that they wrap."""

LAST = "last.ckpt"
"""File name of the checkpoint from which a run resumes."""

PREVIOUS = "previous.ckpt"
"""File name of the checkpoint that was last.ckpt before the newest save."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically: a reader sees the old file or the new one, each complete.

    An existing last.ckpt is kept as previous.ckpt, unless it is damaged. If it cannot be kept, one warning says so and
    the new checkpoint is saved nevertheless.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: set[Path] = set()
        self.warned = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        try:
            target.parent.mkdir(exist_ok=True)  # not the run directory: if that vanished, something is wrong
            with atomic_write(target, rename=self._rename) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
            raise UserError(
                f"the checkpoint {target} cannot be written ({error}); free some space or choose another "
                "folder with hydra.run.dir=, then give the same command to resume from the last complete checkpoint"
            ) from error

    def _rename(self, temporary: Path, target: Path) -> None:
        if target.name == LAST and (target in self.written or is_undamaged(target)):
            self._keep_old(target)
        temporary.replace(target)
        self.written.add(target)

    def _keep_old(self, target: Path) -> None:
        try:
            if not replace_by_link(target.with_name(PREVIOUS), target):
                self._warn_once(f"{target.parent} has no hard links, so {PREVIOUS} is a copy, which takes time")
        except FileNotFoundError:
            log.info("%s was moved away, so it is not kept as %s", target, PREVIOUS)
        except OSError as error:
            self._warn_once(f"{target.parent} keeps no second checkpoint, {PREVIOUS} ({error})")

    def _warn_once(self, trouble: str) -> None:
        if not self.warned:
            self.warned = True
            log.warning(trouble)


def is_undamaged(path: Path) -> bool:
    """Returns whether the file exists and its checksums are right."""
    try:
        _check_sums(path)
    except Exception:  # zipfile raises many kinds of errors on a damaged file
        return False
    return True


def existing_checkpoints(path: Path) -> list[Path]:
    """Returns the paths of the checkpoint and the one before it, newest first, as far as they exist."""
    return [each for each in (path, path.with_name(PREVIOUS)) if each.exists()]


def newest_undamaged(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns the path and the contents of the newest undamaged checkpoint, or None if there is no checkpoint.

    Args:
        path: the path of last.ckpt; previous.ckpt beside it is used if last.ckpt is damaged.

    Raises:
        UserError: if every checkpoint is damaged.
    """
    candidates = existing_checkpoints(path)
    for number, each in enumerate(candidates):
        try:
            return each, read_checkpoint(each)
        except UserError as error:
            if number == len(candidates) - 1:
                raise
            log.warning("%s; using the one before it, %s", error, PREVIOUS)
    return None


def _check_sums(path: Path) -> None:
    """Raises an exception unless all checksums in the file, a zip, are right. torch.load does not check them."""
    with zipfile.ZipFile(path) as file:
        parts = file.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("it is compressed, which PyTorch never does")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise ValueError("its parts claim to be larger than the file")
        if any(part.external_attr for part in parts):
            raise ValueError("a part is marked as a folder, of which PyTorch reads nothing")
        damaged = file.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the contents of a checkpoint: tensors on the CPU and plain values.

    Raises:
        UserError: if the file is missing, damaged or no checkpoint of this project.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path.resolve()}; a run saves its own as checkpoints/last.ckpt")
    try:
        _check_sums(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile and torch raise many kinds of errors on a damaged file
        reason = shown(str(error).partition(". ")[0].strip()) or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            reason = "it holds more than tensors and plain values"
        raise UserError(f"{path} is damaged or not a PyTorch checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(CONFIG), dict):
        raise UserError(f"{path} holds no configuration of a run, so it was not written by this project's train.py")
    checkpoint[CONFIG] = {"conditioning": UNCONDITIONAL, **current_names(checkpoint[CONFIG])}
    missing = [key for key in ("state_dict", "global_step") if key not in checkpoint]
    missing += [part for part in BUILT if not _is_node(checkpoint[CONFIG].get(part))]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}, so it was not written by this project's train.py")
    wrong = [key for key in ("state_dict", EMA) if not _are_weights(checkpoint.get(key, {}))]
    if wrong or not isinstance(checkpoint["global_step"], int):
        raise UserError(f"{path} has an invalid {(wrong or ['global_step'])[0]}; use another checkpoint")
    check_model_parts({part: checkpoint[CONFIG][part] for part in BUILT}, source=str(path))
    return checkpoint


def read_config(path: Path) -> dict[str, Any] | None:
    """Returns the configuration in a checkpoint without reading its weights, or None if it cannot be read."""
    try:
        config = torch.load(path, map_location="cpu", mmap=True, weights_only=True)[CONFIG]
    except Exception:  # zipfile and torch raise many kinds of errors on a damaged file
        return None
    return current_names(config) if isinstance(config, dict) else None


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _are_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(weight, torch.Tensor) for name, weight in value.items()
    )


def model_weights(checkpoint: dict[str, Any], use_ema: bool, option: str = "use_ema") -> dict[str, torch.Tensor]:
    """Returns the model's weights from a checkpoint, by the names of the model's parameters and buffers.

    Args:
        checkpoint: the contents of a checkpoint.
        use_ema: whether to take the averaged weights; otherwise the raw ones.
        option: the option that sets use_ema, for error messages.

    Raises:
        UserError: if the checkpoint does not have these weights.
    """
    state = without_prefixes(checkpoint["state_dict"])
    raw = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    if not use_ema:
        if not raw:
            raise UserError(f"the checkpoint has only averaged weights; leave out {option}=false")
        return raw
    if EMA not in checkpoint:
        raise UserError(f"the checkpoint has no averaged weights; use the raw ones with {option}=false")
    return {**raw, **without_prefixes(checkpoint[EMA])}  # buffers are not averaged


def without_prefixes(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the weights by their names without the prefixes of torch.compile and DistributedDataParallel."""
    found = {".".join(part for part in name.split(".") if part not in PREFIXES): w for name, w in weights.items()}
    if len(found) < len(weights):
        raise UserError("some weights have names that differ only by the prefix of torch.compile or DDP")
    return found


def check_average(average: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> None:
    """Raises UserError unless the averaged weights have the names and shapes of the model's weights."""
    if {k: v.shape for k, v in average.items()} != {k: v.shape for k, v in weights.items()}:
        raise UserError("the checkpoint's averaged weights are not those of its network; use another checkpoint")


def load_model(
    path: Path, use_ema: bool, **elsewhere: Any
) -> tuple[dict[str, Any], EvaluationData, DenoisingDiffusion]:
    """Loads a checkpoint and builds its data and its model, in evaluation mode.

    Args:
        path: the path of the checkpoint.
        use_ema: whether the model gets the averaged weights; otherwise the raw ones.
        elsewhere: options of the data that replace those in the checkpoint, such as root=FOLDER on this machine.

    Returns:
        The contents of the checkpoint, its data and its model on the CPU.

    Raises:
        UserError: if the checkpoint cannot be used.
    """
    checkpoint = read_checkpoint(path)
    data = make({**checkpoint[CONFIG]["data"], **elsewhere}, EvaluationData, "data")
    model = build_model(checkpoint[CONFIG], data)
    load_weights(model, _renamed(model_weights(checkpoint, use_ema), model), str(path))
    if use_ema:
        weights, average = without_prefixes(dict(model.named_parameters())), without_prefixes(checkpoint[EMA])
        check_average(average, weights)
        copy_weights(weights, average)
    return checkpoint, data, model.eval()


def _renamed(weights: Mapping[str, torch.Tensor], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Returns the weights under the names in the model's state_dict, with the prefixes that torch.compile adds."""
    own = dict(zip(without_prefixes(model.state_dict()), model.state_dict(), strict=True))
    return {own.get(name, name): weight for name, weight in weights.items()}


def copy_weights(weights: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    """Copies values into parameters in place, by name. A tied weight needs one name here, unlike in a state_dict."""
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(values[name])
