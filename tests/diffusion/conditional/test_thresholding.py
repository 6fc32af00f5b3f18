"""Dynamic thresholding against NumPy, and on every view of a model."""

import numpy as np
import pytest
import torch

from ddpm_lightning.diffusion.conditional.classifier_free import ClassifierFreeGuidance
from ddpm_lightning.diffusion.conditional.thresholding import DynamicThresholding, StaticClipping
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import LinearSchedule
from ddpm_lightning.errors import UserError
from tests.diffusion.conditional.test_conditioning import best


@pytest.mark.parametrize("percentile", [0.5, 0.9, 1.0])
def test_each_image_is_divided_by_a_quantile_of_its_own(percentile: float) -> None:
    x_0_hat = torch.randn(5, 3, 8, 8, dtype=torch.float64) * torch.tensor([0.1, 1, 2, 4, 8.0])[:, None, None, None]
    clipped = DynamicThresholding(percentile)(x_0_hat)
    for ours, image in zip(clipped.numpy(), x_0_hat.numpy(), strict=True):
        s = max(1, np.quantile(np.abs(image), percentile))
        assert np.allclose(ours, np.clip(image, -s, s) / s, atol=1e-6)
    assert clipped.abs().max() <= 1
    assert torch.equal(clipped[0], x_0_hat[0])  # within [−1, 1] nothing changes


def test_every_view_of_a_model_clips_alike() -> None:
    model, y = best(GaussianDiffusion(LinearSchedule(T=50))), torch.tensor([0, 1, 2])
    dynamic = DynamicThresholding(0.5)
    x_t, t = 3 * torch.randn(3, 2, 1, 1).double(), torch.tensor([1, 2, 2])
    guided = ClassifierFreeGuidance(5.0).guide(model.given(y))
    unclipped = guided.coarsen([30, 50]).predict_x_0(x_t, t)
    for view in (
        ClassifierFreeGuidance(5.0).guide(model.with_clipping(dynamic).given(y)).coarsen([30, 50]),
        guided.with_clipping(dynamic).coarsen([30, 50]),
        guided.coarsen([30, 50]).with_clipping(dynamic),
        guided.with_clipping(dynamic).with_variance(model.variance).coarsen([30, 50]),
    ):
        assert torch.equal(view.predict_x_0(x_t, t, clip_x_0=True), dynamic(unclipped))
        assert torch.equal(view.predict_x_0(x_t, t), unclipped)
    assert model.with_clipping(StaticClipping()) is model


@pytest.mark.parametrize("percentile", [0.0, 1.1, -1.0])
def test_a_percentile_out_of_range(percentile: float) -> None:
    with pytest.raises(UserError, match=r"clipping\.percentile"):
        DynamicThresholding(percentile)
