"""The study of the limit measures what a Gaussian's closed form says."""

import math
from unittest.mock import patch

import pytest

from benchmarks.mathematics import limit
from ddpm_lightning.data.points import GaussiansDataModule
from ddpm_lightning.diffusion.schedules import CosineSchedule, LinearSchedule


@pytest.mark.parametrize("shape", [LinearSchedule, CosineSchedule])
def test_of_one_gaussian_the_limit_is_the_logarithm_of_its_ends(shape: type) -> None:
    """Σ_{t>1} L_{t−1} → ½ log2((1 + s² SNR_1)/(1 + s² SNR_T)) in bits/dim."""
    s = 0.3
    with patch.object(limit, "GaussiansDataModule", lambda: GaussiansDataModule(num_parts=1, noise=s, radius=0.05)):
        near = limit.bound(limit.stretched(shape, 4000), 400_000)
    snr = limit.stretched(shape, 4000).snr
    expected = 0.5 * math.log2((1 + s**2 * snr[1]) / (1 + s**2 * snr[-1]))
    assert near.mean == pytest.approx(expected, abs=4 * near.standard_error)
    assert near.standard_error < 0.06
