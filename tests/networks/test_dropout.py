"""Dropout's moments, by the binomial distribution; and that it does nothing but in training."""

import math

import pytest
import torch

from ddpm_lightning.networks.dropout import Dropout

N = 1_000_003  # no multiple of four


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_so_many_are_left_out_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    out = Dropout(p)(torch.ones(1, 1, 1, N, dtype=dtype)).double()
    kept = out != 0
    deviation = math.sqrt(p * (1 - p) / N)
    assert abs(float((~kept).double().mean()) - p) < 5 * deviation + 2**-17
    assert len(out[kept].unique()) == 1
    assert float(out[kept][0]) == pytest.approx(1 / (1 - p), rel=1e-4 if dtype == torch.float32 else 2**-8)


def test_features_are_left_out_independently() -> None:
    """The four that share a draw, and neighbours that do not: their joint frequency is the product."""
    p = 0.3
    left_out = (Dropout(p)(torch.ones(1, 1, N // 4, 4)) == 0).double()[0, 0]
    flat = left_out.flatten()
    joint = [(left_out[:, i] * left_out[:, j]).mean() for i in range(4) for j in range(i)]
    joint.append((flat[1:] * flat[:-1]).mean())
    deviation = math.sqrt(p**2 * (1 - p**2) / (N // 4))
    assert all(abs(float(each) - p**2) < 5 * deviation for each in joint)


def test_the_gradient_goes_where_the_feature_went() -> None:
    x = torch.randn(2, 3, 5, 7, requires_grad=True)
    out = Dropout(0.4)(x)
    out.sum().backward()
    torch.testing.assert_close(out, x * x.grad)


def test_the_same_seed_leaves_out_the_same() -> None:
    x = torch.randn(2, 3, 5, 7)
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(Dropout(0.5)(x))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_it_does_nothing_when_it_is_not_to() -> None:
    x = torch.randn(1, 2, 3, 4)
    assert Dropout(0.0)(x) is x
    assert Dropout(0.9).eval()(x) is x
    assert Dropout(1 - 1e-9)(x).isfinite().all()
