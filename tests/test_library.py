"""ddpm_lightning as a library: without Lightning and Hydra, quick to import; its snippets run; the wheel trains."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

import ddpm_lightning
from ddpm_lightning import library
from ddpm_lightning.networks.unet import UNet
from tests.commands import SMALL as SMALL_RUN
from tests.commands import results
from tests.conftest import ROOT
from tests.networks.small import SMALL, randomise
from tests.runtime.test_provenance import commit_everything

EVERYTHING = "from ddpm_lightning import *; GaussianDiffusion, UNet, DDIMSampler"


def in_new_process(code: str) -> str:
    """What it prints."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_it_brings_neither_lightning_nor_hydra() -> None:
    heavy = ("lightning", "hydra", "omegaconf", "wandb", "torchmetrics", "numpy.testing", "diffusers")
    found = in_new_process(f"{EVERYTHING}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])")
    assert found.strip() == "[]"


@pytest.mark.slow
def test_it_takes_less_than_three_tenths_of_a_second_beyond_torch() -> None:
    """The processor's time, not the clock's, for other tests run beside this one."""
    code = f"import torch, time\nstart = time.process_time()\n{EVERYTHING}\nprint(time.process_time() - start)"
    assert median(float(in_new_process(code)) for _ in range(3)) < 0.3


def test_help_imports_no_torch_for_it() -> None:
    found = in_new_process("import ddpm_lightning, sys\nprint('torch' in sys.modules)")
    assert found.strip() == "False"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    assert ddpm_lightning.UNet is UNet
    assert {*library.__all__} <= {*dir(ddpm_lightning)}
    with pytest.raises(AttributeError, match=r"no attribute 'Unet'; there are .*UNet"):
        _ = ddpm_lightning.Unet  # type: ignore[attr-defined]


def snippets() -> list[str]:
    """The first page's on the library."""
    section = (ROOT / "docs" / "start.md").read_text().partition("## As a library")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_first_pages_snippets_run_one_after_another() -> None:
    scope: dict[str, Any] = {}
    assert len(snippets()) == 3
    for snippet in snippets():
        exec(snippet, scope)
    assert scope["x_0"].shape == (16, 1, 8, 8)
    assert scope["images"].shape == (4, 1, 8, 8)
    assert scope["bpd"].shape == (16,)
    assert torch.isfinite(scope["bpd"]).all()
    assert all(parameter.grad is not None for parameter in scope["network"].parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_the_network_is_exported_by_torch_for_any_batch_size(classes: int, tmp_path: Path) -> None:
    """In a process of its own, for the checks of the annotations here would be exported, too."""
    code = f"""
import torch
from ddpm_lightning import UNet
from tests.networks.small import SMALL, randomise
network = UNet(3, 3, (8, 8), **SMALL, dropout=0.1, num_classes={classes}).eval()
randomise(network)
batch = torch.export.Dim("batch", min=1, max=1024)
def inputs(n):
    given = (torch.randn(n, 3, 8, 8), torch.randint(0, 1000, (n,)), torch.randint(-1, 3, (n,)))
    return given[:{3 if classes else 2}]
exported = torch.export.export(network, inputs(2), dynamic_shapes=[{{0: batch}} for _ in inputs(2)])
torch.export.save(exported, r"{tmp_path}/network.pt2")
loaded = torch.export.load(r"{tmp_path}/network.pt2").module()
for n in (1, 2, 7):
    given = inputs(n)
    torch.testing.assert_close(loaded(*given), network(*given))
print("equal")
"""
    assert in_new_process(code).strip() == "equal"


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "module._orig_mod."])
def test_a_compiled_checkpoint_and_one_of_ddp_load_alike(tmp_path: Path, wrapper: str) -> None:
    from ddpm_lightning.training.checkpoint import load_model
    from tests.studies.interchange.folders import random_checkpoint

    plain = random_checkpoint(tmp_path / "plain.ckpt")
    checkpoint = torch.load(plain, weights_only=True)
    for key, before in (("state_dict", "model.network."), ("ema", "network.")):
        checkpoint[key] = {
            name.replace(before, before + wrapper, 1): weight for name, weight in checkpoint[key].items()
        }
    torch.save(checkpoint, tmp_path / "wrapped.ckpt")
    for use_ema in (True, False):
        expected, found = (load_model(tmp_path / f"{name}.ckpt", use_ema)[2] for name in ("plain", "wrapped"))
        assert all(map(torch.equal, expected.parameters(), found.parameters()))


def test_the_installed_wheel_trains_with_its_own_configs(tmp_path: Path) -> None:
    """Not the checkout: from an empty folder, with the package where pip put it, in somebody else's repository."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "wheel", ROOT], check=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "site", wheel], check=True)
    assert (tmp_path / "site" / "bin" / "ddpm").is_file()
    (tmp_path / "empty").mkdir()
    commit_everything(tmp_path)
    options = [*SMALL_RUN, "trainer.max_steps=2", "hydra.run.dir=run"]
    done = subprocess.run(
        [sys.executable, "-m", "ddpm_lightning.cli", "train", *options],
        cwd=tmp_path / "empty",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "empty" / "run" / "checkpoints" / "last.ckpt").is_file()
    assert "sample checkpoint=run/checkpoints/last.ckpt" in done.stdout + done.stderr
    of_run = results(tmp_path / "empty" / "run")
    assert (of_run["version"], of_run["commit"]) == (version_in_pyproject(), None)


def version_in_pyproject() -> str:
    project: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["version"]


def test_every_weight_of_the_small_network_counts() -> None:
    """What the other tests rest on."""
    network = UNet(3, 3, (8, 8), **SMALL)  # type: ignore[arg-type]
    randomise(network)
    assert all(parameter.abs().max() > 0 for parameter in network.parameters())
