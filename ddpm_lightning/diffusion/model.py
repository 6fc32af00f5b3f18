"""The reverse process p_θ(x_{t−1} | x_t), made of a network, a process, a parameterization and a variance."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.conditional.conditioning import Conditioning, NoConditioning
from ddpm_lightning.diffusion.conditional.thresholding import Clipping, StaticClipping
from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.parameterizations import Parameterization
from ddpm_lightning.diffusion.process import GaussianDiffusion, at
from ddpm_lightning.diffusion.schedules import CoarseSchedule
from ddpm_lightning.diffusion.variances import Variance
from ddpm_lightning.typing import Classes, Images, Timesteps


class NetworkOutput(NamedTuple):
    """The output of one network call, split by its readers.

    Args:
        f: what the parameterization reads, [b, *d].
        v: what a learned variance reads, [b, *d]; None if the variance is fixed.
    """

    f: Images
    v: Images | None


class Denoised(NamedTuple):
    """The result of one network call at x_t.

    Args:
        x_0_hat: x̂_0, the prediction of x_0  (Eq. 15), [b, *d].
        reverse: the distribution of x_{t−1}: p_θ(x_{t−1} | x_t), or a sampler's own.
    """

    x_0_hat: Images
    reverse: Gaussian


class DenoisingDiffusion(nn.Module):
    """The reverse process, whose mean is the posterior mean at the network's prediction of x_0.

        p_θ(x_{t−1} | x_t) = N(μ̃_t(x_t, x̂_0), σ_t² I)                                      (Eq. 1, 7, 11)

    Args:
        network: (x, t) -> output, for x: [b, c, …] and t: [b] in 0..T−1, as in the official code, so that converted
            weights agree. The output has c channels, or 2c if the variance is learned.
        process: the forward process.
        parameterization: what the network predicts.
        variance: σ_t².
        levels: how many values a pixel of the data can take; the decoder at t = 1 is discrete over them (Eq. 13).
        conditioning: what `given` conditions the model on; None for nothing. With classes, the network also takes
            them: (x, t, y) -> output.

    Attributes:
        steps: the steps of the chain that the network was trained on which this chain visits, [T+1]; 0 in row 0.
    """

    steps: Tensor

    def __init__(
        self,
        network: nn.Module,
        process: GaussianDiffusion,
        parameterization: Parameterization,
        variance: Variance,
        levels: int = 256,
        conditioning: Conditioning | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.parameterization = parameterization
        self.variance = variance
        self.levels = levels
        self.conditioning = conditioning or NoConditioning()
        self.condition: tuple[Classes, ...] = ()
        self.clipping: Clipping = StaticClipping()
        variance.check(process)
        self.register_buffer("steps", torch.arange(process.T + 1), persistent=False)

    def forward(self, x_t: Images, t: Timesteps) -> NetworkOutput:
        """Calls the network, which is fed t − 1.

        Args:
            x_t: [b, *d].
            t: [b] in 1..T.

        Returns:
            f and v in the dtype of x_t: autocast ends here.
        """
        network_input = self.parameterization.network_input(self.process, x_t, t)
        output = self.network(network_input, t - 1, *self.condition_of(x_t)).to(x_t.dtype)
        if not self.variance.learned:
            return NetworkOutput(output, None)
        f, v = output.chunk(2, dim=1)
        return NetworkOutput(f, v)

    def given(self, y: Classes | None) -> "DenoisingDiffusion":
        """Returns the same model conditioned on classes, p_θ(x_{t−1} | x_t, y); the model itself if y is None.

        Args:
            y: the class of each example, [b] in 0..K−1, or −1 for no class. It fits batches of b examples, and of
                several such batches after one another.
        """
        return self if y is None else self._view(self.variance, (y.to(self.process.alpha_bar.device),))

    def condition_of(self, x_t: Images) -> tuple[Classes, ...]:
        """Returns the classes of a batch as further arguments of the network; () if there are none."""
        return tuple(y.repeat(len(x_t) // len(y)) for y in self.condition)

    def interpret(self, output: NetworkOutput, x_t: Images, t: Timesteps, clip_x_0: bool = False) -> Denoised:
        """Computes x̂_0 and p_θ(x_{t−1} | x_t) from the network's output.

        Args:
            output: the network's output at (x_t, t).
            x_t: [b, *d].
            t: [b] in 1..T.
            clip_x_0: whether to clip x̂_0 to [−1, 1] before the mean is computed.
        """
        x_0_hat = self.parameterization.x_0(self.trained_process, output.f, x_t, self.trained_t(t))
        if clip_x_0:
            x_0_hat = self.clipping(x_0_hat)
        mean = self.process.mu_tilde(x_0_hat, x_t, t)
        return Denoised(x_0_hat, Gaussian(mean, self.variance.log_variance(self.process, t, x_t, output.v)))

    @property
    def label(self) -> str:
        """The part of the names of bits/dim that says which of them compare, such as "beta" or "beta_given_class"."""
        return self.variance.name + self.conditioning.suffix

    @property
    def trained_process(self) -> GaussianDiffusion:
        """The process that the network was trained on; another one than `process` after `coarsen`."""
        return self.process

    def trained_t(self, t: Timesteps) -> Timesteps:
        """Returns the steps of `trained_process` that the steps t of this chain stand for: [b]."""
        return t

    def target(self, x_0: Images, x_t: Images, t: Timesteps) -> Images:
        """Returns the output f for which x̂_0 = x_0: [b, *d].

        Args:
            x_0, x_t: [b, *d].
            t: [b] in 1..T.
        """
        return self.parameterization.target(self.trained_process, x_0, x_t, self.trained_t(t))

    def denoise(self, x_t: Images, t: Timesteps, clip_x_0: bool = False) -> Denoised:
        """Calls the network once, and returns x̂_0 and p_θ(x_{t−1} | x_t).

        Args:
            x_t: [b, *d].
            t: [b] in 1..T.
            clip_x_0: whether to clip x̂_0 to [−1, 1].
        """
        return self.interpret(self(x_t, t), x_t, t, clip_x_0)

    def predict_x_0(self, x_t: Images, t: Timesteps, clip_x_0: bool = False) -> Images:
        """Returns x̂_0: [b, *d]  (Eq. 15). See `denoise` for the arguments."""
        return self.denoise(x_t, t, clip_x_0).x_0_hat

    def reverse(self, x_t: Images, t: Timesteps, clip_x_0: bool = False) -> Gaussian:
        """Returns p_θ(x_{t−1} | x_t); its mean is Eq. 11 if the network predicts ε. See `denoise` for the arguments."""
        return self.denoise(x_t, t, clip_x_0).reverse

    def nearest_step(self, t: int) -> int:
        """Returns the step in 1..T of this chain that is nearest to step t of the chain used in training."""
        return int((self.steps[1:] - t).abs().argmin()) + 1

    def score(self, x_t: Images, t: Timesteps) -> Images:
        """Returns s_θ(x_t, t) = −ε̂/√(1 − ᾱ_t), an estimate of ∇ log q(x_t): [b, *d].

        Args:
            x_t: [b, *d].
            t: [b] in 1..T.
        """
        eps_hat = self.process.eps(self.predict_x_0(x_t, t), x_t, t)
        return -eps_hat / at((1 - self.process.alpha_bar).sqrt(), t, x_t)

    def coarsen(self, steps: list[int]) -> "DenoisingDiffusion":
        """Returns the same network on a chain that visits only some steps; β is recomputed from ᾱ.

        Args:
            steps: the steps to visit, ascending in 1..T; their number is the T of the new chain.
        """
        return _CoarseDiffusion(self, steps)

    def with_variance(self, variance: Variance) -> "DenoisingDiffusion":
        """Returns the same network on the same chain, in the same mode (training or not), with another fixed σ_t²."""
        return self._view(variance, self.condition)

    def _view(self, variance: Variance, condition: tuple[Classes, ...]) -> "DenoisingDiffusion":
        parts = (self.network, self.process, self.parameterization, variance, self.levels, self.conditioning)
        view = DenoisingDiffusion(*parts)
        view.training, view.condition, view.steps = self.training, condition, self.steps
        view.clipping = self.clipping
        return view

    def with_clipping(self, clipping: Clipping) -> "DenoisingDiffusion":
        """Returns the same model, whose x̂_0 is clipped in another way where clipping is asked for."""
        if clipping == self.clipping:
            return self
        view = self._view(self.variance, self.condition)
        view.clipping = clipping
        return view


class _CoarseDiffusion(DenoisingDiffusion):
    """A chain whose steps 1..K are steps τ_1 … τ_K of the chain that the network was trained on."""

    def __init__(self, fine: DenoisingDiffusion, steps: list[int]) -> None:
        visited = torch.tensor([0, *steps], device=fine.process.alpha_bar.device)
        process = GaussianDiffusion(CoarseSchedule(T=len(steps), alpha_bar=fine.process.alpha_bar[visited]))
        super().__init__(fine.network, process, fine.parameterization, fine.variance, fine.levels, fine.conditioning)
        self.fine = fine
        self.training, self.clipping = fine.training, fine.clipping
        self.register_buffer("steps", visited, persistent=False)

    def forward(self, x_t: Images, t: Timesteps) -> NetworkOutput:
        return self.fine(x_t, self.steps[t])

    @property
    def trained_process(self) -> GaussianDiffusion:
        return self.fine.process

    def trained_t(self, t: Timesteps) -> Timesteps:
        return self.steps[t]

    def given(self, y: Classes | None) -> DenoisingDiffusion:
        return self.fine.given(y).coarsen(self.steps[1:].tolist())

    def coarsen(self, steps: list[int]) -> DenoisingDiffusion:
        return self.fine.coarsen(self.steps[steps].tolist())

    def with_variance(self, variance: Variance) -> DenoisingDiffusion:
        return self.fine.with_variance(variance).coarsen(self.steps[1:].tolist())

    def with_clipping(self, clipping: Clipping) -> DenoisingDiffusion:
        return self.fine.with_clipping(clipping).coarsen(self.steps[1:].tolist())
