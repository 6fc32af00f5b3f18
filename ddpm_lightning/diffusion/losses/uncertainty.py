"""The weight of each step, learned from how uncertain the network is there (Karras et al., 2024)."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from ddpm_lightning.diffusion.losses.squared_errors import Loss
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import check_whole
from ddpm_lightning.typing import Images, Noise, PerExample, Timesteps


class UncertaintyLoss(nn.Module, Loss):
    """Divides another loss by its learned mean at t. Unit: none.

        L/e^{u(t)} + u(t)                                                        (Karras et al., 2024, Eq. 14, 15)

    At the best u, e^{u(t)} is the mean of L at t. So every step has the same share in the gradient of the network,
    whatever the schedule and however far training has come.

        u(t) = Σ_k a_k cos(π k s_t)  for k < features,  s_t = (ln σ_t − ln σ_1)/(ln σ_T − ln σ_1),  σ_t² = 1/SNR(t)

    The a_k are 0 at first, so training begins with L itself. The optimizer of the network trains them as well. They lie
    in checkpoints, but the average of the weights and sampling do without them. Karras et al. take random Fourier
    features of ln σ in place of these cosines.

    Args:
        of: L, the loss to divide, whose values are positive.
        features: the number of terms of u, at least 1.

    References:
        Karras et al. (2024), "Analyzing and Improving the Training Dynamics of Diffusion Models".
        Kendall et al. (2018), "Multi-Task Learning Using Uncertainty to Weigh Losses".
    """

    def __init__(self, of: Loss, features: int = 64) -> None:
        super().__init__()
        check_whole("loss.features", features, 1, "u(t) is a sum of this many cosines; use 64", most=10_000)
        self.of = of
        self.a = nn.Parameter(torch.zeros(features))

    def u(self, process: GaussianDiffusion, t: Timesteps) -> PerExample:
        """Returns u(t), the learned logarithm of the mean of L at t: [b].

        Args:
            process: gives σ_t.
            t: [b] in 1..T.
        """
        log_sigma = -process.half_log_snr
        s = ((log_sigma[t] - log_sigma[1]) / (log_sigma[-1] - log_sigma[1])).to(self.a.dtype)
        k = torch.arange(len(self.a), device=t.device)
        return (self.a * torch.cos(math.pi * k * s[:, None])).sum(1)

    def forward(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Noise) -> PerExample:
        """Returns L/e^{u(t)} + u(t) of each example: [b]. See `Loss` for the arguments."""
        u = self.u(model.process, t)
        return self.of(model, x_0, t, eps) * (-u).exp() + u

    def check(self, variance: Variance) -> None:
        self.of.check(variance)

    def draw(self, b: int, shape: Sequence[int], generator: torch.Generator) -> Noise:
        return self.of.draw(b, shape, generator)

    def at_step(self, step: int) -> "UncertaintyLoss":
        of = self.of.at_step(step)
        if of is self.of:
            return self
        same_u = UncertaintyLoss(of, len(self.a))
        same_u.a = self.a
        return same_u

    @property
    def of_network(self) -> Loss:
        return self.of.of_network
