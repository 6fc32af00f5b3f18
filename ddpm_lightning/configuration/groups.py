"""The groups of configurations, what each is for, and which of them a command takes."""

from collections.abc import Callable, Iterator
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from ddpm_lightning.errors import near_names

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())
"""The folder of the configurations. An installed package contains it; in a checkout it lies beside the package."""

GROUPS = {
    "callbacks": "what happens between training steps: average, checkpoints, pictures, measurements",
    "clipping": "how x̂_0 is clipped while sampling, if sampler.clip_x_0=true",
    "conditioning": "what the model is conditioned on: nothing, or the class of an image",
    "callbacks/ema": "the average of the weights that is sampled from and measured",
    "data": "the images, or two-dimensional points",
    "debug": "checks on a few images whether the network can learn",
    "evaluation": "how images are made for the metrics",
    "experiment": "a recipe, which makes several choices at once",
    "extractor": "the network whose features of images are compared",
    "figure": "the figures to draw: figure=[NAME,NAME]",
    "guidance": "how samples are guided towards their class, or away from a weaker model",
    "hparams_search": "a search for the options with the best objective=",
    "hydra/launcher": "where the jobs of a sweep run",
    "logger": "where numbers and pictures go; each but none writes metrics.csv",
    "loss": "the training objective (Eq. 5, 8, 12, 14, and later ones)",
    "lr_schedule": "how the learning rate falls after its warm-up",
    "metrics": "what to measure: metrics=[NAME,NAME]",
    "network": "the network that predicts from x_t and t",
    "optimizer": "the optimizer and its learning rate",
    "output": "how the images are written",
    "parameterization": "what the network predicts: ε, μ̃, x_0, v and others",
    "quality": "the distance between samples and data, measured during training",
    "row": "a row of the paper's Table 2",
    "lineage": "the choices of a paper since then",
    "sampler": "how images are drawn from noise (Algorithm 2, and faster samplers)",
    "sampler/spacing": "which of the T steps a sampler visits",
    "schedule": "β_1 … β_T, the noise of each step",
    "source": "the format of the weights to read",
    "study": "the runs of a sweep, and the folder that they share",
    "target": "the format of the weights to write",
    "task": "what the model is used for: images of its own, or a change or completion of given ones",
    "timesteps": "how t is drawn in training",
    "trainer": "devices, precision, number of steps",
    "variance": "σ_t², the variance of a reverse step (Section 3.2)",
    "variance/interpolation": "how a learned variance interpolates between β̃_t and β_t",
}


def groups_of(name: str) -> set[str]:
    """Returns the groups that a command takes: those in its defaults list, and the groups inside them."""
    tops = set(_groups_in(name))
    return {group for group in GROUPS if group in tops or group.partition("/")[0] in tops}


def _groups_in(name: str) -> Iterator[str]:
    """Yields the groups in a configuration's defaults list and in those of the configurations that it includes."""
    config = OmegaConf.load(CONF / f"{name}.yaml")
    if OmegaConf.select(config, "hydra.sweep"):
        yield "hydra/launcher"
    for entry in config.defaults:
        if isinstance(entry, str) and entry != "_self_":
            yield from _groups_in(entry)
        elif not isinstance(entry, str):
            (group,) = map(str, entry)
            name, _, package = group.rpartition(" ")[2].partition("@")  # without "optional"
            if package != "_global_":  # else one part of this command's own options, which nobody chooses
                yield name


def no_such_group(command: str, group: str) -> str:
    """Returns the error message for a group that belongs to other commands."""
    return f"this command takes no {group}=; its groups are {', '.join(sorted(groups_of(command)))}"


def misplaced_group(
    command: str, override: Override, options_of: Callable[[str], list[str]], options_with: Callable[[str], list[str]]
) -> str | None:
    """Returns the error message for an option that cannot choose from its group here; None if it can.

    Args:
        command: The name of the command.
        override: The option, such as "network=unet".
        options_of: Returns the options of a group.
        options_with: Returns those options of a group's parent that contain the group.
    """
    group = override.key_or_group
    parent = group.rpartition("/")[0]
    if group not in GROUPS:
        return None
    if group not in groups_of(command):
        return no_such_group(command, group)
    if not isinstance(override.value(), str | list | None):
        return f"{override.input_line} is no option; {group}= takes {', '.join(sorted(options_of(group)))}"
    if override.is_add():
        return added_twice(override)
    if parent and not override.package:
        return f"the chosen {parent}= takes no {group}=; {parent}={' or '.join(options_with(group))} does"
    return None


def added_twice(override: Override) -> str:
    """Returns the error message for an option with + whose key has a value already."""
    return (
        f"{override.key_or_group}= has a value already, which {override.input_line} cannot be added to; leave out the +"
    )


def no_such_option(error: MissingConfigException, options_of: Callable[[str], list[str]]) -> str:
    """Returns the error message for an option that its group lacks, with the nearest options of the group."""
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    options = sorted(options_of(group)) if group else []
    if not options:
        return str(error)
    near = near_names(name, options)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{group}={name} is no option; {hint}{group}= takes {', '.join(options)}"
