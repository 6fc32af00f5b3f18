"""What a resume compares: every key of the configuration makes another run, may change, or cannot matter."""

import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ddpm_lightning.errors import UserError
from ddpm_lightning.runtime.results import write_results
from ddpm_lightning.training.checkpoint import CONFIG, read_checkpoint
from ddpm_lightning.training.loggers.metrics_csv import read_rows
from ddpm_lightning.training.run_results import reason_of_divergence
from ddpm_lightning.training.same_run import (
    EFFECTS,
    Difference,
    Effect,
    check_allowed,
    check_same_run,
    earlier_fingerprint,
    effect_of,
    fingerprint,
    normalized,
)
from ddpm_lightning.training.trainer import OWN_OPTIONS, PASSED_ON
from tests.cli.test_train import STATE, same
from tests.commands import SMALL, command, error_of, results, train
from tests.configuration.test_choices import composed
from tests.conftest import ROOT

CONF = ROOT / "conf"
OF_OTHER_COMMANDS = {"clipping", "guidance", "figure", "output", "source", "target", "task", "hydra"}
FILES = [
    path
    for path in [CONF / "train.yaml", *sorted(CONF.glob("*/**/*.yaml"))]
    if path.relative_to(CONF).parts[0] not in OF_OTHER_COMMANDS
]


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its key, such as callbacks.ema.decay."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif key:
        yield key, node


def keys_of(path: Path) -> list[str]:
    """The keys that a file of conf/ gives to train.py's configuration."""
    text = path.read_text()
    package = re.match(r"# @package (\S+)", text)
    group = ".".join(path.parent.relative_to(CONF).parts)
    prefix = {"_global_": ""}.get(package[1], package[1]) if package else group
    node = {name: value for name, value in (yaml.safe_load(text) or {}).items() if name not in ("defaults", "hydra")}
    return [key for key, _ in leaves(node, prefix)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_key_of_every_option_is_classified(path: Path) -> None:
    unknown = [key for key in keys_of(path) if effect_of(key) is None]
    assert not unknown, f"say in training/same_run.py whether a resume may change {unknown}"


def test_a_new_key_would_be_unknown_and_no_entry_is_superfluous() -> None:
    assert [effect_of(key) for key in ("new", "trainer.new", "callbacks.new.every_n_steps")] == [None] * 3
    known = {key for path in FILES for key in keys_of(path)} | {"optimizer.foreach"}
    known |= {f"trainer.{option}" for option in OWN_OPTIONS | PASSED_ON}
    known |= {".".join(parts[:i]) for parts in (key.split(".") for key in known) for i in range(1, len(parts))}
    assert not EFFECTS.keys() - known


def compared(before: dict[str, Any], now: dict[str, Any]) -> list[Difference]:
    """What a resume with the second configuration of a run with the first one makes of them."""
    return check_same_run({CONFIG: before, "optimizer_states": []}, now, Path("last.ckpt"))


def changed(config: dict[str, Any], key: str) -> dict[str, Any]:
    """The configuration with another value there."""
    other = copy.deepcopy(config)
    *above, name = key.split(".")
    node = other
    for part in above:
        node = node[part]
    node[name] = "32-true" if key == "trainer.precision" else f"not {node[name]}"
    return other


@pytest.mark.parametrize("options", [["trainer=ddp_cpu", "trainer.precision=bf16-mixed"], ["experiment=cifar10"]])
def test_a_resume_with_any_other_key_is_refused_or_told_or_silent(options: list[str]) -> None:
    config = normalized(composed(*options, "trainer.precision=bf16-mixed"))
    for key, _ in leaves(config):
        other, effect = changed(config, key), effect_of(key)
        if effect is Effect.ANOTHER_RUN:
            with pytest.raises(UserError, match=rf"another {re.escape(key.removesuffix('._target_'))} \("):
                compared(config, other)
        elif not key.endswith("_target_"):
            told = [each.key for each in compared(config, other)]
            assert told == ([key] if effect is Effect.MAY_CHANGE else [])


FAST = ["callbacks.grid=null", "callbacks.strip=null", "callbacks.bound=null", "module.test_strata=2"]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of four steps."""
    return train(tmp_path_factory.mktemp("half"), "trainer.max_steps=2", plots=True)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("callbacks.ema.decay=0.9", "another callbacks.ema.decay (0.995) than this one's (0.9)"),
        ("callbacks.ema=null", "another callbacks.ema (EMA) than this one's (null)"),
        ("trainer.precision=bf16-mixed", 'another trainer.precision ("32-true") than this one\'s ("bf16-mixed")'),
        ("module.max_grad_norm=2", "another module.max_grad_norm (1.0) than this one's (2)"),
        ("optimizer.eps=1e-6", "another optimizer.eps (1e-08) than this one's (1e-06)"),
        ("+optimizer.weight_decay=0.1", "another optimizer.weight_decay (0) than this one's (0.1)"),
        ("schedule=cosine", "another schedule (LinearSchedule) than this one's (CosineSchedule)"),
        ("seed=1", "another seed (0) than this one's (1), and another "),
    ],
)
def test_a_resume_that_would_mix_two_runs_is_refused(
    half: Path, option: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (half / "checkpoints" / "last.ckpt").read_bytes()
    said = error_of(capsys, "train", f"hydra.run.dir={half}", *SMALL, option)
    assert words in said
    assert "give that run's options to resume it, " in said
    assert "or another hydra.run.dir to start a new run" in said
    key = option.partition("=")[0].lstrip("+")
    assert (f"resume.allow=[{key}" in said) is (key not in ("callbacks.ema", "schedule"))
    assert (half / "checkpoints" / "last.ckpt").read_bytes() == before


ROUNDING = ["optimizer.fused=false", "trainer.accumulate_grad_batches=2"]
OTHERWISE = [
    *(*ROUNDING, "sampler=ddim", "sampler.num_steps=4", "module.max_skipped=3", "module.test_strata=2"),
    *("callbacks.metrics.every_n_steps=2", "callbacks.loss_by_t.every_n_steps=1", "callbacks.loss_by_t.bins=4"),
    *("callbacks.bound.every_n_steps=1", "callbacks.bound.num_images=4", "callbacks.bound.strata=3"),
    *("callbacks.bound.raw=true", "callbacks.grid.every_n_steps=1", "callbacks.grid.num_images=2"),
    *("callbacks.grid.num_steps=3", "callbacks.strip=null", "callbacks.schedule_plot=null"),
    *("callbacks.loss_curve=null", "callbacks.checkpoint.every_n_steps=3", "callbacks.progress=null"),
    *("callbacks.checkpoint.keep_every=2", "callbacks.checkpoint.best=val/bpd_beta"),
    *("network.activation_checkpointing=true", "data.eval_batch_size=3", "evaluation.num_images=7"),
    *("inception_weights=nowhere", "extractor=digits", "objective=test/bpd_beta_estimate"),
]
"""Another value of every key that may be changed, but for what rounds otherwise or needs other machines."""

ELSEWHERE = {"run_dir", "trainer.run_dir", "trainer.max_steps", "trainer.accelerator", "trainer.devices", "compile"}
ELSEWHERE |= {
    "trainer.strategy",
    "trainer.num_nodes",
    "resume.allow",
    "callbacks.quality",  # null with these data
    "data.num_workers",
}  # tests/cli/test_train.py


def test_what_may_change_leaves_weights_average_and_optimizer_as_they_would_be(half: Path, tmp_path: Path) -> None:
    """To the last bit, but for what only rounds otherwise."""
    whole, other = (
        train(tmp_path / "whole", "callbacks.strip=null", plots=True),
        shutil.copytree(half, tmp_path / "other"),
    )
    train(other, *(option for option in OTHERWISE if option not in ROUNDING), plots=True)
    checkpoints = [checkpoint_of(run) for run in (whole, other)]
    for key in STATE:
        same(checkpoints[0][key], checkpoints[1][key], key)
    config = checkpoints[0][CONFIG]
    changeable = {key for key, _ in leaves(config) if effect_of(key) is not Effect.ANOTHER_RUN} - ELSEWHERE
    typed = {option.partition("=")[0] for option in OTHERWISE}
    assert not {key for key in changeable if not is_seed_or_class(key) and not is_below(typed, key)}
    check_history(checkpoints[1]["history"], results(other)["history"])
    assert {row["step"] for row in read_rows(other / "metrics.csv") if row.get("val/bpd_beta")} >= {"3", "4"}


def is_below(keys: set[str], key: str) -> bool:
    return any(f"{key}.".startswith(f"{each}.") for each in keys)


def is_seed_or_class(key: str) -> bool:
    return key.endswith((".seed", "._target_")) or key.startswith(("evaluation.", "logger"))


def check_history(kept: list[dict[str, Any]], reported: list[dict[str, Any]]) -> None:
    assert kept == reported
    assert {event["step"] for event in kept} == {2}
    changes = {event["key"]: (event["before"], event["now"]) for event in kept}
    assert changes["trainer.max_steps"] == (2, 4)
    assert changes["callbacks.bound.strata"] == (2, 3)
    assert changes["callbacks.strip"][1] is None
    assert "data.eval_batch_size" not in changes


def checkpoint_of(run: Path) -> dict[str, Any]:
    return read_checkpoint(run / "checkpoints" / "last.ckpt")


def moved(run: Path, since: Path) -> torch.Tensor:
    """How far each weight has moved."""
    after, before = (checkpoint_of(each)["state_dict"] for each in (run, since))
    return torch.cat([(after[name] - before[name]).double().flatten() for name in before if name != "skipped"])


def test_a_learning_rate_that_is_allowed_to_change_is_used_from_there_on_and_recorded(
    half: Path, tmp_path: Path
) -> None:
    """Adam's step is proportional to the learning rate, and nothing else in it depends on the rate."""
    slow, fast = (shutil.copytree(half, tmp_path / name) for name in ("slow", "fast"))
    train(slow, *FAST, "trainer.max_steps=3")
    train(fast, *FAST, "trainer.max_steps=3", "optimizer.lr=8e-3", "resume.allow=[optimizer.lr]")
    assert torch.allclose(moved(fast, half), 8 * moved(slow, half), rtol=1e-3, atol=1e-7)
    event = {"step": 2, "key": "optimizer.lr", "before": 1e-3, "now": 8e-3}
    assert event in results(fast)["history"]
    assert [float(row["train/lr"]) for row in read_rows(fast / "metrics.csv") if row["train/lr"]][-1] == 8e-3
    train(fast, *FAST, "optimizer.lr=8e-3")  # for now it is this run's
    assert event in (kept := checkpoint_of(fast))["history"]
    assert [each["key"] for each in kept["history"]].count("optimizer.lr") == 1
    assert kept["optimizer_states"][0]["param_groups"][0]["lr"] == 8e-3


def test_a_learning_rate_is_changed_within_its_warm_up(tmp_path: Path) -> None:
    options = ["module.warmup_steps=8", *FAST]
    train(tmp_path, *options, "trainer.max_steps=2")
    train(tmp_path, *options, "optimizer.lr=8e-3", "resume.allow=[optimizer.lr]")
    rates = [float(row["train/lr"]) for row in read_rows(tmp_path / "metrics.csv") if row["train/lr"]]
    assert rates == pytest.approx([1e-3 / 8, 2e-3 / 8, 3e-3, 4e-3])


@pytest.mark.slow
def test_other_options_of_the_optimizer_are_changed_too(half: Path, tmp_path: Path) -> None:
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    allowed = "resume.allow=[optimizer.weight_decay,module.max_grad_norm,callbacks.ema.decay]"
    train(
        tmp_path, *FAST, "+optimizer.weight_decay=0.1", "module.max_grad_norm=0.5", "callbacks.ema.decay=0.5", allowed
    )
    assert checkpoint_of(tmp_path)["optimizer_states"][0]["param_groups"][0]["weight_decay"] == 0.1
    assert {"optimizer.weight_decay", "module.max_grad_norm", "callbacks.ema.decay"} <= {
        event["key"] for event in results(tmp_path)["history"]
    }


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("resume.allow=[optimizer.rl]", "resume.allow names optimizer.rl, which is not a key of the configuration"),
        ("resume.allow=[optimizer.lr.x]", "resume.allow names optimizer.lr.x, which is not a key"),
        ("resume.allow=optimizer.lr", "resume.allow=optimizer.lr is not a list of keys"),
    ],
)
def test_what_is_allowed_must_be_there(
    option: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL, option)


def test_a_part_cannot_be_exchanged_in_the_middle(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["callbacks.ema=null", "resume.allow=[callbacks.ema]"]
    said = error_of(capsys, "train", f"hydra.run.dir={half}", *SMALL, *options)
    assert "another callbacks.ema (EMA) than this one's (null)" in said


def test_a_converted_checkpoint_is_no_run_to_resume(
    half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    command("convert", f"source.path={half}/checkpoints/last.ckpt", f"target.path={path}")
    said = error_of(capsys, "train", f"hydra.run.dir={tmp_path}", *SMALL)
    assert f"{path} was written by convert.py: it has weights, but no optimizer" in said
    assert f"init_from={path} and another hydra.run.dir" in said


def test_a_checkpoint_older_than_an_option_has_its_default() -> None:
    config = normalized(composed())
    older = copy.deepcopy(config)
    del older["network"]["activation_checkpointing"], older["network"]["dropout"], older["optimizer"]["eps"]
    older["trainer"]["precision"] = "auto"
    del older["init_from"], older["init_use_ema"], older["resume"]
    assert compared(older, config) == []
    assert fingerprint(normalized(older)) == fingerprint(config)
    config["network"]["dropout"] = 0.1
    with pytest.raises(UserError, match=r"another network.dropout \(0.0\) than this one's \(0.1\)"):
        compared(older, config)


def test_a_number_that_is_none_is_the_same_number() -> None:
    config = {**composed(), "callbacks": {"ema": {"decay": float("nan")}}}
    assert compared(config, normalized(copy.deepcopy(config))) == []


@pytest.mark.parametrize("kept", [fingerprint, earlier_fingerprint])
def test_a_run_that_diverged_is_known_again_and_one_with_other_choices_is_not(kept: Any, tmp_path: Path) -> None:
    config = {**normalized(composed("trainer.precision=32-true")), "run_dir": str(tmp_path)}
    write_results(tmp_path / "results.json", {"diverged": {"reason": "why", "of": kept(config)}})
    assert reason_of_divergence(changed(config, "callbacks.grid.num_images")) == "why"
    assert reason_of_divergence({**config, "seed": 1}) is None


def test_another_precision_is_another_try() -> None:
    one, other = (composed(f"trainer.precision={precision}") for precision in ("32-true", "bf16-mixed"))
    assert fingerprint(one) != fingerprint(other)


def test_the_fingerprint_of_version_0_1_is_what_it_was() -> None:
    """Computed by that version's code."""
    loss = {"_target_": "ddpm_lightning.diffusion.losses.Simple"}
    config = {"seed": 0, "loss": loss, "data": {"root": "anywhere", "flip": False}, "new": True}
    assert earlier_fingerprint(config) == "566514a439337b098a3c183bd60f2a3fdd454967d5bdd96100fa48ce99ffc13a"


@pytest.mark.parametrize("option", sorted(OWN_OPTIONS | PASSED_ON))
def test_every_option_of_the_trainer_is_classified(option: str) -> None:
    assert effect_of(f"trainer.{option}") is not None


@pytest.mark.parametrize("resume", [0, None, {}, {"allow": "optimizer.lr"}])
def test_what_is_no_list_of_keys_is_refused(resume: Any) -> None:
    with pytest.raises(UserError, match="list of keys"):
        check_allowed({"resume": resume})
