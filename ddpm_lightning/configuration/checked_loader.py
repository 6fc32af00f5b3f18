"""Checks every configuration that Hydra composes, because a configuration can come from anyone.

Hydra builds the callbacks, the logging and the launcher that a configuration names before it calls the command. A check
in the command would come too late.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from itertools import chain
from typing import Any, cast

from hydra.core.default_element import GroupDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from yaml import YAMLError

from ddpm_lightning.configuration.allowed_targets import check_buildable
from ddpm_lightning.configuration.flags import check_flags
from ddpm_lightning.configuration.groups import added_twice, misplaced_group, no_such_option
from ddpm_lightning.configuration.help import asks_for_help, help_template
from ddpm_lightning.configuration.option_names import check_names, unknown_option
from ddpm_lightning.configuration.quoting import check_named, how_to_quote
from ddpm_lightning.configuration.secrets import check_no_secrets, check_typed
from ddpm_lightning.errors import UserError, shown
from ddpm_lightning.runtime.private_parts import ConfigLoaderImpl, composing_with, without_hint_at_tracebacks
from ddpm_lightning.runtime.run_directory import RunDirectoryCheck
from ddpm_lightning.runtime.signals import exiting_on_ctrl_c, raise_on_ctrl_c

PLUGINS = ("launcher", "sweeper")
ADDED = ("hydra.mode=RUN", "hydra.mode=MULTIRUN")
"""The options that Hydra adds to those that were typed."""

BUILT = (*PLUGINS, "callbacks", "job_logging", "hydra_logging")
"""The keys of Hydra's own part of the configuration from which it builds objects."""

OUTWARD = re.compile(r"\$\{(?!hydra[.:])")
"""The start of an interpolation that leads out of Hydra's part."""

ONLY_TYPED = {"setup", "python", "srun_args", "additional_parameters", "custom_search_space", "base_url"}
"""Options that make a launcher run commands, a sweeper call a function, or W&B use another server."""

LOGGING = {f"logging.{name}" for name in ("StreamHandler", "FileHandler", "NullHandler", "Formatter")}
LOGGING |= {"colorlog.ColoredFormatter"}
"""The classes that the configuration of logging may name."""

STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}
"""The only values with ext:// that it may have, because logging imports whatever stands after that."""


def guarded(main: Callable[[], None]) -> Callable[[], None]:
    """Returns the function that hydra.main made, with a check of every configuration."""

    @wraps(main)
    def run() -> None:
        try:
            with composing_with(CheckedLoader), without_hint_at_tracebacks(), exiting_on_ctrl_c():
                check_flags()
                main()
        except BrokenPipeError:  # as in `python train.py --help | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except KeyboardInterrupt:  # before the command handles it, so there is nothing to save
            print("\nStopped.", file=sys.stderr)
            sys.exit(130)

    return run


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, with errors for configurations that hold secrets, run foreign code or have unknown options."""

    _composed: tuple[list[str], DictConfig | None] = [], None
    """Options, and the configuration that was composed of them to learn its mode."""

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        if config_name is None and not overrides:
            # Hydra's own method copies all loaded configurations each time, and --help calls it a hundred times.
            return list(self.repository.get_group_options(group_name, results_filter))
        return super().get_group_options(group_name, results_filter, config_name, overrides)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        if run_mode == RunMode.MULTIRUN:
            raise_on_ctrl_c()  # a launcher must end its processes
        try:
            check_named(overrides)
            check_typed(overrides)  # first, because Hydra's own errors repeat the options
            if not validate_sweep_overrides:  # Hydra wants to know hydra.mode, and ignores errors
                return self._composed_for_mode(config_name, overrides)
            cfg = self._composed_before(overrides) or super().load_configuration(
                config_name, overrides, run_mode, from_shell
            )
            self._check(cfg, config_name, overrides)
            if config_name and asks_for_help():
                cfg.hydra.help.template = help_template(config_name, cfg, self.get_group_options)
            if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) > 0:
                leave_to_the_first(cfg)
        except MissingConfigException as error:
            raise CompactHydraException(f"Error: {no_such_option(error, self.get_group_options)}") from error
        except OverrideParseException as error:
            raise CompactHydraException(f"Error: {how_to_quote(error)}") from error
        except UserError as error:
            raise CompactHydraException(f"Error: {error}") from error
        except (ConfigCompositionException, ValueError) as error:  # ValueError: as on `experiment=null`
            raise CompactHydraException(self._explained(error, config_name, overrides)) from error
        except YAMLError as error:
            raise CompactHydraException(f"Error: a file of the configuration is no YAML: {error}") from error
        except (AssertionError, AttributeError, KeyError) as error:
            typed = [each for each in overrides if each.lstrip("+~").startswith("hydra.") and each not in ADDED]
            if not typed:
                raise
            raise CompactHydraException(
                f"Error: Hydra cannot apply {' '.join(typed)}: {type(error).__name__}: {str(error).splitlines()[0]}"
            ) from error
        return cfg

    def _composed_for_mode(self, config_name: str | None, overrides: list[str]) -> DictConfig:
        """Returns the configuration from which Hydra reads hydra.mode, and caches it for `_composed_before`."""
        cfg = super().load_configuration(config_name, overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
        sweeps = any(each.is_sweep_override() for each in OverridesParser.create().parse_overrides(overrides))
        if not sweeps and not OmegaConf.missing_keys(cfg.hydra.runtime.choices):  # a run must have them all
            self._composed = list(overrides), cfg
        return cfg

    def _composed_before(self, overrides: list[str]) -> DictConfig | None:
        """Returns the cached configuration if it is that of these options, apart from hydra.mode=RUN; else None.

        Hydra asks for it to run the command, and would otherwise compose it a second time.
        """
        before, cfg = self._composed
        self._composed = [], None  # once, because the caller may change it
        if cfg is None or overrides not in (before, [*before, ADDED[0]]):
            return None
        for each in overrides[len(before) :]:
            cfg.hydra.mode = RunMode.RUN
            cfg.hydra.overrides.hydra.append(each)
        return cfg

    def _check(self, cfg: DictConfig, config_name: str | None, overrides: list[str]) -> None:
        """Raises UserError if a composed configuration holds secrets, runs foreign code or has unknown names."""
        config = OmegaConf.to_container(cfg, resolve=False)
        assert isinstance(config, dict)
        check_no_secrets(config)
        check_hydra(config["hydra"])
        check_only_typed(config, overrides)
        if any(each.startswith(("+", "~")) for each in overrides):
            check_names(str(config_name), overrides, config, self._known(config_name), self._groups(config_name))

    def _known(self, config_name: str | None, overrides: Sequence[str] = ()) -> dict[Any, Any]:
        """Returns the configuration with these options, or only with the choices of groups if one cannot be set."""
        try:
            cfg = super().load_configuration(config_name, list(overrides), RunMode.RUN)
        except CompactHydraException:
            cfg = super().load_configuration(config_name, self._choices_in(overrides), RunMode.RUN)
        return cast(dict[Any, Any], OmegaConf.to_container(cfg, resolve=False))

    def _choices_in(self, overrides: Sequence[str]) -> list[str]:
        """Returns those options that choose from a group, and have one value."""
        typed = OverridesParser.create().parse_overrides(list(overrides))
        chosen = (each for each in typed if not each.is_sweep_override())
        return [str(each.input_line) for each in chosen if self.repository.group_exists(each.key_or_group)]

    def _groups(self, config_name: str | None) -> set[str]:
        """Returns the groups that the command's own file names, including those without a chosen option."""
        file = self.repository.load_config(str(config_name))
        defaults = (file.defaults_list if file else None) or ()
        return {str(each.group) for each in defaults if isinstance(each, GroupDefault)}

    def _explained(self, error: Exception, config_name: str | None, overrides: list[str]) -> str:
        """Returns a sentence instead of Hydra's error about a name that cannot be set, with the nearest known names."""
        typed = OverridesParser.create().parse_overrides(overrides)
        path = getattr(error.__cause__, "full_key", None)
        if not path:
            options = self.get_group_options, self._options_with
            mistakes = (misplaced_group(str(config_name), each, *options) for each in typed)
            again = (added_twice(each) for each in typed if f"prefix: '{each.key_or_group}=" in str(error))
            return f"Error: {next(filter(None, chain(mistakes, again)), error)}"
        if not str(error).startswith("Could not override"):
            return f"Error: {error}\n{error.__cause__}"
        others = [each for each in overrides if not f"{each.partition('=')[0]}.".startswith(f"{path}.")]
        is_null = any(each.key_or_group == path and each.value() is None for each in typed)
        whole = next((each.key_or_group for each in typed if each.key_or_group.startswith(f"{path}.")), "")
        return f"Error: {unknown_option(path, self._known(config_name, others), is_null, whole)}"

    def _options_with(self, group: str) -> list[str]:
        """Returns the options of a group's parent that choose from the group: those of sampler for sampler/spacing."""
        parent, _, child = group.rpartition("/")
        files = {name: self.repository.load_config(f"{parent}/{name}") for name in self.get_group_options(parent)}
        return [
            name
            for name, file in files.items()
            if file and any(isinstance(each, GroupDefault) and each.group == child for each in file.defaults_list or ())
        ]

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        try:
            return self._checked_job(master_config, sweep_overrides)
        except CompactHydraException:
            RunDirectoryCheck.forget_unstarted()
            raise

    def _checked_job(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        cfg = super().load_sweep_config(master_config, sweep_overrides)
        if not OmegaConf.is_interpolation(master_config.hydra.sweep, "dir"):
            cfg.hydra.sweep.dir = master_config.hydra.sweep.dir  # the folder that the command made
        check_name(cfg.hydra)
        return cfg


NAME_MAX = 255
"""The most bytes that the name of a folder may have on common file systems."""


def check_name(hydra: DictConfig) -> None:
    """Raises CompactHydraException if the folder of a sweep's job would have a name that is too long."""
    name = hydra.job.override_dirname
    is_used = "override_dirname" in str(OmegaConf.to_container(hydra.sweep, resolve=False))
    if is_used and any(len(part.encode()) > NAME_MAX for part in name.split("/")):
        raise CompactHydraException(
            f"Error: the options of a job would name its folder, and are longer than the {NAME_MAX} bytes of a name "
            f"({shown(name)}); put those that all jobs share into a file of conf/experiment, or number the folders: "
            "hydra.sweep.subdir='${hydra.job.num}'"
        )


def leave_to_the_first(cfg: DictConfig) -> None:
    """Keeps a process that is not the first of torchrun's or srun's from writing .hydra and train.log."""
    with open_dict(cfg.hydra):
        cfg.hydra.output_subdir = None
        cfg.hydra.job_logging = {"version": 1, "root": {"level": "WARNING"}, "disable_existing_loggers": False}


def check_hydra(hydra: dict[str, Any]) -> None:
    """Raises UserError if Hydra's own part of a configuration, not resolved, would run foreign code."""
    check_buildable(hydra["callbacks"])
    if hydra["job"].get("env_set"):
        raise UserError("hydra.job.env_set would change the environment, PATH even; set it in your shell instead")
    for part in BUILT:
        for name, value in _leaves(hydra[part], f"hydra.{part}"):
            _check_leaf(name, value)


def check_only_typed(config: dict[Any, Any], overrides: list[str]) -> None:
    """Raises UserError if a file, not the command line, says which commands run or where keys are sent."""
    for name, value in _leaves(config, ""):
        keys = name.strip("/").split("/")
        option = next((".".join(keys[: i + 1]) for i, key in enumerate(keys) if key in ONLY_TYPED), None)
        if option and value is not None and not any(each.lstrip("+").startswith(f"{option}=") for each in overrides):
            raise UserError(f"{option} stands in a file, which could run or reach anything; type it as an option")


def _check_leaf(name: str, value: Any) -> None:
    if isinstance(value, str) and OUTWARD.search(value):
        raise UserError(f"{name}={value} would be resolved after it was checked; write out what it stands for")
    key = name.rpartition("/")[2]
    is_plugin = name in {f"hydra.{part}/_target_" for part in PLUGINS}  # Hydra looks for them only among plugins
    if key == "_target_" and not is_plugin:
        check_buildable({"_target_": value})
    if key in ("class", "()") and value not in LOGGING:
        raise UserError(f"{name}={value} would build what is no handler or formatter of logging; leave it out")
    if isinstance(value, str) and value.startswith("ext://") and value not in STREAMS:
        raise UserError(f"{name}={value} would import a module; use {' or '.join(sorted(STREAMS))}")


def _leaves(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yields every value in a node, with its path."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(value, f"{name}/{key}")
    else:
        yield name, node
