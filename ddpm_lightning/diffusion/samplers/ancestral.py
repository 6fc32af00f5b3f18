"""Algorithm 2 of the paper."""

from dataclasses import dataclass

from ddpm_lightning.diffusion.model import Denoised, DenoisingDiffusion
from ddpm_lightning.diffusion.samplers.base import Sampler
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Images, Timesteps


@dataclass(frozen=True, kw_only=True)
class AncestralSampler(Sampler):
    """Algorithm 2: x_{t−1} ~ p_θ(x_{t−1} | x_t). On a subset of the steps, β is recomputed from ᾱ."""

    name = "ancestral"

    @property
    def follows_variance(self) -> bool:
        return True

    def chain(self, model: DenoisingDiffusion) -> DenoisingDiffusion:
        if self.num_steps is not None and not model.variance.rescales:
            raise UserError(
                f"sampler.num_steps={self.num_steps} asks for longer steps than those whose variance the network "
                f"learned (variance={model.variance.name}); leave num_steps out, or use sampler=ddim"
            )
        return super().chain(model)

    def step(self, model: DenoisingDiffusion, x_t: Images, t: Timesteps, before: Images | None = None) -> Denoised:
        return model.denoise(x_t, t, self.clip_x_0)
