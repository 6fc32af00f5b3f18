"""Multistep consistency sampling (Song et al., 2023): an image in one or two network calls."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.samplers.base import Sampler, Traits
from ddpm_lightning.typing import Images, Timesteps


@dataclass(frozen=True, kw_only=True)
class ConsistencySampler(Sampler):
    """Takes the network's x̂_0 for the image, and adds new noise for each further step.

        x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s) z,  z ~ N(0, I),  s the visited step before t      (Algorithm 1 of the reference)

    It is for models whose x̂_0 is a consistency function (`ConsistencyLoss`). Then one step draws from p(x_0), and
    further steps correct errors. The x̂_0 of other models is a mean of many images, and so are these samples.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`. With one step, the sampler is deterministic.

    References:
        Song et al. (2023), "Consistency Models".
    """

    name = "consistency"

    @property
    def traits(self) -> Traits:
        return Traits(random=self.num_steps != 1)

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        x_0_hat = model.predict_x_0(x_t, t, self.clip_x_0)
        return Denoised(x_0_hat, model.process.marginal(x_0_hat, t - 1))
