"""A user's own network goes through every command, whatever its parameters and buffers are like."""

from pathlib import Path

import pytest
import torch

from ddpm_lightning.training.checkpoint import EMA, load_model, read_checkpoint
from tests.commands import SMALL, command, error_of, results
from tests.networks import zoo
from tests.studies.figures.test_plane import NO_IMAGES, TOY

ALONE = [zoo.BatchNormed, zoo.Buffered, zoo.Tied, zoo.Lazy, zoo.ChannelsLast, zoo.Compiled]
ZOO = [zoo.Everything, *(pytest.param(network, marks=pytest.mark.slow) for network in ALONE)]
QUICK = [option for option in SMALL if not option.startswith(("network.", "callbacks.", "logger"))]
QUICK += ["callbacks.grid=null", "callbacks.strip=null", "callbacks.bound=null", "logger=none", "optimizer.lr=0.1"]
QUICK += ["module.test_strata=2", "callbacks.checkpoint.every_n_steps=2", "callbacks.ema.decay=0.5"]
QUICK += ["data.size=[8,8]", "data.num_images=70", "data.eval_batch_size=70"]


def train(folder: Path, network: type, *options: str) -> Path:
    """A run with this network. Returns its last checkpoint."""
    (folder / "conf" / "network").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "network" / "mine.yaml").write_text(f"_target_: {network.__module__}.{network.__name__}")
    chosen = [f"--config-dir={folder}/conf", "network=mine", f"hydra.run.dir={folder}"]
    command("train", *chosen, *QUICK, *options)
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module", params=ZOO, ids=lambda network: network.__name__)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[type, Path, Path]:
    """A network, its checkpoint after four steps, and that of a run that was resumed after two."""
    whole = train(tmp_path_factory.mktemp("whole"), request.param)
    resumed = tmp_path_factory.mktemp("resumed")
    train(resumed, request.param, "trainer.max_steps=2")
    return request.param, whole, train(resumed, request.param)


def test_a_resumed_run_ends_as_the_whole_one(trained: tuple[type, Path, Path]) -> None:
    _, whole, resumed = (read_checkpoint(path) if isinstance(path, Path) else path for path in trained)
    for key in ("state_dict", EMA):
        assert whole[key].keys() == resumed[key].keys()
        assert all(torch.equal(whole[key][name], resumed[key][name]) for name in whole[key])


def test_averaged_weights_are_loaded_under_every_name(trained: tuple[type, Path, Path]) -> None:
    _, whole, _ = trained
    saved = read_checkpoint(whole)
    raw = {n.removeprefix("model."): w for n, w in saved["state_dict"].items() if n.startswith("model.")}
    for use_ema in (True, False):
        _, _, model = load_model(whole, use_ema)
        weights = saved[EMA] if use_ema else raw
        loaded = model.state_dict()
        assert all(torch.equal(loaded[name], weight) for name, weight in weights.items())


def test_sample_and_evaluate(trained: tuple[type, Path, Path], tmp_path: Path) -> None:
    _, whole, _ = trained
    command("sample", f"checkpoint={whole}", f"hydra.run.dir={tmp_path}/samples", "num_images=2", "output=npz")
    few = ["metrics=[bpd_estimate,fd_digits]", "num_images=70"]
    command("evaluate", f"checkpoint={whole}", f"hydra.run.dir={tmp_path}/e", *few, "trainer.accelerator=cpu")
    assert "test/bpd_beta_estimate" in results(tmp_path / "e")["metrics"]


def test_only_the_unet_is_converted(
    trained: tuple[type, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, whole, _ = trained
    options = [f"source.path={whole}", "target=diffusers", f"target.path={tmp_path}/out", f"hydra.run.dir={tmp_path}/c"]
    said = " ".join(error_of(capsys, "convert", *options).split())
    assert f"tests.networks.zoo.{network.__name__} is no UNet" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_train_it(tmp_path: Path) -> None:
    """Weights that get no gradient included, and tables of every kind. BatchNorm sees another batch in each process."""
    found = read_checkpoint(train(tmp_path, zoo.Everything, "trainer=ddp_cpu"))
    assert found["global_step"] == 4
    assert torch.equal(found["state_dict"]["model.network.unused"], torch.ones(2))


@pytest.mark.slow
def test_two_processes_train_a_network_for_each_step_as_one_does(tmp_path: Path) -> None:
    """A batch has nothing for some of the networks, on one process or on both."""
    toy = ["network=untied", "network.network.width=8", *TOY[1:], *NO_IMAGES, "callbacks.bound=null"]
    for name, processes in (("one", []), ("two", ["trainer=ddp_cpu"])):
        here = ["module.test_strata=2", "data.batch_size=4", f"hydra.run.dir={tmp_path}/{name}"]
        command("train", *toy, *here, "trainer.accelerator=cpu", *processes)
    one, two = (read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, weight in one.items():
        assert torch.allclose(weight, two[name], atol=1e-5), name
