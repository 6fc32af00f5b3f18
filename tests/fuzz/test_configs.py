"""Any options of any groups with extreme values anywhere: a whole result or one clear error, never a traceback, a hang
or half a result."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.commands import WITH_PLOTS
from tests.configuration.test_choices import CONF, composed, options
from tests.fuzz.runner import Runner, assert_whole_or_told

NOT_HERE = {"wandb_online", "fid"}
"""What needs a network."""

EXTREMES = (
    *("0", "-1", "1", "2", "7", "0.5", "-0.5", "1e-300", "1e300", "-1e300", "nan", "inf", "-inf"),
    *("1000000000", "-1000000000", "9223372036854775808", "1" + "0" * 60, "null", "''", "abc", "true", "false"),
    *("[]", "[0]", "[-1,2]", "[1000000000,1000000000]", "[null]", "[nan,inf]", "{{}}", "{{a:1}}"),
)

MAY_BE_LONG = {"trainer.max_steps", "trainer.devices"}
"""Where a large number is no mistake, but takes its time."""

PLACES = {"run_dir", "logger.csv.run_dir", "logger.wandb.save_dir", "trainer.run_dir"}
"""Where is written to."""

SIZES = [override for override in WITH_PLOTS if not override.startswith(("data", "trainer.max_steps", "network"))]
UNET = [override for override in WITH_PLOTS if override.startswith("network")]
DIT = ["network.width=8", "network.depth=1", "network.heads=2"]
DATA = {
    "fake": [override for override in WITH_PLOTS if override.startswith("data")],
    "digits": ["data.batch_size=64"],
    "fashion_mnist": ["data.root={root}", "data.batch_size=4"],
    "cifar10": ["data.root={root}", "data.batch_size=4"],
    "image_folder": ["data.root={root}/images", "data.side=8", "data.batch_size=4", "data.num_workers=0"],
    "lsun": ["data.root={root}", "data.side=8", "data.batch_size=4", "data.num_workers=0"],
    "shards": ["data.root={root}/shards", "data.side=8", "data.batch_size=4", "data.num_workers=0"],
}


def leaves(node: Any, name: str = "") -> Iterator[str]:
    """The name of every value in a configuration, of lists and dicts, too."""
    if name:
        yield name
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{name}.{key}" if name else key)


@cache
def single_runs() -> list[str]:
    """The experiments but toy, which has no pictures, and those that are many runs, each in a folder of its own."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = {
            option: compose("train", overrides=[f"experiment={option}"], return_hydra_config=True).hydra.mode
            for option in options("experiment")
        }
    return sorted({option for option, mode in found.items() if mode != RunMode.MULTIRUN} - {"toy"})


@st.composite
def choices(draw: DrawFn) -> list[str]:
    """An option of every group, at tiny sizes."""
    data = draw(st.sampled_from(sorted(DATA)))
    groups = ("schedule", "parameterization", "timesteps", "optimizer")
    chosen = [f"{group}={draw(st.sampled_from(options(group)))}" for group in groups]
    network = draw(st.sampled_from(sorted({*options("network")} - {"mlp", "untied"})))  # those are of points
    chosen += [f"network={network}", *(DIT if network.startswith("dit") else UNET)]
    variance = draw(st.sampled_from(options("variance")))
    loss = draw(st.sampled_from(["elbo", "hybrid"] if "learned" in variance else options("loss")))
    sampler = draw(st.sampled_from(["ancestral", "ddim sampler.num_steps=4", "ddim sampler.num_steps=null"])).split()
    experiment = draw(st.sampled_from([[], *([f"experiment={option}"] for option in single_runs())]))
    return [
        *(*experiment, f"data={data}", "quality=none", f"variance={variance}", f"loss={loss}"),
        *(f"sampler={sampler[0]}", *sampler[1:], *chosen, *SIZES, *DATA[data]),
        *("trainer.max_steps=1", "module.test_strata=3", "callbacks.bound.strata=2", "callbacks.bound.num_images=4"),
    ]


@st.composite
def spoiled(draw: DrawFn, most: int) -> list[str]:
    """Draws an option of every group at tiny sizes, with up to `most` values replaced by extreme ones."""
    chosen = draw(choices())
    config = composed(*(override.format(root="x") for override in chosen))
    keys: SearchStrategy[str] = st.sampled_from(sorted(set(leaves(config)) - MAY_BE_LONG - PLACES))
    replaced = draw(st.lists(keys, min_size=1, max_size=most, unique=True))
    return [*chosen, *(f"++{key}={draw(st.sampled_from(EXTREMES))}" for key in replaced)]


def check(runner: Runner, root: Path, overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        outcome = runner.run("train", f"hydra.run.dir={run_dir}", *(each.format(root=root) for each in overrides))
        assert_whole_or_told(outcome, run_dir)


QUICK = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@settings(QUICK, max_examples=5)
@given(overrides=spoiled(most=3))
def test_extreme_values_give_a_result_or_an_error(runner: Runner, root: Path, overrides: list[str]) -> None:
    check(runner, root, overrides)


@pytest.mark.slow
@settings(QUICK, derandomize=False, max_examples=400)
@given(overrides=spoiled(most=2))
def test_many_extreme_values_give_a_result_or_an_error(runner: Runner, root: Path, overrides: list[str]) -> None:
    check(runner, root, overrides)
