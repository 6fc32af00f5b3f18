"""A configuration is data: what a shared one names runs only if it is this project's or a library's that it uses."""

import json
from pathlib import Path
from typing import Any

import pytest

from ddpm_lightning.configuration.allowed_targets import TRUST, check_buildable, check_model_parts
from ddpm_lightning.configuration.build import make
from ddpm_lightning.configuration.checked_loader import check_only_typed
from ddpm_lightning.errors import UserError
from tests.commands import SMALL, error_of

EVIL = "import pathlib; pathlib.Path('{path}').touch()"

REFUSED = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "functools.partial",
    "hydra.utils.get_method",
    "hydra.utils.instantiate",
    "ddpm_lightning.configuration.build.instantiate",
    "ddpm_lightning.data.digits.torch.load",
    "ddpm_lightning.data.digits.torch.optim.Adam",
    "ddpm_lightning.configuration.build.make.__globals__",
    "ddpm_lightning.data.digits.DigitsDataModule.load",
    "ddpm_lightning",
    "ddpm_lightning_of_mine.Evil",
    "torch.optim.adam.torch.load",
    "torch.optim.lr_scheduler.partial",
    "torch.load",
    "wandb.login",
    "wandb.Artifact",
    "datetime.sys.exit",
    "lightning.pytorch.Trainer.fit",
    "",
    ".",
    7,
    None,
    ["os.system"],
    "${oc.env:EVIL}",
]


@pytest.mark.parametrize("target", REFUSED, ids=str)
def test_what_nobody_vouches_for_is_refused(target: Any) -> None:
    with pytest.raises(UserError):
        check_buildable({"_target_": target})
    with pytest.raises(UserError):
        check_model_parts({"_target_": target}, "a file")


@pytest.mark.parametrize(
    "target",
    [
        "ddpm_lightning.diffusion.schedules.LinearSchedule",
        "ddpm_lightning.training.trainer.make_trainer",
        "ddpm_lightning.diffusion.timesteps.bound_weight",
        "torch.optim.AdamW",
        "torch.optim.lr_scheduler.CosineAnnealingLR",
        "wandb.Settings",
        "datetime.timedelta",
        "lightning.pytorch.callbacks.LearningRateMonitor",
        "lightning.pytorch.loggers.CSVLogger",
        "lightning.pytorch.strategies.DDPStrategy",
    ],
)
def test_parts_and_the_libraries_classes_are_built(target: str) -> None:
    check_buildable({"_target_": target})


def test_a_checkpoint_names_models_parts_alone() -> None:
    check_model_parts({"_target_": "ddpm_lightning.networks.unet.UNet"}, "a file")
    for target in ("torch.optim.Adam", "ddpm_lightning.training.trainer.make_trainer", "tests.moments.Spoil"):
        with pytest.raises(UserError, match="no part of a model"):
            check_model_parts({"_target_": target}, "a file")


def test_a_checkpoint_names_networks_of_trusted_packages_too(monkeypatch: pytest.MonkeyPatch) -> None:
    network = {"_target_": "tests.networks.zoo.Tied"}
    check_model_parts(network, "a file")
    for other in (
        "tests.networks.zoo.convolution",
        "tests.networks.zoo.nn.Conv2d.forward",
        "tests.networks.zoo.Nothing",
    ):
        with pytest.raises(UserError, match="no part of a model"):
            check_model_parts({"_target_": other}, "a file")
    monkeypatch.setenv(TRUST, "")
    with pytest.raises(UserError, match=f"{TRUST}=tests"):
        check_model_parts(network, "a file")


@pytest.mark.parametrize(
    "hidden",
    [
        {"_args_": [{"_target_": "os.system", "command": "true"}]},
        {"deep": [[{"er": ({"_target_": "os.system"},)}]]},
        {"_recursive_": False, "node": {"_target_": "os.system"}},
        {"_partial_": True, "loss": {"_target_": "os.system", "_partial_": True}},
        {"later": "${oc.create:{_target_:os.system}}"},
        {"later": "${..elsewhere}"},
    ],
)
def test_a_target_is_found_wherever_it_hides(hidden: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        make({"_target_": "ddpm_lightning.diffusion.losses.Simple", **hidden})


def test_a_module_that_is_not_trusted_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_module.py").write_text(EVIL.format(path=tmp_path / "ran"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"{TRUST}=evil_module"):
        check_buildable({"_target_": "evil_module.Evil"})
    assert not (tmp_path / "ran").exists()


def test_trust_is_given_by_the_environment_package_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "mine, other")
    check_buildable([{"_target_": "mine.Part"}, {"_target_": "other.deep.function"}])
    for target in ("mines.Part", "os.system", ""):
        with pytest.raises(UserError):
            check_buildable({"_target_": target})
    monkeypatch.setenv(TRUST, "")
    with pytest.raises(UserError):
        check_buildable({"_target_": "mine.Part"})


TOUCH = {"_target_": "os.system", "command": "touch RAN"}
LOUD = {"_target_": "subprocess.Popen", "args": ["touch", "RAN"]}
HANDLER = {"class": "subprocess.Popen", "args": ["touch", "RAN"]}

SHARED: dict[str, tuple[str, Any]] = {
    "the optimizer": ("optimizer", {**TOUCH, "_partial_": True}),
    "deep in the network": ("network", {"_target_": "ddpm_lightning.networks.unet.UNet", "x": TOUCH}),
    "a callback": ("callbacks", {"evil": TOUCH}),
    "by way of an interpolation": ("callbacks", {"evil": {**TOUCH, "_target_": "${oc.decode:os.system}"}}),
    "a callback of Hydra": ("experiment", {"hydra": {"callbacks": {"evil": TOUCH}}}),
    "in place of Hydra's check": ("experiment", {"hydra": {"callbacks": {"run_dir": LOUD}}}),
    "a callback that is resolved later": ("experiment", {"hydra": {"callbacks": {"evil": "${bad}"}}, "bad": LOUD}),
    "a handler of logging": ("experiment", {"hydra": {"job_logging": {"handlers": {"evil": HANDLER}}}}),
    "a formatter": ("experiment", {"hydra": {"hydra_logging": {"formatters": {"evil": {"()": "os.system"}}}}}),
    "a stream of logging": (
        "experiment",
        {"hydra": {"job_logging": {"handlers": {"file": {"stream": "ext://evil.x"}}}}},
    ),
    "logging that is resolved later": (
        "experiment",
        {"hydra": {"job_logging": {"handlers": {"evil": "${bad}"}}}, "bad": HANDLER},
    ),
    "the launcher": ("experiment", {"hydra": {"mode": "MULTIRUN", "launcher": LOUD}}),
    "inside the launcher": ("experiment", {"hydra": {"mode": "MULTIRUN", "launcher": {"x": TOUCH}}}),
    "the environment": ("experiment", {"hydra": {"job": {"env_set": {TRUST: "os"}}}, "optimizer": TOUCH}),
}


REFUSALS = (
    "asks to build",
    "would import a module",
    "would change the environment",
    "would build what is no handler",
    "would be resolved",
)
REFUSALS += ("has an unresolved", "raised while composing config")  # the latter are Hydra's own words


@pytest.mark.parametrize("where", SHARED)
def test_a_shared_configuration_runs_nothing(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group, node = SHARED[where]
    ran = tmp_path / "ran"
    (tmp_path / "shared" / group).mkdir(parents=True)
    header = "# @package _global_\n" if group == "experiment" else ""
    content = header + json.dumps(node).replace("RAN", str(ran))  # JSON is YAML
    (tmp_path / "shared" / group / "evil.yaml").write_text(content)
    rest = [override for override in SMALL if not override.startswith((group, "callbacks"))]
    monkeypatch.chdir(tmp_path)  # below which the default folders of a run and of a sweep lie
    said = error_of(capsys, "train", "--config-dir", str(tmp_path / "shared"), *rest, f"{group}=evil")
    assert any(words in said for words in REFUSALS), said
    assert not ran.exists()
    assert not list(tmp_path.rglob("checkpoints"))


@pytest.mark.parametrize(
    "node",
    [
        {"hydra": {"launcher": {"setup": ["touch RAN"]}}},
        {"logger": {"wandb": {"settings": {"base_url": "https://elsewhere"}}}},
    ],
)
def test_what_runs_commands_or_takes_keys_must_be_typed(
    node: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "evil.yaml").write_text("# @package _global_\n" + json.dumps(node))
    more = ["hydra/launcher=submitit_slurm", "logger=wandb_offline", "experiment=evil"]
    said = error_of(capsys, "train", "--config-dir", str(tmp_path), f"hydra.run.dir={tmp_path}/run", *more)
    assert "stands in a file" in said


@pytest.mark.parametrize(
    "target", ["runtime.results.write_results", "runtime.signals.requeue", "atomic_files.write_text"]
)
def test_our_functions_that_write_or_run_are_not_built(target: str) -> None:
    with pytest.raises(UserError, match="asks to build"):
        check_buildable({"_target_": f"ddpm_lightning.{target}"})


def test_a_function_that_a_sweeper_would_call_must_be_typed() -> None:
    config = {"hydra": {"sweeper": {"custom_search_space": "evil.function"}}}
    with pytest.raises(UserError, match="custom_search_space stands in a file"):
        check_only_typed(config, [])
    check_only_typed(config, ["hydra.sweeper.custom_search_space=evil.function"])
