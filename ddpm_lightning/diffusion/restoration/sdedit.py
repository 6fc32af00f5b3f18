"""SDEdit (Meng et al., 2022): changes an image by noise, and by the reverse process from there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, full

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.restoration.task import Task, in_turn, like
from ddpm_lightning.diffusion.samplers import RandnLike, Sampler, Step
from ddpm_lightning.errors import check_interval
from ddpm_lightning.typing import Images, SomeImages


@dataclass(frozen=True, kw_only=True, eq=False)
class SDEdit(Task):
    """Draws an image like a given one: it adds the noise of a step t, and samples from there.

        x_t = √ᾱ_t x + √(1 − ᾱ_t) ε,  then x_0 ~ p_θ(x_0 | x_t)                    (Algorithm 1 of the reference)

    Every sampler can continue from x_t. The noise ε is the x_T that `trajectory` is given.

    Args:
        image: x, one for each example or one for all, [b or 1, *d].
        strength: t/T, in (0, 1]. The more noise, the more the result looks like the data and the less like x.

    Raises:
        UserError: the strength is out of its range.

    References:
        Meng et al. (2022), "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations".
    """

    image: SomeImages
    strength: float = 0.5

    def __post_init__(self) -> None:
        check_interval("strength", self.strength, 0, 1, "it is the share of T that is noise; use 0.5", ends="(]")

    @property
    def suffix(self) -> str:  # type: ignore[override]
        return f"_sdedit{self.strength:g}"

    def trajectory(
        self, model: DenoisingDiffusion, sampler: Sampler, x_T: Images, *, randn_like: RandnLike
    ) -> Iterator[Step]:
        start = self.num_steps(model, sampler)
        t = full((len(x_T),), start, device=x_T.device)
        x_t = sampler.chain(model).process.q_sample(like(self.image, x_T), t, x_T)
        return sampler.trajectory(model, x_t, randn_like=randn_like, start=start)

    def num_steps(self, model: DenoisingDiffusion, sampler: Sampler) -> int:
        return sampler.chain(model).nearest_step(round(self.strength * model.process.T))

    def of(self, numbers: Sequence[int]) -> "SDEdit":
        return replace(self, image=in_turn(self.image, numbers))

    @property
    def given(self) -> Mapping[str, Tensor]:
        return {"image": self.image}
