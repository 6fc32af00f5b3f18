"""Messages about wrong options name the whole key, the allowed values, and what to type instead."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ddpm_lightning.configuration.arguments import described
from ddpm_lightning.configuration.build import make, make_with
from ddpm_lightning.configuration.flags import FLAGS
from ddpm_lightning.configuration.groups import GROUPS, groups_of, misplaced_group
from ddpm_lightning.configuration.option_names import unknown_option
from ddpm_lightning.configuration.other_names import OTHER_NAMES
from ddpm_lightning.errors import UserError, nearest
from ddpm_lightning.runtime.private_parts import get_args_parser
from tests.commands import ROOT, SMALL, error_of
from tests.configuration.test_options import EVERY_COMMAND

SCHEDULES = "ddpm_lightning.diffusion.schedules"
CHECKPOINT = "checkpoint=/there/is/none.ckpt"
Composed = Callable[..., dict[str, Any]]


@pytest.fixture
def composed() -> Composed:
    """Composes the configuration of a command with options."""

    def compose_with(script: str, *typed: str) -> dict[str, Any]:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = OmegaConf.to_container(compose(script, list(typed), return_hydra_config=True), resolve=False)
        assert isinstance(config, dict)
        config["hydra"].pop("overrides")
        config["hydra"]["job"].pop("override_dirname")
        return {str(key): value for key, value in config.items()}

    return compose_with


# Whole keys


def nodes() -> list[tuple[str, dict[str, Any]]]:
    """Every option file that builds an object from numbers, with the key under which its group stands."""
    found = []
    for group in ("schedule", "variance", "loss", "sampler", "sampler/spacing", "timesteps", "metrics", "figure"):
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            node = OmegaConf.to_container(OmegaConf.create({"seed": 0, "node": OmegaConf.load(path)}))["node"]  # type: ignore[index, call-overload]
            if node.pop("defaults", None):  # a part of which the defaults name the class is not built alone
                node = {name: value for name, value in node.items() if not isinstance(value, dict)}
            if "_target_" in node:
                found.append((group.replace("/", "."), node))
    return found


@pytest.mark.parametrize(("key", "node"), nodes(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_value_of_the_wrong_kind_is_named_by_its_whole_key(key: str, node: dict[str, Any]) -> None:
    for name, value in node.items():
        if isinstance(value, int | float):
            with pytest.raises(UserError, match=rf"(?<![\w.]){re.escape(key)}\.{name}=wrong\b"):
                make({**node, name: "wrong"}, key=key)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": f"{SCHEDULES}.LinearSchedule", "beta_1": 0.5}, "k.beta_1=0.5 is greater than k.beta_T=0.02"),
        ({"_target_": f"{SCHEDULES}.LinearSchedule", "beta_2": 0.5}, "k.beta_2 is no option: .* takes T, beta_1"),
        ({"_target_": "torch.optim.Adam", "lr": "x", "_partial_": True}, "k.lr=x does not fit, because k.lr takes"),
        ({"_target_": "torch.nn.Linear"}, "'torch.nn.Linear', which is neither"),
        (3, "k=3 cannot be built"),
    ],
)
def test_whole_keys_in_all_that_building_refuses(node: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make(node, key="k")


def test_parts_that_are_given_are_named_by_their_whole_keys() -> None:
    with pytest.raises(UserError, match=r"k\.T follows from the rest of the configuration; leave it out"):
        make_with({"_target_": f"{SCHEDULES}.LinearSchedule", "T": 8}, "k", T=8)
    with pytest.raises(UserError, match=r"k\.T=1 is not a whole number of at least 2"):
        make_with({"_target_": f"{SCHEDULES}.LinearSchedule", "T": 1}, "k")


@pytest.mark.parametrize(
    ("script", "typed", "words"),
    [
        ("train", "trainer.max_steps=abc", "trainer.max_steps=abc does not fit, because trainer.max_steps takes a"),
        ("train", "sampler.spacing=leading", "choose an option of the group with sampler/spacing=leading"),
        ("train", "metrics=[bpd] evaluation.num_images=abc", " evaluation.num_images=abc is not a whole number"),
        ("figure", f"{CHECKPOINT} figure=[lossy_coding] figure.lossy_coding.t=7", "write figure.lossy_coding.t=[7]"),
    ],
)
def test_commands_name_whole_keys(
    script: str, typed: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*(SMALL if script == "train" else ()), f"hydra.run.dir={tmp_path}", *typed.split()]
    assert words in error_of(capsys, script, *options)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (float | None, "a number or null"),
        (list[int], "a list of whole numbers"),
        (tuple[int, float], "[a whole number, a number]"),
        (bool, "true or false"),
    ],
)
def test_annotations_in_words(hint: Any, words: str) -> None:
    assert described(hint) == words


def test_at_most_three_names_are_near_the_nearest_first() -> None:
    assert nearest("step", ["stop", "steep", "stem", "steps"]) == "did you mean steps or steep or stop?"
    assert nearest("lossy", ["glossy", "lossy_coding"]) == "did you mean glossy or lossy_coding?"
    assert nearest("x", ["steps", "stop"]) == "choose one of steps, stop"


# Groups


@pytest.mark.parametrize("script", EVERY_COMMAND)
def test_every_group_of_other_commands_is_refused_with_the_groups_of_this_one(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = groups_of(script)
    monkeypatch.setattr("ddpm_lightning.configuration.groups.groups_of", lambda _: own)  # which reads files
    for group in GROUPS.keys() - own:
        for override in OverridesParser.create().parse_overrides([f"{group}=any", f"+{group}=any", f"~{group}"]):
            words = misplaced_group(script, override, lambda _: [], lambda _: [])
            assert words == f"this command takes no {group}=; its groups are {', '.join(sorted(own))}"


@pytest.mark.parametrize(
    ("script", "typed", "words"),
    [
        ("evaluate", "logger=none", "this command takes no logger=; its groups are clipping, extractor, guidance, "),
        (
            "evaluate",
            "evaluation=default",
            "this command takes no evaluation=; its groups are clipping, extractor, guidance, ",
        ),
        ("figure", "+evaluation=default", "this command takes no evaluation=; its groups are clipping, extractor, "),
        ("sample", "+data=fake", "this command takes no data=; its groups are clipping, guidance, output, sampler"),
        ("train", "schedule=3", "schedule=3 is no option; schedule= takes constant, cosine"),
        ("train", "variance/interpolation=sigmoid", "variance=learned_range or learned_sigmoid does"),
    ],
)
def test_a_group_that_has_no_place(script: str, typed: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in error_of(capsys, script, typed)


def test_an_added_group_that_has_a_value() -> None:
    (override,) = OverridesParser.create().parse_overrides(["+schedule=cosine"])
    assert "leave out the +" in str(misplaced_group("train", override, lambda _: [], lambda _: []))


def test_a_callback_that_only_some_data_bring_can_be_left_out_with_all(composed: Composed) -> None:
    without = composed("train", "data=fake")
    assert composed("train", "data=fake", "callbacks.quality=null") == without
    assert "callbacks.quality is null" in str(unknown_option("callbacks.quality.num_images", without, is_null=False))
    said = str(unknown_option("logger.wandb", composed("train", "logger=csv"), is_null=True))
    assert said == "logger.wandb=null leaves nothing out: logger has no wandb, but csv"


# Names of other projects


@pytest.mark.parametrize(
    ("script", "names"),
    [
        (
            "train",
            {
                "ckpt_path": "init_from",
                "module.gradient_clip": "module.max_grad_norm",
                "lr": "optimizer.lr",
                "batch_size": "data.batch_size",
                "max_epochs": "trainer.max_steps",
                "trainer.gpus": "trainer.devices",
                "steps": "trainer.max_steps or sampler.num_steps",
                "ema_decay": "callbacks.ema.decay",
            },
        ),
        ("sample", {"ckpt_path": "checkpoint", "steps": "sampler.num_steps"}),
        ("train_classifier", {"learning_rate": "lr", "epochs": "steps"}),
    ],
)
def test_names_of_other_projects(script: str, names: dict[str, str], composed: Composed) -> None:
    config = composed(script)
    for name, likely in names.items():
        assert f"did you mean {likely}" in str(unknown_option(name, config, is_null=False))


def test_commands_know_the_names_of_other_projects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", "+trainer.gpus=1")
    assert "trainer.gpus is no option of this command; did you mean trainer.devices?" in said
    said = error_of(capsys, "train", "+ckpt_path=X")
    assert "did you mean init_from? " in said
    assert "to resume a run, repeat its options with hydra.run.dir=RUN" in said


def test_every_option_that_is_suggested_can_be_typed(composed: Composed) -> None:
    typed: dict[str, dict[str, Any]] = {
        "sample": {"checkpoint": "a", "num_images": 7},
        "train_classifier": {"steps": 7, "lr": 7},
        "train": {"data": "image_folder", "data.root": "a", "schedule": "cosine", "network": "small"},
    }
    typed["train"] |= dict.fromkeys(OTHER_NAMES.keys() - set().union(*typed.values()), 7)
    for script, options in typed.items():
        config = composed(script, *(f"{key}={value}" for key, value in options.items()))
        for key in options.keys() - GROUPS.keys():
            assert OmegaConf.select(OmegaConf.create(config), key) in (options[key], "7")


# Flags, and what Hydra adds


def test_a_flag_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(capsys, "train", "--multirn")
    assert "--multirn is no flag; did you mean --multirun?" in said
    assert "experimental-rerun" not in said
    assert "give all flags first" in error_of(capsys, "train", "seed=1", "-m", "loss=elbo,simple")
    for flag in FLAGS:
        assert flag in get_args_parser().format_usage()


@pytest.mark.parametrize("flags", [["--run", "-m"], ["-m", "--cfg", "job"]])
def test_flags_that_exclude_each_other(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "exclude each other; give one of them" in error_of(capsys, "train", *flags)


@pytest.mark.parametrize("typed", ["hydra.job.env_copy=[NOSUCH]", "+hydra.sweeper.params.seed=[1,2]"])
def test_what_hydra_itself_fails_at(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"Error: Hydra cannot apply {typed}: " in error_of(capsys, "train", typed)


def test_a_file_that_is_no_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "broken.yaml").write_text("a: [")
    said = error_of(capsys, "train", f"--config-dir={tmp_path}", "experiment=broken")
    assert "a file of the configuration is no YAML" in said
    assert "broken.yaml" in said


def test_a_mistake_is_shown_alone_and_the_traceback_if_it_is_asked_for() -> None:
    run = [sys.executable, "train.py", "sed=1"]
    shown = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    assert shown.stderr == "Error: sed is no option of this command; did you mean seed? (--help lists them)\n"
    full = {"env": {"HYDRA_FULL_ERROR": "1"}}
    assert "Traceback" in subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, **full).stderr
