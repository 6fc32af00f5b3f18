"""RePaint (Lugmayr et al., 2022): fills in the hidden part of an image, whichever part that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.restoration.task import Task, in_turn, like
from ddpm_lightning.diffusion.samplers import RandnLike, Sampler, Step
from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.typing import Images, SomeImages


@dataclass(frozen=True, kw_only=True, eq=False)
class RePaint(Task):
    """Fills in the hidden part of an image: at each step, the known part is replaced by the noisy given image.

        x_{t−1} = m ⊙ (√ᾱ_{t−1} x + √(1 − ᾱ_{t−1}) ε) + (1 − m) ⊙ (a step of the sampler from x_t)
        x_{t−1+j} ~ q(x_{t−1+j} | x_{t−1}), and back again, r − 1 times             (Algorithm 1 of the reference)

    The repetitions bring the hidden part into harmony with the known one. The result has the known values exactly.
    The hidden part is approximately a draw from the model's p(hidden | known). euler, heun, restart and unipc
    cannot be used, because they have no step from x_t to x_{t−1} alone; dpm_solver takes steps of its first order.

    Args:
        image: x, one for each example or one for all, [b or 1, *d]. Its hidden part has no effect.
        known: m, 1 where x is known and 0 where it is hidden, [b or 1, *d].
        repeats: r, how often each stretch of steps is walked, at least 1.
        jump: j, the length of a stretch, at least 1. Algorithm 1 has 1, and the reference's experiments 10.

    Raises:
        UserError: an argument is out of its range, or the sampler cannot be used (by `trajectory`).

    References:
        Lugmayr et al. (2022), "RePaint: Inpainting using Denoising Diffusion Probabilistic Models".
    """

    image: SomeImages
    known: SomeImages
    repeats: int = 10
    jump: int = 1

    def __post_init__(self) -> None:
        check_whole("repeats", self.repeats, 1, "1 walks each step once; the reference has 10", most=10_000)
        check_whole("jump", self.jump, 1, "it is a number of steps; use 1")

    @property
    def suffix(self) -> str:  # type: ignore[override]
        return f"_repaint{self.repeats}x{self.jump}"

    def check_sampler(self, sampler: Sampler) -> None:
        if type(sampler).trajectory is not Sampler.trajectory:
            raise UserError(
                f"RePaint needs a sampler that steps from t to t − 1 alone, and {sampler.name} does not; use "
                "sampler=ddim or ancestral"
            )

    def trajectory(
        self, model: DenoisingDiffusion, sampler: Sampler, x_T: Images, *, randn_like: RandnLike
    ) -> Iterator[Step]:
        self.check_sampler(sampler)
        chain, x = sampler.chain(model), x_T
        before = chain.process.T + 1
        for t in self.visits(chain.process.T):
            with torch.no_grad():
                if t >= before:
                    x = self._back(chain.process, x, before - 1, t, randn_like)
                x, x_0_hat = self._step(chain, sampler, x, t, randn_like)
            before = t
            yield Step(t, x, x_0_hat)

    def _step(
        self, chain: DenoisingDiffusion, sampler: Sampler, x_t: Images, t: int, randn_like: RandnLike
    ) -> tuple[Images, Images]:
        """Returns x_{t−1} with the noisy known part in its place, and x̂_0 at x_t."""
        steps = torch.full((len(x_t),), t, device=x_t.device)
        x_t = sampler.correct(chain, x_t, steps, randn_like)
        x_0_hat, reverse = sampler.step(chain, x_t, steps)
        drawn = reverse.sample(randn_like(x_t)) if sampler.traits.random and t > 1 else reverse.mean
        given = chain.process.q_sample(like(self.image, x_t), steps - 1, randn_like(x_t))
        return torch.where(like(self.known, x_t) > 0, given, drawn), x_0_hat

    @staticmethod
    def _back(process: GaussianDiffusion, x: Images, s: int, t: int, randn_like: RandnLike) -> Images:
        """Draws x_t ~ q(x_t | x_s) for x_s and s < t, as one step of the forward process."""
        kept = process.alpha_bar[t] / process.alpha_bar[s]
        return kept.sqrt().to(x.dtype) * x + (1 - kept).sqrt().to(x.dtype) * randn_like(x)

    def visits(self, K: int) -> list[int]:
        """Returns the steps t of a chain of K steps at which a step to t − 1 is taken, in order.

        The first jump back is from the last multiple of j, plus 1, as in the reference's code.
        """
        left = dict.fromkeys(range(1, K - self.jump + 1, self.jump), self.repeats - 1)
        t, found = K, list[int]()
        while t > 0:
            found.append(t)
            t -= 1
            if left.get(t, 0):
                left[t] -= 1
                t += self.jump
        return found

    def num_steps(self, model: DenoisingDiffusion, sampler: Sampler) -> int:
        return len(self.visits(sampler.chain(model).process.T))

    def of(self, numbers: Sequence[int]) -> "RePaint":
        return replace(self, image=in_turn(self.image, numbers), known=in_turn(self.known, numbers))

    @property
    def given(self) -> Mapping[str, Tensor]:
        return {"image": self.image * self.known, "known": self.known}
