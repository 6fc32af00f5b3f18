"""Checkpoints: written whole or not at all, self-describing, and read as data, never as code."""

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
"""The checkpoint's key of the run's resolved configuration, a plain dict."""

EMA = "ema"
"""The checkpoint's key of the averaged weights, by the names of the model's parameters."""

WRAPPERS = ("_orig_mod", "module")
"""What torch.compile and DistributedDataParallel put into the names of what they wrap."""

LAST = "last.ckpt"
"""The checkpoint from which a run resumes."""

PREVIOUS = "previous.ckpt"
"""What becomes of it when the next one takes its name."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, renames: a reader sees the old file or the new one, both whole. An old last.ckpt
    stays as previous.ckpt, unless it is damaged: then what is there as previous.ckpt is the better one. Where the old
    one cannot stay, a warning says so once, and the new one is saved all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.written: set[Path] = set()
        self.warned = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        try:
            target.parent.mkdir(exist_ok=True)  # but not the run directory: where that vanished, something is wrong
            with atomic_write(target, rename=self._rename) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # a full disk is the latter, in torch's words
            raise UserError(
                f"the checkpoint {target} cannot be written ({error}); make room or choose another folder with "
                "hydra.run.dir=, then give the same command to go on from the last whole one"
            ) from error

    def _rename(self, temporary: Path, target: Path) -> None:
        if target.name == LAST and (target in self.written or is_whole(target)):
            self._keep_old(target)
        temporary.replace(target)
        self.written.add(target)

    def _keep_old(self, target: Path) -> None:
        try:
            if not replace_by_link(target.with_name(PREVIOUS), target):
                self._warn_once(f"{target.parent} has no hard links, so that {PREVIOUS} is a copy and takes time")
        except FileNotFoundError:
            log.info("%s was moved away, so that it is not kept as %s", target, PREVIOUS)
        except OSError as error:
            self._warn_once(f"{target.parent} keeps no second checkpoint, {PREVIOUS} ({error})")

    def _warn_once(self, trouble: str) -> None:
        if not self.warned:
            self.warned = True
            log.warning(trouble)


def is_whole(path: Path) -> bool:
    """Whether there is a file whose checksums are right."""
    try:
        _check_sums(path)
    except Exception:  # a damaged file can make zipfile say nearly anything
        return False
    return True


def found_at(path: Path) -> list[Path]:
    """The checkpoint at this path and the one before, newest first, those of them that are there."""
    return [each for each in (path, path.with_name(PREVIOUS)) if each.exists()]


def newest_whole(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint at this path, or the one before where it is damaged, and what is in it; None where there is none.
    Raises UserError where there are only damaged ones."""
    candidates = found_at(path)
    for number, each in enumerate(candidates):
        try:
            return each, read_checkpoint(each)
        except UserError as error:
            if number == len(candidates) - 1:
                raise
            log.warning("%s; the one before it is used, %s", error, PREVIOUS)
    return None


def _check_sums(path: Path) -> None:
    """Compares every part of the file, which is a zip, with the checksum beside it: PyTorch does not."""
    with zipfile.ZipFile(path) as file:
        parts = file.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("it is compressed, as PyTorch's are not")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise ValueError("its parts claim to be more than the whole")
        damaged = file.testzip()
    if damaged is not None:
        raise ValueError(f"checksum of {damaged} is wrong")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint as tensors and plain values. Raises UserError where the file is missing or is no checkpoint."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path.resolve()}; a run keeps its own at checkpoints/last.ckpt")
    try:
        _check_sums(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make zipfile and torch say nearly anything
        reason = shown(str(error).partition(". ")[0].strip()) or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            reason = "it is no file of tensors and plain values"
        raise UserError(f"{path} is damaged or no checkpoint of PyTorch ({reason})") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(CONFIG), dict):
        raise UserError(f"{path} holds no configuration of a run, so it was not written by this project's train.py")
    checkpoint[CONFIG] = current_names(checkpoint[CONFIG])
    missing = [key for key in ("state_dict", "global_step") if key not in checkpoint]
    missing += [part for part in (*MODEL_PARTS, "data") if not _is_node(checkpoint[CONFIG].get(part))]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}, so it was not written by this project's train.py")
    wrong = [key for key in ("state_dict", EMA) if not _are_weights(checkpoint.get(key, {}))]
    if wrong or not isinstance(checkpoint["global_step"], int):
        raise UserError(f"{path} has something else for its {(wrong or ['global_step'])[0]}; take another checkpoint")
    check_model_parts({part: checkpoint[CONFIG][part] for part in (*MODEL_PARTS, "data")}, source=str(path))
    return checkpoint


def read_config(path: Path) -> dict[str, Any] | None:
    """The configuration in a checkpoint, whose weights are not read; None where there is none."""
    try:
        config = torch.load(path, map_location="cpu", mmap=True, weights_only=True)[CONFIG]
    except Exception:  # a damaged file can make zipfile and torch say nearly anything
        return None
    return current_names(config) if isinstance(config, dict) else None


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _are_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(weight, torch.Tensor) for name, weight in value.items()
    )


def model_weights(checkpoint: dict[str, Any], use_ema: bool, option: str = "use_ema") -> dict[str, torch.Tensor]:
    """The model's weights by its parameters' names: averaged, or as the optimizer left them. option: which chooses."""
    state = unwrapped(checkpoint["state_dict"])
    raw = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    if not use_ema:
        if not raw:
            raise UserError(f"the checkpoint holds averaged weights alone; leave out {option}=false")
        return raw
    if EMA not in checkpoint:
        raise UserError(f"the checkpoint holds no averaged weights; take the raw ones with {option}=false")
    return {**raw, **unwrapped(checkpoint[EMA])}  # a buffer, if a network has one, is not averaged


def unwrapped(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights by the names that they have without compilers and several processes."""
    found = {".".join(part for part in name.split(".") if part not in WRAPPERS): w for name, w in weights.items()}
    if len(found) < len(weights):
        raise UserError("the weights have names that differ by torch.compile's or DDP's prefix alone; which are meant?")
    return found


def check_average(average: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> None:
    """Raises UserError where averaged weights are not of this model: one that is missing would pass for its raw one."""
    if {k: v.shape for k, v in average.items()} != {k: v.shape for k, v in weights.items()}:
        raise UserError("the checkpoint's averaged weights are not those of its network; take another checkpoint")


def load_model(
    path: Path, use_ema: bool, **elsewhere: Any
) -> tuple[dict[str, Any], EvaluationData, DenoisingDiffusion]:
    """The checkpoint, its data (which may lie `elsewhere` on this machine: root=…) and its model."""
    checkpoint = read_checkpoint(path)
    data = make({**checkpoint[CONFIG]["data"], **elsewhere}, EvaluationData)
    model = build_model(checkpoint[CONFIG], data)
    load_weights(model, _renamed(model_weights(checkpoint, use_ema), model), str(path))
    if use_ema:
        fill(unwrapped(dict(model.named_parameters())), unwrapped(checkpoint[EMA]))
    return checkpoint, data, model.eval()


def _renamed(weights: Mapping[str, torch.Tensor], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights by the model's own names, which have a compiler's prefix where a part of the network is compiled."""
    own = dict(zip(unwrapped(model.state_dict()), model.state_dict(), strict=True))
    return {own.get(name, name): weight for name, weight in weights.items()}


def fill(weights: Mapping[str, torch.Tensor], average: Mapping[str, torch.Tensor]) -> None:
    """Copies averaged weights over a model's. The average has a tied weight under one name, a state_dict under each."""
    check_average(average, weights)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(average[name])
