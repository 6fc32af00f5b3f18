"""Every option of every group, found by glob; and every combination of schedule, parameterization, variance, loss."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from ddpm_lightning.configuration.build import build_model, make
from ddpm_lightning.data.batches import InMemoryImages
from ddpm_lightning.data.data_module import ImageDataModule
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.errors import UserError
from ddpm_lightning.training.building import make_module
from ddpm_lightning.training.module import DDPM
from tests.commands import SMALL, command, results, train
from tests.conftest import ROOT

CONF = ROOT / "conf"
SMALL_MODEL = [override for override in SMALL if override.startswith(("network.", "data", "schedule."))]


NEEDS_A_FILE = {"analytic"}
"""Variances of a trained model: tests/evaluation/test_gamma.py."""


def options(group: str) -> list[str]:
    found = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert found
    return found


def composed(*overrides: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["run_dir=unused", *overrides])
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def part(group: str, option: str) -> Any:
    return composed(*SMALL_MODEL, f"{group}={option}")[group]


def one_step(config: dict[str, Any], x_0: torch.Tensor) -> None:
    """Builds everything and takes one step."""
    model = build_model(config, make(config["data"]))
    take_step(make_module(config, model), model, x_0)


def take_step(module: DDPM, model: DenoisingDiffusion, x_0: torch.Tensor) -> None:
    """Takes one step and asserts that every weight got a finite gradient."""
    model.zero_grad()
    t, weight = module.timesteps.draw(len(x_0), model.process, torch.Generator().manual_seed(0))
    eps = module.loss.draw(len(x_0), x_0.shape[1:], torch.Generator().manual_seed(1))
    loss = (weight * module.loss(model, x_0, t, eps)).mean()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    module.new_optimizer().step()


def is_legal(variance: str, loss: str) -> bool:
    if variance.startswith("learned"):
        return loss in ("elbo", "hybrid")
    return loss != "hybrid"


def each_once(some: Sequence[Any], others: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Pairs in which each of either occurs."""
    return zip(*(islice(cycle(each), max(len(some), len(others))) for each in (some, others)), strict=True)


@pytest.mark.parametrize("pairs", [each_once, pytest.param(product, marks=pytest.mark.slow)])
@pytest.mark.parametrize("loss", options("loss"))
@pytest.mark.parametrize("variance", sorted(set(options("variance")) - NEEDS_A_FILE))
def test_every_combination_trains_or_says_why_not(variance: str, loss: str, pairs: Any) -> None:
    """One network for all schedules and parameterizations, of which neither it nor what is legal depends."""
    config = composed(*SMALL_MODEL, "network.multipliers=[1]", f"loss={loss}", f"variance={variance}")
    x_0 = torch.randint(0, 17, (4, 1, 4, 4)) / 8 - 1
    if not is_legal(variance, loss):
        with pytest.raises(UserError, match=f"variance={variance}"):
            one_step(config, x_0)
        return
    model = build_model(config, make(config["data"]))
    module = make_module(config, model)
    processes, parameterizations = every("schedule"), every("parameterization")
    for process, parameterization in pairs(processes, parameterizations):
        parts = (model.network, process, parameterization, model.variance, model.levels)
        take_step(module, DenoisingDiffusion(*parts), x_0)


@cache
def every(group: str) -> list[Any]:
    """What each option of a group builds; a schedule's process."""
    built = [make(part(group, option)) for option in options(group)]
    return [GaussianDiffusion(each) if isinstance(each, Schedule) else each for each in built]


GROUPS = (
    *("schedule", "parameterization", "variance/interpolation", "timesteps", "sampler", "sampler/spacing"),
    *("optimizer", "lr_schedule", "callbacks", "callbacks/ema", "trainer", "logger"),
)
NOT_HERE = {"logger=wandb_online", "trainer=ddp_cpu"}
"""One needs a network; the two processes of the other train in test_processes, too."""


def choices_by_run() -> list[list[str]]:
    """An option of every group for each run, such that the runs together have every option."""
    groups = [[f"{group}={option}" for option in options(group)] for group in GROUPS]
    found = [[choice for choice in group if choice not in NOT_HERE] for group in groups]
    return [[group[run % len(group)] for group in found] for run in range(max(map(len, found)))]


@pytest.mark.parametrize(
    "choices", [*choices_by_run(), pytest.param(["trainer=ddp_cpu"], marks=pytest.mark.slow)], ids=" ".join
)
def test_every_option_runs(choices: list[str], tmp_path: Path) -> None:
    short = ["sampler.num_steps=4", "trainer.max_steps=1", "module.warmup_steps=0"]
    train(tmp_path, "variance=learned_range", "loss=elbo", *choices, *short)
    assert (tmp_path / "results.json").is_file()


def test_wandb_online_differs_in_one_word() -> None:
    online, offline, either = (part("logger", name) for name in ("wandb_online", "wandb_offline", "wandb"))
    assert [each["wandb"].pop("offline") for each in (online, offline, either)] == [False, True, None]
    assert online == offline == either


@pytest.mark.parametrize("network", options("network"))
def test_every_network_is_built_for_its_images(network: str) -> None:
    sides = {"tiny": 8, "small": 28}
    side = sides.get(network, 256 if "256" in network else 32)
    config = composed(f"network={network}", "data=fake", f"data.size=[{side},{side}]", "schedule.T=2")
    with torch.device("cpu" if network == "untied" else "meta"):  # which looks at t
        model = make(config["network"], in_channels=3, out_channels=3, size=(side, side))
        assert model(torch.empty(1, 3, side, side), torch.zeros(1, dtype=torch.int64)).shape == (1, 3, side, side)


@pytest.mark.parametrize("data", options("data"))
def test_every_data_set_knows_its_shape_before_it_is_read(data: str) -> None:
    extra = ["data.root=somewhere"] if data in ("image_folder", "shards") else []
    module = make(composed(f"data={data}", *extra)["data"])
    assert module.channels in (1, 2, 3)
    assert len(module.size) == 2
    assert module.pixels.levels in (17, 256)


@pytest.mark.slow
def test_digits_are_learned(tmp_path: Path) -> None:
    """The default recipe, whole; experiments/digits has its number, 2.914. No model at all costs log2 17 = 4.09."""
    command("train", f"hydra.run.dir={tmp_path}", "logger=csv", "callbacks.grid=null", "callbacks.strip=null")
    assert results(tmp_path)["metrics"]["test/bpd_beta_estimate"]["value"] < 3.0


def test_experiments_have_the_papers_recipe() -> None:
    """Section 4 and Appendix B."""
    cifar10, celebahq = composed("experiment=cifar10"), composed("experiment=celebahq256")
    assert cifar10["optimizer"]["lr"] == 2e-4
    assert celebahq["optimizer"]["lr"] == 2e-5
    assert (cifar10["data"]["batch_size"], celebahq["data"]["batch_size"]) == (128, 64)
    assert (cifar10["data"]["flip"], celebahq["data"]["flip"]) == (True, True)
    lsun = {name: composed(f"experiment=lsun{name}") for name in ("256", "_church", "_cat")}
    assert [lsun[name]["data"]["flip"] for name in lsun] == [False, True, True]  # all but LSUN Bedroom are mirrored
    assert [lsun[name]["data"]["category"] for name in lsun] == ["bedroom", "church_outdoor", "cat"]
    assert [lsun[name]["trainer"]["max_steps"] for name in lsun] == [2_400_000, 1_200_000, 1_800_000]
    assert (cifar10["network"]["dropout"], celebahq["network"]["dropout"]) == (0.1, 0.0)
    assert (cifar10["trainer"]["max_steps"], celebahq["trainer"]["max_steps"]) == (800_000, 500_000)
    large = composed("experiment=lsun_bedroom_large")
    assert (large["network"]["channels"], large["trainer"]["max_steps"]) == (192, 1_150_000)
    apart: dict[str, Any] = {"network": None, "trainer": None}
    assert large | apart == composed("experiment=lsun256") | apart
    for config in (cifar10, celebahq, large, *lsun.values()):
        assert config["module"]["warmup_steps"] == 5000
        assert config["module"]["max_grad_norm"] == 1.0
        assert config["callbacks"]["ema"]["decay"] == 0.9999
        assert config["optimizer"]["betas"] == [0.9, 0.999]
        assert config["optimizer"]["eps"] == 1e-8
        assert config["schedule"] == composed()["schedule"]


@pytest.mark.parametrize(
    "experiment",  # those at 256×256 take 20 s each; their networks are built, and their recipes compared, above
    [
        pytest.param(name, marks=pytest.mark.slow) if name.startswith(("lsun", "celebahq")) else name
        for name in options("experiment")
    ],
)
def test_every_experiment_takes_a_step_on_images_of_its_shape(experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    data = make(config["data"])
    assert isinstance(data, ImageDataModule)
    pixels = torch.randint(0, data.pixels.levels, (1, data.channels, *data.size), dtype=torch.uint8)
    one_step(config, data.pixels.encode(InMemoryImages(pixels).images))
