"""Muon and AdamW as one optimizer, against PyTorch's own two."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ddpm_lightning.errors import UserError
from ddpm_lightning.training.optimizers import MuonWithAdamW

SHAPES = [(6, 4), (8, 3, 3, 3), (5,), ()]
COMMON = {"lr": 0.01, "weight_decay": 0.1}


def weights() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def give_gradients(parameters: list[nn.Parameter], step: int) -> None:
    torch.manual_seed(step)
    for parameter, shape in zip(parameters, SHAPES, strict=True):
        parameter.grad = torch.randn(shape).view(parameter.shape)


def flat(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone().flatten(1))


def test_matrices_are_muons_and_other_weights_are_adamws() -> None:
    ours, copies = weights(), weights()
    theirs = [flat(copies[0]), flat(copies[1]), *copies[2:]]
    muon = torch.optim.Muon(theirs[:2], adjust_lr_fn="match_rms_adamw", momentum=0.9, **COMMON)
    adamw = torch.optim.AdamW(theirs[2:], betas=(0.8, 0.99), eps=1e-6, **COMMON)
    both = MuonWithAdamW(ours, momentum=0.9, betas=(0.8, 0.99), eps=1e-6, **COMMON)
    for step in range(5):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        for optimizer in (both, muon, adamw):
            optimizer.step()
    for our, their in zip(ours, theirs, strict=True):
        assert torch.equal(our.view(their.shape), their)


def test_a_step_has_equal_singular_values_of_the_size_of_adamws_step() -> None:
    """0.2 η √max(m, n) for each, within the tolerance of Newton's iteration with Jordan's coefficients."""
    weight = nn.Parameter(torch.zeros(8, 3, 3, 3))
    optimizer = MuonWithAdamW([weight], lr=0.01)
    weight.grad = torch.randn(weight.shape)
    optimizer.step()
    values = torch.linalg.svdvals(weight.detach().flatten(1)) / (0.2 * 0.01 * 27**0.5)
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_its_state_is_saved_and_loaded() -> None:
    ours, theirs = weights(), weights()
    one, other = MuonWithAdamW(ours, **COMMON), MuonWithAdamW(theirs)
    give_gradients(ours, 0)
    one.step()
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for our, their in zip(ours, theirs, strict=True):
        their.data.copy_(our.data)
    for parameters, optimizer in ((ours, one), (theirs, other)):
        give_gradients(parameters, 1)
        optimizer.step()
    assert all(torch.equal(our, their) for our, their in zip(ours, theirs, strict=True))


def test_a_weight_without_gradient_stays() -> None:
    """As in a skipped step."""
    ours = weights()
    before = [weight.detach().clone() for weight in ours]
    optimizer = MuonWithAdamW(ours, **COMMON)

    def loss() -> Tensor:
        return torch.ones(()).requires_grad_() * 3

    assert optimizer.step(loss) == 3
    assert optimizer.step(lambda: torch.is_grad_enabled())
    assert all(torch.equal(weight, old) for weight, old in zip(ours, before, strict=True))
    assert optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize(
    ("option", "error"), [({"ns_steps": 100}, UserError), ({"lr": -1}, ValueError), ({"betas": (2, 0)}, ValueError)]
)
def test_options_out_of_bounds_are_refused(option: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        MuonWithAdamW(weights(), **option)  # type: ignore[arg-type]
