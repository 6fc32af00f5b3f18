"""The official weights, in TensorFlow's names and in pesser's: the same function here as there."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_lightning.diffusion.variances import BetaVariance
from ddpm_lightning.errors import UserError
from ddpm_lightning.studies.interchange.destinations import CheckpointTarget
from ddpm_lightning.studies.interchange.official_source import PesserSource, TensorFlowSource
from ddpm_lightning.studies.interchange.pretrained import Pretrained
from ddpm_lightning.training.checkpoint import load_model
from tests.studies.interchange.folders import FAKE
from tests.studies.interchange.official import OfficialUNet, names_and_shapes

SIXTEEN = {**FAKE, "size": [16, 16]}
FLOAT32 = 1e-6
"""Both sides reckon the frequencies of t in float32, in another order; the rest is float64."""
AVERAGE = "/ExponentialMovingAverage"


def random_variables() -> dict[str, Tensor]:
    """Of a network with three levels, 32 groups as in every official one, and attention at 8×8."""
    shapes = names_and_shapes(32, [1, 2, 2], blocks=2, attended={1}, in_channels=3)
    return {name: torch.randn(shape) * (0.05 if len(shape) > 1 else 0.5) for name, shape in shapes.items()}


def write_npz(path: Path, variables: dict[str, Tensor]) -> Path:
    np.savez(path, **{name: value.numpy() for name, value in variables.items()})
    return path


def in_pessers_names(variables: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the translation that its author published: a name's slashes and numbers to dots, kernels turned."""
    found = {}
    for name, value in variables.items():
        layer, leaf = name.removeprefix("model/").rsplit("/", 1)
        is_1x1 = layer.rsplit("/", 1)[-1] in ("q", "k", "v", "proj_out", "nin_shortcut")
        for side in ("down", "up"):
            layer = layer.replace(f"{side}_", f"{side}.")
        if not layer.startswith("mid"):
            layer = layer.replace("block_", "block.").replace("attn_", "attn.")
        layer = layer.replace("dense0", "dense.0").replace("dense1", "dense.1").replace("/", ".")
        if value.ndim == 4:
            value = value.permute(3, 2, 0, 1)
        elif value.ndim == 2:
            value = value.t()[:, :, None, None] if is_1x1 else value.t()
        leaf = {"W": "weight", "gamma": "weight", "b": "bias", "beta": "bias"}[leaf]
        found[f"{layer}.{leaf}"] = value.contiguous()
    return found


def difference(variables: dict[str, Tensor], pretrained: Pretrained, folder: Path, use_ema: bool) -> float:
    """Relative to the largest number, at t = 0, 1, 500 and 999, in float64."""
    _, _, model = load_model(CheckpointTarget(str(folder / "ours.ckpt")).write(pretrained), use_ema)
    x, t = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 500, 999])
    expected = OfficialUNet(variables, groups=32)(x.permute(0, 2, 3, 1), t).permute(0, 3, 1, 2)
    with torch.no_grad():
        return float((model.network.double()(x, t) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("use_ema", [True, False])
def test_tensorflows_variables_are_the_same_function(tmp_path: Path, use_ema: bool) -> None:
    raw, averaged = random_variables(), random_variables()
    everything = {
        **raw,
        **{name + AVERAGE: value for name, value in averaged.items()},
        "model/conv_in/W/Adam": torch.zeros(3, 3, 3, 32),
        "model/conv_in/W/Adam_1": torch.zeros(3, 3, 3, 32),
        "beta1_power": torch.tensor(0.9),
        "global_step": torch.tensor(790_000),
    }
    source = TensorFlowSource(path=str(write_npz(tmp_path / "official.npz", everything)), variance=BetaVariance())
    pretrained = source.read(SIXTEEN)
    assert pretrained.step == 790_000
    assert difference(averaged if use_ema else raw, pretrained, tmp_path, use_ema) < FLOAT32


def test_a_reader_like_tensorflows_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives arrays of NumPy, and a number for the step."""
    variables = random_variables()
    everything = {**{name: value.numpy() for name, value in variables.items()}, "global_step": np.int64(7)}
    reader = SimpleNamespace(get_variable_to_shape_map=lambda: dict.fromkeys(everything), get_tensor=everything.get)
    fake = SimpleNamespace(load_checkpoint={"model.ckpt-7": reader}.__getitem__)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(train=fake))
    monkeypatch.setitem(sys.modules, "tensorflow.train", fake)
    pretrained = TensorFlowSource(path="model.ckpt-7", variance=BetaVariance()).read(SIXTEEN)
    assert pretrained.step == 7
    assert difference(variables, pretrained, tmp_path, use_ema=False) < FLOAT32
    with pytest.raises(UserError, match="cannot be read as a checkpoint of TensorFlow"):
        TensorFlowSource(path="model.ckpt-8", variance=BetaVariance()).read(SIXTEEN)


def test_a_checkpoint_of_tensorflow_itself_is_the_same_function(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    variables = random_variables()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = {name: tf.compat.v1.Variable(value.numpy(), name=name) for name, value in variables.items()}
        session.run(tf.compat.v1.global_variables_initializer())
        prefix = tf.compat.v1.train.Saver(made).save(session, str(tmp_path / "model.ckpt"))
    pretrained = TensorFlowSource(path=prefix, variance=BetaVariance()).read(SIXTEEN)
    assert difference(variables, pretrained, tmp_path, use_ema=False) < FLOAT32


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_pessers_file_is_the_same_function(tmp_path: Path, wrapper: str) -> None:
    """As it is, of a DDP run, and compiled."""
    variables = random_variables()
    weights = {wrapper + name: value for name, value in in_pessers_names(variables).items()}
    torch.save(weights, tmp_path / "model.ckpt")
    pretrained = PesserSource(path=str(tmp_path / "model.ckpt"), averaged=True, variance=BetaVariance()).read(SIXTEEN)
    assert difference(variables, pretrained, tmp_path, use_ema=True) < FLOAT32


def damaged(variables: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """One thing wrong."""
    layer = "mid.block_1.conv1.weight"
    changes: dict[str, dict[str, Tensor]] = {
        "missing": {k: v for k, v in variables.items() if k != layer},
        "extra": {**variables, "head.weight": torch.zeros(1)},
        "shape": {**variables, layer: variables[layer][:32]},
        "integers": {**variables, layer: variables[layer].int()},
        "empty": {},
        "improved": {"input_blocks.0.0.weight": torch.zeros(3, 3)},
    }
    return changes[name]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("missing", "lacks mid.block_1.conv1.weight"),
        ("extra", "has head.weight, unknown here"),
        ("shape", r"mid.block_1.conv1.weight is \(32, 64, 3, 3\), where \(64, 64, 3, 3\) is needed"),
        ("integers", "mid.block_1.conv1.weight holds torch.int32"),
        ("empty", "no weights of the official U-Net"),
        ("improved", "improved-diffusion"),
    ],
)
def test_other_weights_are_named_and_refused(tmp_path: Path, wrong: str, words: str) -> None:
    torch.save(damaged(in_pessers_names(random_variables()), wrong), tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=words):
        PesserSource(path=str(tmp_path / "model.ckpt"), averaged=True, variance=BetaVariance()).read(SIXTEEN)
