"""Ancestral sampling (Ho et al., 2020, Algorithm 2)."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.samplers.base import Sampler, Traits
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Images, Timesteps


@dataclass(frozen=True, kw_only=True)
class AncestralSampler(Sampler):
    """Draws x_{t−1} ~ p_θ(x_{t−1} | x_t) at every step, as in the paper.

        x_{t−1} = μ_θ(x_t, t) + σ_t z,  z ~ N(0, I) for t > 1, else z = 0                      (Algorithm 2)

    On fewer than T steps, β is recomputed from ᾱ.

    Args:
        num_steps, spacing, clip_x_0: see `Sampler`.

    Raises:
        UserError: num_steps is given, and the model's variance was learned for single steps (by `chain`).
    """

    name = "ancestral"

    @property
    def traits(self) -> Traits:
        return Traits(follows_variance=True)

    def chain(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        if self.num_steps is not None and not model.variance.rescales:
            raise UserError(
                f"sampler.num_steps={self.num_steps} asks for longer steps than those whose variance the network "
                f"learned (variance={model.variance.name}); leave num_steps out, or use sampler=ddim"
            )
        return super().chain(model)

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        return model.denoise(x_t, t, self.clip_x_0)
