"""Values in a configuration against the annotations of what it builds."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ddpm_lightning.configuration.arguments import check_arguments, fits
from ddpm_lightning.diffusion.samplers.spacing import Spacing
from ddpm_lightning.errors import UserError

UNIFORM = {"_target_": "ddpm_lightning.diffusion.samplers.spacing.UniformSpacing"}
SIMPLE = {"_target_": "ddpm_lightning.diffusion.losses.Simple"}


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        (1, float),
        (0.5, float | None),
        (None, int | None),
        (True, bool),
        ("a", str),
        ([1, 2], Sequence[int]),
        ([], Sequence[int]),
        ([1, 0.5], tuple[float, float]),
        ([1, 2, 3], tuple[int, ...]),
        (UNIFORM, Spacing),
        ({**SIMPLE, "_partial_": True}, Callable[..., Any]),
        ({"_target_": "a.package.of.the.User"}, Spacing),
        ({1}, Any),
    ],
)
def test_what_fits(value: Any, hint: Any) -> None:
    assert fits(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        (True, float),
        (0.5, int),
        ("1", int),
        (None, float),
        (1, bool),
        (1, str),
        (3, Sequence[int]),
        ([1, None], Sequence[int]),
        ([1], tuple[float, float]),
        (0.5, Spacing),
        ({}, Spacing),
        (SIMPLE, Spacing),
        (SIMPLE, Callable[..., Any]),
        (7, Callable[..., Any]),
    ],
)
def test_what_does_not(value: Any, hint: Any) -> None:
    assert not fits(value, hint)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"num_steps": "many"}, "num_steps=many does not fit"),
        ({"spacing": SIMPLE}, r"spacing=.* does not fit, because .*spacing takes a Spacing"),
        (
            {"spacing": {**UNIFORM, "power": 2}},
            r"spacing\.power is no option: .*UniformSpacing takes skip_first; leave",
        ),
        ({"stepps": 4}, "stepps is no option: .*DDIMSampler takes num_steps, spacing, clip_x_0, eta; leave it out"),
    ],
)
def test_a_mistake_is_named_wherever_it_stands(node: dict[str, Any], words: str) -> None:
    sampler = {"_target_": "ddpm_lightning.diffusion.samplers.DDIMSampler", **node}
    for placed in (sampler, [sampler], {"deep": {"er": [sampler]}}):
        with pytest.raises(UserError, match=words):
            check_arguments(placed)


def test_what_a_class_passes_on_to_its_base_is_compared_too() -> None:
    data = {"_target_": "ddpm_lightning.data.digits.DigitsDataModule", "flip": "yes"}
    with pytest.raises(UserError, match="flip=yes does not fit"):
        check_arguments(data)
