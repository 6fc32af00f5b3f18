"""Bits/dim by the probability flow, as evaluate.py finds them: an entropy, the exact trace, any batch size."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.dequantization import (
    DecoderDequantization,
    Dequantization,
    Dequantized,
    UniformDequantization,
)
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.parameterizations import Epsilon
from ddpm_lightning.diffusion.variances import BetaVariance
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.flow_likelihood import FlowLikelihood
from tests.choices import name
from tests.commands import command, results, train
from tests.evaluation.test_bound import FakeGaussian, gaussian_model, subject

FEW: dict[str, Any] = {"num_images": 50, "num_steps": 12}


def measured(folder: Path, dequantization: Dequantization, eval_batch_size: int = 64, **options: Any) -> dict[str, Any]:
    here = subject(gaussian_model(), folder, eval_batch_size)
    (record,) = FlowLikelihood(dequantization, **{**FEW, **options}).measure(here).values()
    return dict(record)


@pytest.mark.parametrize("dequantization", [UniformDequantization(), DecoderDequantization()], ids=name)
def test_bits_of_gaussian_pixels_are_their_cross_entropy(tmp_path: Path, dequantization: Dequantization) -> None:
    """With the exact network next to nothing is lost, whichever way integers become real numbers."""
    here = subject(gaussian_model(), tmp_path)
    assert here.trained is not None
    (record,) = FlowLikelihood(dequantization, num_steps=12).measure(here).values()
    x = torch.cat([batch.x_0 for batch in here.trained.data.in_order("test")]).double()
    s, step = FakeGaussian.s, 2 / 255
    bits = 0.5 * math.log2(2 * math.pi * s**2 / step**2) + x.square().mean().item() / (2 * s**2 * math.log(2))
    assert record["value"] == pytest.approx(bits, abs=0.01)
    assert record["num_images"] == 200
    assert "trace_error" not in record
    assert ("clip_x_0" in record) == isinstance(dequantization, DecoderDequantization)  # uniform draws ask no decoder


def test_hutchinsons_estimate_is_the_exact_one_within_its_error(tmp_path: Path) -> None:
    """Here the Jacobian is a multiple of 1, of which signs feel the trace exactly; a network's is not so tame, and
    tests/diffusion hold the estimate against that."""
    exact = measured(tmp_path, UniformDequantization())
    estimated = measured(tmp_path, UniformDequantization(), num_probes=2)
    assert estimated["value"] == pytest.approx(exact["value"], abs=1e-4)
    assert estimated["trace_error"] < 1e-4


class Tangled(nn.Module):
    """ε̂ whose Jacobian is no multiple of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)) / 8)
        self.wanted_gradients: set[bool] = set()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.wanted_gradients.add(self.mix.requires_grad)
        return 0.9 * x + torch.tanh(x.flatten(1) @ self.mix.to(x.dtype)).reshape(x.shape)


class Untouched(Dequantization):
    """Adds no noise, so that seeds differ in their probes alone."""

    def label(self, model: DenoisingDiffusion) -> str:
        return "untouched"

    def __call__(self, model: DenoisingDiffusion, x_0: Tensor, randn_like: Callable[[Tensor], Tensor]) -> Dequantized:
        return Dequantized(x_0, x_0.new_zeros(len(x_0)))


def test_the_error_of_the_trace_is_how_far_seeds_scatter(tmp_path: Path) -> None:
    """16 of them tell a standard deviation to 18 %. The weights want no gradients meanwhile, and do again."""
    network = Tangled()
    model = DenoisingDiffusion(network, gaussian_model().process, Epsilon(), BetaVariance())
    flow = FlowLikelihood(Untouched(), num_images=20, num_steps=4, num_probes=3)
    records = [next(iter(flow.measure(replace(subject(model, tmp_path), seed=seed)).values())) for seed in range(16)]
    values = torch.tensor([record["value"] for record in records], dtype=torch.float64)
    assert records[0]["trace_error"] == pytest.approx(values.std().item(), rel=0.6)
    assert network.wanted_gradients == {False}
    assert network.mix.requires_grad


def test_the_batch_size_changes_nothing(tmp_path: Path) -> None:
    one, other = (measured(tmp_path, DecoderDequantization(), size)["value"] for size in (7, 64))
    assert one == pytest.approx(other, rel=1e-6)


def test_evaluate_has_it(tmp_path: Path) -> None:
    last = train(tmp_path / "run", "trainer.max_steps=1") / "checkpoints" / "last.ckpt"
    few = [f"metrics.{metric}.num_images=6" for metric in ("bpd", "bpd_ode")] + ["metrics.bpd_ode.num_steps=4"]
    here = [f"checkpoint={last}", f"hydra.run.dir={tmp_path}", "trainer.accelerator=cpu"]
    command("evaluate", *here, "metrics=[bpd,bpd_ode]", *few)
    found = results(tmp_path)["metrics"]
    assert found["test/bpd_beta_first6"]["num_images"] == 6
    record = found["test/bpd_ode_decoder_beta_first6"]
    assert record["network_calls"] == 6 * 4 * 8
    assert record["trace_error"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "validation"}, "split=validation"),
        ({"num_images": 0}, r"metrics\.bpd_ode\.num_images=0"),
        ({"num_images": 201}, r"metrics\.bpd_ode\.num_images=201 exceeds 200"),
        ({"num_steps": 0}, r"metrics\.bpd_ode\.num_steps=0"),
        ({"num_probes": 1}, r"metrics\.bpd_ode\.num_probes=1"),
        ({"num_probes": 0, "name": "bpd_ode_uniform"}, r"metrics\.bpd_ode_uniform\.num_probes=0"),
    ],
)
def test_impossible_choices_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        FlowLikelihood(UniformDequantization(), **options).check(subject(gaussian_model(), tmp_path))


def test_an_exact_trace_of_large_images_is_refused(tmp_path: Path) -> None:
    here = subject(gaussian_model(), tmp_path)
    assert here.trained is not None
    here.trained.data.size = (32, 32)  # type: ignore[misc]
    with pytest.raises(UserError, match=r"num_probes=null asks for the exact trace, .* of 1024 dimensions"):
        FlowLikelihood(UniformDequantization()).check(here)
