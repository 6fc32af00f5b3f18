"""Translates between diffusers' config.json and scheduler_config.json and our nodes of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from ddpm_lightning.diffusion.conditional.conditioning import ClassConditioning
from ddpm_lightning.diffusion.parameterizations import X0, Epsilon, Parameterization, V
from ddpm_lightning.diffusion.schedules import (
    CosineSchedule,
    GivenSchedule,
    LinearSchedule,
    QuadraticSchedule,
    Schedule,
)
from ddpm_lightning.diffusion.variances import (
    BetaTildeVariance,
    BetaVariance,
    LearnedRangeVariance,
    LogSpace,
    Variance,
)
from ddpm_lightning.errors import UserError, counted, shown
from ddpm_lightning.networks.unet import UNet
from ddpm_lightning.studies.interchange.pretrained import Node, arguments_of, node

Config = Mapping[str, Any]

PAPER_SETTINGS = {
    "act_fn": "silu",
    "add_attention": True,
    "attention_head_dim": None,
    "attn_norm_num_groups": None,
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_padding": 0,
    "downsample_type": "conv",
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "norm_eps": 1e-6,
    "resnet_time_scale_shift": "default",
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "upsample_type": "conv",
}
"""The settings of a UNet2DModel that make it the paper's U-Net."""

OTHER_DEFAULTS = {
    "attention_head_dim": 8,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_eps": 1e-5,
}
"""diffusers' defaults of these settings, where they are not the paper's."""

SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
"""diffusers' schedulers that walk the paper's chain."""

CHAIN_SETTINGS = {"clip_sample": True, "clip_sample_range": 1.0, "thresholding": False, "rescale_betas_zero_snr": False}
"""The settings of a scheduler that make it walk the chain as our samplers do."""

SCHEDULES: dict[type[Schedule], str] = {
    LinearSchedule: "linear",
    QuadraticSchedule: "scaled_linear",
    CosineSchedule: "squaredcos_cap_v2",
}
PREDICTIONS: dict[type[Parameterization], str] = {Epsilon: "epsilon", X0: "sample", V: "v_prediction"}
VARIANCES: dict[type[Variance], str] = {
    BetaVariance: "fixed_large",
    BetaTildeVariance: "fixed_small",
    LearnedRangeVariance: "learned_range",
}


def unet_config(
    network: Config, in_channels: int, out_channels: int, size: tuple[int, int], num_classes: int = 0
) -> dict[str, Any]:
    """Returns the config.json of a UNet2DModel that equals our U-Net.

    Args:
        network: The node of our U-Net.
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        size: Height and width of the images.
        num_classes: Number of classes; 0 for none.
    """
    options = arguments_of(network)
    levels = range(len(options["multipliers"]))
    attend = [max(size) // 2**level in options["attention"] for level in levels]
    return {
        "_class_name": "UNet2DModel",
        **PAPER_SETTINGS,
        "block_out_channels": [options["channels"] * multiple for multiple in options["multipliers"]],
        "down_block_types": ["AttnDownBlock2D" if yes else "DownBlock2D" for yes in attend],
        "dropout": options["dropout"],
        "in_channels": in_channels,
        "layers_per_block": options["num_res_blocks"],
        "norm_num_groups": options["groups"],
        "num_class_embeds": num_classes + 1 if num_classes else None,
        "out_channels": out_channels,
        "sample_size": size[0] if size[0] == size[1] else list(size),
        "up_block_types": ["AttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attend)],
    }


def size_of(config: Config, source: str) -> tuple[int, int]:
    """Returns height and width of the images of a config.json. Raises UserError if they are missing."""
    size = config.get("sample_size")
    pair = [size, size] if isinstance(size, int) else size
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, int) and side > 0 for side in pair)):
        raise UserError(f"{source} has sample_size={shown(size)}, not a size of images; write that of training")
    return (pair[0], pair[1])


def network_of(config: Config, source: str) -> Node:
    """Returns the node of our U-Net that equals a config.json. Raises UserError if it describes another network."""
    _check_same(config, PAPER_SETTINGS, OTHER_DEFAULTS, source, "the paper's U-Net has")
    widths, types = _list(config, "block_out_channels", source), _list(config, "down_block_types", source)
    mirrored = [str(each).replace("Down", "Up") for each in reversed(types)]
    if any(t not in ("DownBlock2D", "AttnDownBlock2D") for t in types) or config.get("up_block_types") != mirrored:
        raise UserError(
            f"{source} has blocks {shown(types)} on the way down, which the paper's U-Net lacks, or others up"
        )
    if len(widths) != len(types) or any(not isinstance(w, int) or w < 1 or w % widths[0] for w in widths):
        raise UserError(f"{source} has block_out_channels={shown(widths)}, not a multiple of the first for each level")
    side = max(size_of(config, source))
    return node(
        UNet,
        channels=widths[0],
        multipliers=[width // widths[0] for width in widths],
        num_res_blocks=config.get("layers_per_block", 2),
        attention=[side // 2**level for level, kind in enumerate(types) if kind.startswith("Attn")],
        dropout=config.get("dropout", 0.0),
        groups=config.get("norm_num_groups", 32),
    )


def conditioning_of_rows(rows: object, names: Sequence[str], source: str) -> Node:
    """Returns the node of our conditioning for a class embedding with this number of rows.

    Args:
        rows: num_class_embeds of a config.json: one for each class, and perhaps one for no class.
        names: The names of the data's classes.
        source: The file, for the message.

    Raises:
        UserError: The data have another number of classes.
    """
    if not names or rows not in (len(names), len(names) + 1):
        raise UserError(
            f"{source} has num_class_embeds={shown(rows)}, and the data have "
            f"{counted(len(names), 'class', 'classes')}; choose data= with a label for each row, of which the last may "
            "be that of no class"
        )
    return node(ClassConditioning, dropout=0.1 if rows == len(names) + 1 else 0.0, class_names=list(names))


def _check_same(config: Config, ours: Config, defaults: Config, source: str, who: str) -> None:
    """Raises UserError if a setting of diffusers differs from ours.

    Args:
        config: Their settings.
        ours: The settings that they must have.
        defaults: The values of keys that `config` lacks. A key in neither has our value.
        source: The file, for the message.
        who: The words before our value in the message, such as "sampling here has".
    """
    for key, here in ours.items():
        theirs = config.get(key, defaults.get(key, here))
        if theirs != here:
            raise UserError(f"{source} has {key}={shown(theirs)}, where {who} {here}; take another")


def _list(config: Config, key: str, source: str) -> list[Any]:
    found = config.get(key)
    if not isinstance(found, list) or not found:
        raise UserError(f"{source} has {key}={shown(found)}, not a list; take the file of a UNet2DModel")
    return found


def scheduler_config(schedule: Schedule, parameterization: Parameterization, variance: Variance) -> dict[str, Any]:
    """Returns the scheduler_config.json of these parts. Raises UserError if diffusers has no equal of one."""
    if type(parameterization) not in PREDICTIONS:
        raise UserError(
            f"diffusers has no {type(parameterization).__name__}: it knows networks that predict ε, x_0 or v; "
            "only target=checkpoint and target=safetensors can hold this one"
        )
    exact = type(variance) in VARIANCES and isinstance(getattr(variance, "interpolation", LogSpace()), LogSpace)
    if not exact:
        raise UserError(
            f"diffusers reads no variance as {variance} means it; only target=checkpoint and target=safetensors can "
            "hold this one"
        )
    return {
        "_class_name": "DDPMScheduler",
        **_betas(schedule),
        **CHAIN_SETTINGS,
        "num_train_timesteps": schedule.T,
        "prediction_type": PREDICTIONS[type(parameterization)],
        "steps_offset": 0,
        "timestep_spacing": "leading",
        "variance_type": VARIANCES[type(variance)],
    }


def _betas(schedule: Schedule) -> dict[str, Any]:
    if isinstance(schedule, LinearSchedule | QuadraticSchedule):
        return {"beta_schedule": SCHEDULES[type(schedule)], "beta_start": schedule.beta_1, "beta_end": schedule.beta_T}
    if isinstance(schedule, CosineSchedule) and (schedule.s, schedule.max_beta) == (0.008, 0.999):
        return {"beta_schedule": SCHEDULES[CosineSchedule]}
    return {"trained_betas": schedule.betas().tolist()}


def parts_of(config: Config, source: str) -> dict[str, Node]:
    """Returns the nodes schedule, parameterization and variance that equal a scheduler_config.json.

    Raises:
        UserError: The scheduler has no equal here. The message names the setting.
    """
    kind = config.get("_class_name", SCHEDULERS[0])
    if kind not in SCHEDULERS:
        raise UserError(f"{source} has a {shown(kind)}, unknown here; take a folder with a {' or a '.join(SCHEDULERS)}")
    _check_same(config, CHAIN_SETTINGS, {}, source, "sampling here has")
    return {
        "schedule": _schedule(config, source),
        "parameterization": node(
            _named(PREDICTIONS, config.get("prediction_type", "epsilon"), "prediction_type", source)
        ),
        "variance": _variance(config, source),
    }


def _schedule(config: Config, source: str) -> Node:
    T = config.get("num_train_timesteps", 1000)
    if config.get("trained_betas") is not None:
        betas = _list(config, "trained_betas", source)
        if len(betas) != T:
            raise UserError(f"{source} has {len(betas)} trained_betas for num_train_timesteps={shown(T)}; correct one")
        return node(GivenSchedule, beta=betas)
    kind = _named(SCHEDULES, config.get("beta_schedule", "linear"), "beta_schedule", source)
    if kind is CosineSchedule:
        return node(kind, T=T, s=0.008, max_beta=0.999)
    return node(kind, T=T, beta_1=config.get("beta_start", 1e-4), beta_T=config.get("beta_end", 0.02))


def _variance(config: Config, source: str) -> Node:
    name = config.get("variance_type", "fixed_small")
    same = "fixed_small" if name == "fixed_small_log" else name  # the same variance, computed in log space
    kind = _named(VARIANCES, same, "variance_type", source)
    return node(kind, interpolation=node(LogSpace)) if kind is LearnedRangeVariance else node(kind)


def _named(names: Mapping[Any, str], name: Any, key: str, source: str) -> Any:
    """Returns the class of a name. Raises UserError if there is none."""
    found = next((kind for kind, theirs in names.items() if theirs == name), None)
    if found is None:
        raise UserError(f"{source} has {key}={shown(name)}, unknown here; there are {', '.join(names.values())}")
    return found
