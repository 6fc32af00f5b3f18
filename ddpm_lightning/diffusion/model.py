"""The reverse process p_θ(x_{t−1} | x_t) (Eq. 1): network + process + parameterization + variance."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.schedules import CoarseSchedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.typing import Images, Timesteps


class NetworkOutput(NamedTuple):
    """What the network said: f, which the parameterization reads, and v, which a learned variance reads."""

    f: Images
    v: Images | None


class Denoised(NamedTuple):
    """What one network call at x_t tells: x̂_0 (Eq. 15) and p_θ(x_{t−1} | x_t)."""

    x_0_hat: Images
    reverse: Gaussian


class DenoisingDiffusion(nn.Module):
    """p_θ(x_{t−1} | x_t) = N(μ̃_t(x_t, x̂_0), σ_t² I), with x̂_0 read from the network's output.

    network: (x, t) -> tensor, x: [b, c, …], t: [b] in 0..T−1 as in the official code, so converted weights agree;
        it returns c channels, or 2c where the variance is learned.
    levels: how many integers a pixel of the data can be; the decoder at t = 1 is discrete over them (Eq. 13).
    steps: which steps of the chain that the network knows this one visits, [T+1]: all of them, and 0 in row 0.
    """

    steps: Tensor

    def __init__(
        self,
        network: nn.Module,
        process: GaussianDiffusion,
        parameterization: Parameterization,
        variance: Variance,
        levels: int = 256,
    ) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.parameterization = parameterization
        self.variance = variance
        self.levels = levels
        self.register_buffer("steps", torch.arange(process.T + 1), persistent=False)

    def forward(self, x_t: Images, t: Timesteps) -> NetworkOutput:
        """The network at (x_t, t), t in 1..T; in the dtype of x_t, so that autocast ends here."""
        output = self.network(x_t, t - 1).to(x_t.dtype)
        if not self.variance.learned:
            return NetworkOutput(output, None)
        f, v = output.chunk(2, dim=1)
        return NetworkOutput(f, v)

    def interpret(self, output: NetworkOutput, x_t: Images, t: Timesteps, clip_x_0: bool = False) -> Denoised:
        """x̂_0: [b, *d], and p_θ(x_{t−1} | x_t), from the network's output at x_t: [b, *d] and t: [b] in 1..T.

        clip_x_0: first bring x̂_0 into [−1, 1].
        """
        x_0_hat = self._x_0_hat(output.f, x_t, t)
        if clip_x_0:
            x_0_hat = x_0_hat.clamp(-1, 1)
        mean = self.process.mu_tilde(x_0_hat, x_t, t)
        return Denoised(x_0_hat, Gaussian(mean, self.variance.log_variance(self.process, t, x_t, output.v)))

    def _x_0_hat(self, f: Images, x_t: Images, t: Timesteps) -> Images:
        return self.parameterization.x_0(self.learned_process, f, x_t, self.learned_t(t))

    @property
    def learned_process(self) -> GaussianDiffusion:
        """The process of the chain that the network was trained on, which says what its output means."""
        return self.process

    def learned_t(self, t: Timesteps) -> Timesteps:
        """The step of that chain that step t of this one is."""
        return t

    def target(self, x_0: Images, x_t: Images, t: Timesteps) -> Images:
        """The output f that gives x̂_0 = x_0: [b, *d]; t: [b] in 1..T."""
        return self.parameterization.target(self.learned_process, x_0, x_t, self.learned_t(t))

    def denoise(self, x_t: Images, t: Timesteps, clip_x_0: bool = False) -> Denoised:
        """One network call at (x_t, t), interpreted."""
        return self.interpret(self(x_t, t), x_t, t, clip_x_0)

    def predict_x_0(self, x_t: Images, t: Timesteps, clip_x_0: bool = False) -> Images:
        """x̂_0 (Eq. 15): [b, *d]; t: [b] in 1..T."""
        return self.denoise(x_t, t, clip_x_0).x_0_hat

    def reverse(self, x_t: Images, t: Timesteps, clip_x_0: bool = False) -> Gaussian:
        """p_θ(x_{t−1} | x_t), t: [b] in 1..T; its mean is Eq. 7 at x̂_0, in every parameterization (Eq. 11 for ε)."""
        return self.denoise(x_t, t, clip_x_0).reverse

    def place(self, t: int) -> int:
        """Which of this chain's steps, 1..T, is nearest to step t of the chain that the network knows."""
        return int((self.steps[1:] - t).abs().argmin()) + 1

    def score(self, x_t: Images, t: Timesteps) -> Images:
        """s_θ(x_t, t) = −ε̂/√(1 − ᾱ_t), an estimate of ∇ log q(x_t): [b, *d]; t: [b] in 1..T."""
        eps_hat = self.process.eps(self.predict_x_0(x_t, t), x_t, t)
        return -eps_hat / at((1 - self.process.alpha_bar).sqrt(), t, x_t)

    def coarsen(self, steps: list[int]) -> "DenoisingDiffusion":
        """The same network on the chain that visits only `steps`, ascending in 1..T; β is recomputed from ᾱ."""
        return _CoarseDiffusion(self, steps)

    def with_variance(self, variance: Variance) -> "DenoisingDiffusion":
        """The same network on the same chain, in the same mode (training or not), with another fixed σ_t²."""
        other = DenoisingDiffusion(self.network, self.process, self.parameterization, variance, self.levels)
        other.training = self.training
        return other


class _CoarseDiffusion(DenoisingDiffusion):
    """Steps 1..K of the coarse chain are steps τ_1 … τ_K of the one that the network knows."""

    def __init__(self, fine: DenoisingDiffusion, steps: list[int]) -> None:
        visited = torch.tensor([0, *steps], device=fine.process.alpha_bar.device)
        process = GaussianDiffusion(CoarseSchedule(T=len(steps), alpha_bar=fine.process.alpha_bar[visited]))
        super().__init__(fine.network, process, fine.parameterization, fine.variance, fine.levels)
        self.fine = fine
        self.training = fine.training
        self.register_buffer("steps", visited, persistent=False)

    def forward(self, x_t: Images, t: Timesteps) -> NetworkOutput:
        return self.fine(x_t, self.steps[t])

    @property
    def learned_process(self) -> GaussianDiffusion:
        return self.fine.process

    def learned_t(self, t: Timesteps) -> Timesteps:
        return self.steps[t]

    def coarsen(self, steps: list[int]) -> DenoisingDiffusion:
        return self.fine.coarsen(self.steps[steps].tolist())

    def with_variance(self, variance: Variance) -> DenoisingDiffusion:
        return self.fine.with_variance(variance).coarsen(self.steps[1:].tolist())
