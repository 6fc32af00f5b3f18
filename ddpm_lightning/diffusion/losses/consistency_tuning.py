"""Easy consistency tuning (Geng et al., 2025), after which one network call takes x_t to x_0."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddpm_lightning.diffusion.losses.squared_errors import Loss
from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.errors import UserError, check_interval, check_positive, check_whole
from ddpm_lightning.typing import Images, PerExample, Timesteps

LARGEST = 1e6
"""The largest q, k and b; all are numbers of a few units in practice."""


@dataclass(frozen=True)
class ConsistencyLoss(Loss):
    """The distance of x̂_0 at x_t from x̂_0 at x_r, a less noisy image with the same ε. Unit: that of x_0, per unit of σ.

        (√(mean (x̂_0(x_t) − x̂_0(x_r))² + c²) − c)/(σ_t − σ_r),  r < t,  σ² = (1 − ᾱ)/ᾱ

    x̂_0(x_r) gets no gradient, and sees the same dropout; at r = 0 it is x_0. At the minimum x̂_0 is the consistency
    function, up to the length of the steps from t to r: it maps every point of a path of the probability flow to the
    path's end. So it no longer is E[x_0 | x_t], and `ConsistencySampler` draws from it.

        r is the largest step with σ_r ≤ σ_t (1 − n(σ_t)/q^a),  n(σ) = 1 + k/(1 + e^{bσ}),  a = 1, 2, …

    a counts stages of stage_steps optimizer steps. At first r is 0 or far below t, which is nearly the training of a
    diffusion model. So start from the weights of one, and use a parameterization whose x̂_0 is stable at high noise: v,
    x0 or edm.

    Args:
        q: how much shorter the steps from t to r become with each stage, above 1.
        k, b: make the steps longer where σ is small; at least 0.
        c: below it the distance is squared, above it is a norm; above 0, on the scale of x_0.
        stage_steps: the number of optimizer steps of a stage, at least 1.
        stage: the stage of the first optimizer step, from 0.

    References:
        Geng et al. (2025), "Consistency Models Made Easy". There q = 2, k = 8, b = 1, and a run has 8 stages.
        Song & Dhariwal (2024), "Improved Techniques for Training Consistency Models", from where c = 0.00054 is.
    """

    q: float = 2.0
    k: float = 8.0
    b: float = 1.0
    c: float = 0.00054
    stage_steps: int = 1000
    stage: int = 0

    def __post_init__(self) -> None:
        check_interval("loss.q", self.q, 1, LARGEST, "the steps would not become shorter; use 2", ends="(]")
        check_interval("loss.k", self.k, 0, LARGEST, "the steps are longest at small noise; use 8")
        check_interval("loss.b", self.b, 0, LARGEST, "the steps are longest at small noise; use 1")
        check_positive("loss.c", self.c, "a distance of 0 would have no gradient; use 0.00054")
        check_whole("loss.stage_steps", self.stage_steps, 1, "an eighth of trainer.max_steps gives eight stages")
        check_whole("loss.stage", self.stage, 0, "0 starts with the longest steps")

    def check(self, variance: Variance) -> None:
        if variance.learned:
            raise UserError(
                f"variance={variance.name} cannot be trained by loss=consistency, which gives Σ_θ no gradient; "
                "use variance=beta or variance=beta_tilde"
            )

    def at_step(self, step: int) -> "ConsistencyLoss":
        return replace(self, stage=self.stage + step // self.stage_steps)

    def __call__(self, model: DenoisingDiffusion, x_0: Images, t: Timesteps, eps: Images) -> PerExample:
        r = self.earlier(model.process)[t]
        # The gradient comes first: in autocast, the weights cast without one would serve the second call, too.
        with torch.random.fork_rng([x_0.device] if x_0.is_cuda else []):  # both calls draw the same dropout
            x_0_hat = model.predict_x_0(model.process.q_sample(x_0, t, eps), t)
        mean_square = (x_0_hat - self._goal(model, x_0, r, eps)).square().flatten(1).mean(1)
        sigma = VarianceExploding(model.process).sigma.to(x_0.dtype)
        return ((mean_square + self.c**2).sqrt() - self.c) / (sigma[t] - sigma[r])

    @torch.no_grad()
    def _goal(self, model: DenoisingDiffusion, x_0: Images, r: Timesteps, eps: Images) -> Images:
        """Returns x̂_0 at x_r, or x_0 where r is 0: [b, *d]."""
        at_least_1 = r.clamp(min=1)
        x_0_hat = model.predict_x_0(model.process.q_sample(x_0, at_least_1, eps), at_least_1)
        return torch.where((r == 0).reshape(-1, *[1] * (x_0.ndim - 1)), x_0, x_0_hat)

    def earlier(self, process: GaussianDiffusion) -> Tensor:
        """Returns r for each t: [T+1] in 0..T−1.

        Args:
            process: gives σ_t.
        """
        sigma = VarianceExploding(process).sigma
        shorter = self.q ** -(self.stage + 1.0) * (1 + self.k * torch.sigmoid(-self.b * sigma))
        r = torch.searchsorted(sigma, sigma * (1 - shorter).clamp(min=0), right=True) - 1
        t = torch.arange(len(sigma), device=sigma.device)
        return torch.minimum(r, t - 1).clamp(min=0)  # late stages would round r up to t
