"""Points of the plane as data, and the network for them."""

import pytest
import torch

from ddpm_lightning.data.points import GaussiansDataModule, PointsDataModule, SwissRollDataModule, TwoMoonsDataModule
from ddpm_lightning.errors import UserError
from ddpm_lightning.networks.mlp import MLP


def points(data: PointsDataModule, split: str = "train") -> torch.Tensor:
    return torch.cat([batch.x_0 for batch in data.in_order(split)]).flatten(1)


@pytest.mark.parametrize("kind", [TwoMoonsDataModule, SwissRollDataModule, GaussiansDataModule])
def test_points_fill_the_plane_and_are_cut_off_nowhere(kind: type[PointsDataModule]) -> None:
    data = kind(num_points=4000)
    x = points(data)
    assert x.shape == (4000, 2)
    assert (x.abs() == 1).double().mean() < 1e-3
    assert (x.amax(0) - x.amin(0) > 0.8).all()
    assert not torch.equal(x, points(data, "test"))
    assert torch.equal(x, points(kind(num_points=4000)))
    assert not torch.equal(x, points(kind(num_points=4000, seed=1)))


def test_the_ring_has_the_parts_that_it_says() -> None:
    data = GaussiansDataModule(num_points=8000, num_parts=4, radius=0.5, noise=0.05)
    x = points(data).double()
    part = torch.cdist(x, data.means).argmin(1)
    for k, mean in enumerate(data.means):
        own = x[part == k]
        assert len(own) / 8000 == pytest.approx(0.25, abs=0.02)
        assert torch.allclose(own.mean(0), mean, atol=0.005)
        assert own.std(0).mean().item() == pytest.approx(0.05, rel=0.05)


def test_the_moons_are_half_circles() -> None:
    """Of radius 1/1.75, around (−0.5, −0.25)/1.75 and (0.5, 0.25)/1.75."""
    x = points(TwoMoonsDataModule(num_points=4000, noise=0.01)) * 1.75
    middle = torch.tensor([0.5, 0.25])
    off = torch.stack([(x + middle).norm(dim=1), (x - middle).norm(dim=1)]).sub(1).abs().amin(0)
    assert off.mean().item() < 0.02


def test_a_ring_that_leads_out_of_the_plane_is_told() -> None:
    with pytest.raises(UserError, match="put points beyond 1"):
        GaussiansDataModule(radius=0.95)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"noise": 0.0}, "data.noise=0.0"), ({"num_points": 1}, "data.num_points=1"), ({"num_points": 2**40}, "exceeds")],
)
def test_wrong_numbers_are_told(options: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        TwoMoonsDataModule(**options)  # type: ignore[arg-type]


def test_the_network_sees_every_number_and_the_time() -> None:
    network = MLP(2, 4, (1, 1), width=16, depth=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    x, t = torch.randn(3, 2, 1, 1, requires_grad=True), torch.tensor([0, 10, 999])
    out = network(x, t)
    assert out.shape == (3, 4, 1, 1)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert (gradient != 0).all()
    assert not torch.allclose(out, network(x, t.flip(0)))


@pytest.mark.parametrize("wrong", [{"width": 15}, {"depth": 0}, {"frequencies": 21}])
def test_numbers_that_make_no_network_are_told(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"network.{next(iter(wrong))}"):
        MLP(2, 2, (1, 1), **wrong)
