"""From a configuration to objects."""

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.nn.parameter import is_lazy

from ddpm_lightning.configuration.allowed_targets import check_buildable
from ddpm_lightning.configuration.arguments import check_arguments
from ddpm_lightning.configuration.option_names import is_typed
from ddpm_lightning.configuration.paths import with_paths
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError, check_boolean, shown
from ddpm_lightning.runtime.moved_names import current_names
from ddpm_lightning.typing import Examples, Images, Pixels

MODEL_PARTS = ("schedule", "parameterization", "variance", "network")
"""The parts of a configuration that make p_θ."""


@runtime_checkable
class PixelScale(Protocol):
    """The number of levels of the data, and the way from the model's scale to picture files."""

    @property
    def levels(self) -> int: ...

    def to_bytes(self, x: Images) -> Pixels: ...


@runtime_checkable
class FingerprintedImages(Protocol):
    """A split: how many images it has, and what changes when they do."""

    def __len__(self) -> int: ...

    def fingerprint(self) -> str: ...


@runtime_checkable
class ImageData(Protocol):
    """What a model needs to know of a DataModule."""

    channels: int
    size: tuple[int, int]
    pixels: PixelScale


@runtime_checkable
class EvaluationData(ImageData, Protocol):
    """What evaluation needs to know of a DataModule besides: its splits, image by image."""

    eval_batch_size: int
    flip: bool

    def images(self, split: str) -> FingerprintedImages: ...

    def in_order(
        self,
        split: str,
        device: torch.device | str = "cpu",
        *,
        rank: int = 0,
        world_size: int = 1,
        first: int | None = None,
    ) -> Iterator[Examples]: ...


def real_images(data: EvaluationData, split: str, device: torch.device | str = "cpu", **share: int) -> Iterator[Pixels]:
    """A split in 0..255, in order, not mirrored, batch by batch; share: rank and world_size."""
    return (data.pixels.to_bytes(batch.x_0) for batch in data.in_order(split, device, **share))


def data_of(trainer: L.Trainer) -> EvaluationData:
    """The DataModule that the trainer was given."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, EvaluationData)
    return data


def make(node: Any, kind: Any = object, **arguments: Any) -> Any:
    """Hydra's `instantiate`, for a node that may be built and builds this kind, with the reason of a failure as one
    UserError."""
    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(f"{shown(node)} is nothing that can be built: a {kind.__name__} needs a _target_; leave it out")
    check_buildable(node)
    made = _make(node, **arguments)
    check_arguments(node)
    if not isinstance(made, kind):
        raise UserError(f"{node['_target_']} is no {kind.__name__}, which is needed in its place; choose another")
    return made


def _make(node: dict[str, Any], **arguments: Any) -> Any:
    try:
        return instantiate(node, **arguments, _convert_="all")
    except (InstantiationException, TypeError) as error:
        if isinstance(error.__cause__, UserError):  # a class's own words say more than its annotations
            raise error.__cause__ from error
        check_arguments(node)
        raise UserError(" ".join(str(error).split())) from error


def make_with(node: Any, **parts: Any) -> Any:
    """Like `make`, for arguments that are objects already. Raises UserError where the node has one of them, too."""
    for name in parts.keys() & set(node):
        raise UserError(
            f"{node['_target_']} gets its {name} from the rest of the configuration; leave {name}= out there"
        )
    maker = make({**node, "_partial_": True} if isinstance(node, dict) else node)
    try:
        return maker(**parts)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, UserError) else UserError(f"{node['_target_']}: {error}") from error


def make_all(config: Mapping[str, Any], group: str, kind: Any = object) -> list[Any]:
    """Returns the objects of a group of the configuration, such as its callbacks. One set to null is left out.

    Raises UserError for one that names no class.
    """
    nodes = {f"{group}.{name}": node for name, node in (config[group] or {}).items() if node is not None}
    for name, node in nodes.items():
        if not isinstance(node, dict) or "_target_" not in node:
            raise UserError(
                f"{name}={shown(node)} has no _target_, so nothing can be built of it; {name}=null leaves it out"
            )
    return [make(node, kind) for node in nodes.values()]


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration, resolved and with its paths expanded, as a plain dict."""
    config = OmegaConf.to_container(with_paths(cfg), resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)
    config = current_names(config)
    return {str(key): value for key, value in config.items()}


def build_model(config: Mapping[str, Any], data: ImageData) -> DenoisingDiffusion:
    """p_θ of a resolved configuration, for the channels, size and levels of the data."""
    variance = make(config["variance"], Variance)
    shape = network_shape(variance, data)
    check_network(config["network"], shape)
    network = make(config["network"], torch.nn.Module, **shape)
    shape_lazy_weights(network, data)
    process = GaussianDiffusion(make(config["schedule"], Schedule))
    parameterization = make(config["parameterization"], Parameterization)
    return DenoisingDiffusion(network, process, parameterization, variance, data.pixels.levels)


def make_sampler(node: Any, model: DenoisingDiffusion) -> Sampler:
    """Returns the sampler of a configuration. Where its default number of steps exceeds the model's T, it visits all T;
    a typed number stays, and the sampler refuses it."""
    sampler = make(node, Sampler)
    assert isinstance(sampler, Sampler)
    return sampler if is_typed("sampler.num_steps") else sampler.at_most_all(model)


def with_variance(model: DenoisingDiffusion, node: Any) -> DenoisingDiffusion:
    """The model with another fixed σ_t²; node: None leaves it as it is. Raises UserError where Σ_θ is learned."""
    variance = model.variance if node is None else make(node, Variance)
    if variance == model.variance:
        return model
    if variance.learned or model.variance.learned:
        raise UserError(
            f"variance={variance.name} cannot take the place of variance={model.variance.name}: a learned Σ_θ belongs "
            "to the network that learned it; beta and beta_tilde are the ones to swap"
        )
    return model.with_variance(variance)


def network_shape(variance: Variance, data: ImageData) -> dict[str, Any]:
    """What a network must know of the rest of the model."""
    out_channels = data.channels + variance.extra_channels(data.channels)
    return {"in_channels": data.channels, "out_channels": out_channels, "size": data.size}


def compile_network(model: DenoisingDiffusion, asked: bool) -> None:
    """torch.compile of the network, in place: the names in a checkpoint stay what they were. asked: checked before."""
    if asked:
        model.network.compile()


def check_compile(asked: object) -> None:
    """Raises UserError unless it is false, or true where there is a compiler."""
    check_boolean("compile", asked, "true waits minutes for a compiler, and pays in long runs on a GPU")
    if asked and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise UserError("compile=true needs a C++ compiler, and there is neither g++ nor clang++; install one")


MOST_PARAMETERS = 2**31
"""Eight times the paper's largest network."""


def shape_lazy_weights(network: torch.nn.Module, data: ImageData) -> None:
    """Calls the network once if it has weights, such as LazyConv2d's, that have no shape before the first call."""
    if any(map(is_lazy, network.parameters())):
        with torch.no_grad():
            network.eval()(torch.zeros(1, data.channels, *data.size), torch.zeros(1, dtype=torch.int64))
        network.train()


def check_network(node: Any, shape: dict[str, Any]) -> None:
    """Raises UserError where the network would fill the memory, before it does."""
    with torch.device("meta"):
        network = make(node, torch.nn.Module, **shape)
    count = sum(parameter.numel() for parameter in network.parameters() if not is_lazy(parameter))
    if count > MOST_PARAMETERS:
        raise UserError(f"the network would have {count:,} parameters, more than fit in memory; lower network.channels")


def load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Fills the model. Raises UserError where names or shapes do not fit."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the weights in {source} do not fit the network of its configuration: {reason}") from error
