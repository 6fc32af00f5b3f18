"""Builds objects from a configuration."""

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.nn.parameter import is_lazy

from ddpm_lightning.configuration.allowed_targets import check_buildable
from ddpm_lightning.configuration.arguments import check_arguments, default_arguments
from ddpm_lightning.configuration.full_keys import full_key, naming_options
from ddpm_lightning.configuration.option_names import is_typed
from ddpm_lightning.diffusion.conditional.conditioning import Conditioning
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.samplers import Sampler
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError, check_boolean, shown
from ddpm_lightning.typing import AnyExamples, Images, Pixels

MODEL_PARTS = ("schedule", "parameterization", "variance", "network")
"""The parts of a configuration that make the model p_θ."""

UNCONDITIONAL = {"_target_": "ddpm_lightning.diffusion.conditional.conditioning.NoConditioning"}
"""The conditioning of a configuration that names none, as those of version 0.1."""

STATIC = {"_target_": "ddpm_lightning.diffusion.conditional.thresholding.StaticClipping"}
"""The clipping of a configuration that names none."""

UNGUIDED = {"_target_": "ddpm_lightning.diffusion.conditional.guidance.NoGuidance"}
"""The guidance of a configuration that names none."""


@runtime_checkable
class PixelScale(Protocol):
    """The number of levels of a pixel, and the conversion from the model's scale to bytes."""

    @property
    def levels(self) -> int: ...

    def to_bytes(self, x: Images) -> Pixels: ...


@runtime_checkable
class FingerprintedImages(Protocol):
    """A split: its number of images, and a fingerprint that changes when they do."""

    def __len__(self) -> int: ...

    def fingerprint(self) -> str: ...


@runtime_checkable
class ImageData(Protocol):
    """A DataModule, as far as the model depends on it: channels, size and scale of the images."""

    channels: int
    size: tuple[int, int]
    pixels: PixelScale


@runtime_checkable
class EvaluationData(ImageData, Protocol):
    """A DataModule whose splits evaluation reads in order, image by image."""

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
    ) -> Iterator[AnyExamples]: ...


def real_images(data: EvaluationData, split: str, device: torch.device | str = "cpu", **share: int) -> Iterator[Pixels]:
    """Returns the images of a split in batches, uint8 [n, c, h, w], in order and not mirrored.

    share: rank= and world_size= of a process that reads only its part.
    """
    return (data.pixels.to_bytes(batch.x_0) for batch in data.in_order(split, device, **share))


def data_of(trainer: L.Trainer) -> EvaluationData:
    """Returns the DataModule of a trainer."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, EvaluationData)
    return data


def make(node: Any, kind: Any = object, key: str = "", **arguments: Any) -> Any:
    """Builds the object of a node with Hydra's `instantiate`.

    Args:
        node: A part of the configuration, with a `_target_`.
        kind: The class or protocol that the object must have.
        key: The key of the node, for messages.
        arguments: Further arguments of the constructor.

    Returns:
        The object.

    Raises:
        UserError: The node may not be built, cannot be built, or builds another kind.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        what = f"{key}={shown(node)}" if key else shown(node)
        raise UserError(f"{what} cannot be built: a {kind.__name__} needs a _target_; leave it out")
    check_buildable(node)
    made = _make(node, key, **arguments)
    check_arguments(node, key)
    if not isinstance(made, kind):
        where = f"{key}._target_=" if key else ""
        raise UserError(f"{where}{node['_target_']} is no {kind.__name__}, which is needed here; choose another")
    return made


def make_node(config: Mapping[str, Any], key: str, kind: Any = object, **arguments: Any) -> Any:
    """Builds the object of config[key]. Messages name its options as key.OPTION. See `make`."""
    return make(config[key], kind, key, **arguments)


def _make(node: dict[str, Any], key: str, **arguments: Any) -> Any:
    try:
        return instantiate(node, **arguments, _convert_="all")
    except (InstantiationException, TypeError) as error:
        if isinstance(error.__cause__, UserError):  # a class's own words say more than its annotations
            inside = str(error).partition("full_key: ")[2]
            part = OmegaConf.select(OmegaConf.create(node), inside)
            where = full_key(key, inside) if inside else key
            with naming_options(where, {*part, *default_arguments(part["_target_"])}):
                raise error.__cause__ from error
        check_arguments(node, key)
        words = f"{key}: {error}" if key else str(error)
        raise UserError(f"{' '.join(words.split())} (HYDRA_FULL_ERROR=1 shows the traceback)") from error


def make_with(node: Any, key: str, **parts: Any) -> Any:
    """Builds the object of a node with parts that are objects already. Raises UserError if the node has one, too."""
    for name in parts.keys() & set(node):
        raise UserError(f"{key}.{name} follows from the rest of the configuration; leave it out")
    maker = make({**node, "_partial_": True} if isinstance(node, dict) else node, key=key)
    try:
        with naming_options(key, node):
            return maker(**parts)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, UserError) else UserError(f"{key}: {error}") from error


def make_all(config: Mapping[str, Any], group: str, kind: Any = object) -> list[Any]:
    """Returns the objects of a group of the configuration, such as its callbacks. Entries that are null are left out.

    Raises:
        UserError: An entry names no class.
    """
    nodes = {f"{group}.{name}": node for name, node in (config[group] or {}).items() if node is not None}
    for key, node in nodes.items():
        if not isinstance(node, dict) or "_target_" not in node:
            raise UserError(
                f"{key}={shown(node)} has no _target_, so nothing can be built from it; {key}=null leaves it out"
            )
    return [make(node, kind, key) for key, node in nodes.items()]


def build_model(config: Mapping[str, Any], data: ImageData) -> DenoisingDiffusion:
    """Returns the model p_θ of a resolved configuration, for the channels, size and levels of the data.

    If it is conditioned on classes, the data yield them from now on.
    """
    variance = make_node(config, "variance", Variance)
    conditioning = conditioning_of(config).prepare(data)
    shape = network_shape(variance, data, conditioning)
    check_network(config, shape)
    network = make_node(config, "network", torch.nn.Module, **shape)
    shape_lazy_weights(network, data)
    process = GaussianDiffusion(make_node(config, "schedule", Schedule))
    parameterization = make_node(config, "parameterization", Parameterization)
    return DenoisingDiffusion(network, process, parameterization, variance, data.pixels.levels, conditioning)


def make_sampler(node: Any, model: DenoisingDiffusion) -> Sampler:
    """Returns the sampler of a configuration.

    If its default number of steps exceeds the model's T, it visits all T steps. A typed number stays, and the sampler
    refuses it.
    """
    sampler = make(node, Sampler, "sampler")
    assert isinstance(sampler, Sampler)
    return sampler if is_typed("sampler.num_steps") else sampler.at_most_all(model)


def with_variance(model: DenoisingDiffusion, node: Any) -> DenoisingDiffusion:
    """Returns the model with another fixed variance σ_t².

    Args:
        model: The model.
        node: The configuration of the variance; None keeps the model's own.

    Raises:
        UserError: One of the two variances is learned.
    """
    variance = model.variance if node is None else make(node, Variance, "variance")
    if variance == model.variance:
        return model
    if variance.learned or model.variance.learned:
        raise UserError(
            f"variance={variance.name} cannot take the place of variance={model.variance.name}: a learned Σ_θ belongs "
            "to the network that learned it; beta and beta_tilde are the ones to swap"
        )
    return model.with_variance(variance)


def conditioning_of(config: Mapping[str, Any]) -> Conditioning:
    """Builds the conditioning of a configuration: NoConditioning if it has no such key, as those of old checkpoints."""
    conditioning = make_node({"conditioning": UNCONDITIONAL, **config}, "conditioning", Conditioning)
    assert isinstance(conditioning, Conditioning)
    return conditioning


def network_shape(variance: Variance, data: ImageData, conditioning: Conditioning) -> dict[str, Any]:
    """Returns the arguments of a network that follow from the data, the variance and the conditioning."""
    out_channels = data.channels + variance.extra_channels(data.channels)
    shape = {"in_channels": data.channels, "out_channels": out_channels, "size": data.size}
    return {**shape, **conditioning.network_arguments}


def compile_network(model: DenoisingDiffusion, asked: bool) -> None:
    """Compiles the network in place if that is asked for. The names of its weights in a checkpoint stay the same."""
    if asked:
        model.network.compile()


def check_compile(asked: object) -> None:
    """Raises UserError unless compile= is false, or true with a C++ compiler on this machine."""
    check_boolean("compile", asked, "true compiles for minutes, which pays off in long runs on a GPU")
    if asked and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise UserError("compile=true needs a C++ compiler, and there is neither g++ nor clang++; install one")


MAX_PARAMETERS = 2**31
"""The limit of a network's size: eight times the paper's largest network."""


def shape_lazy_weights(network: torch.nn.Module, data: ImageData) -> None:
    """Calls the network once if it has weights, such as LazyConv2d's, without a shape before the first call."""
    if any(map(is_lazy, network.parameters())):
        with torch.no_grad():
            network.eval()(torch.zeros(1, data.channels, *data.size), torch.zeros(1, dtype=torch.int64))
        network.train()


def check_network(config: Mapping[str, Any], shape: dict[str, Any]) -> None:
    """Raises UserError if the network takes no classes but is given some, or would fill the memory, unallocated."""
    try:
        with torch.device("meta"):
            network = make_node(config, "network", torch.nn.Module, **shape)
    except UserError as error:
        if "'num_classes'" not in str(error):
            raise
        raise UserError(
            f"{config['network']['_target_']} takes no num_classes, which conditioning=class gives it; add the "
            "argument, and the classes y as a third input of its forward, or choose another network="
        ) from error
    count = sum(parameter.numel() for parameter in network.parameters() if not is_lazy(parameter))
    if count > MAX_PARAMETERS:
        raise UserError(f"the network would have {count:,} parameters, more than fit in memory; lower network.channels")


def load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Loads weights into a model. Raises UserError if names or shapes do not fit."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the weights in {source} do not fit the network of its configuration: {reason}") from error
