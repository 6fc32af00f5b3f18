"""How x̂_0 is clipped while sampling: to [−1, 1], or to a range of its own that large guidance needs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ddpm_lightning.errors import check_interval
from ddpm_lightning.typing import Images


class Clipping(ABC):
    """Brings x̂_0 into [−1, 1].

    Attributes:
        suffix: the suffix of a result's name for images that were clipped so.

    Example:
        >>> class SoftClipping(Clipping):
        ...     suffix = "_soft"
        ...
        ...     def __call__(self, x_0_hat):
        ...         return x_0_hat.tanh()
    """

    suffix: str

    @abstractmethod
    def __call__(self, x_0_hat: Images) -> Images:
        """Returns x̂_0 in [−1, 1]: [b, *d]."""


@dataclass(frozen=True)
class StaticClipping(Clipping):
    """Clips every value of x̂_0 to [−1, 1], as the paper's code does."""

    suffix = ""

    def __call__(self, x_0_hat: Images) -> Images:
        return x_0_hat.clamp(-1, 1)


@dataclass(frozen=True)
class DynamicThresholding(Clipping):
    """Clips x̂_0 to [−s, s] and divides it by s, so that large guidance scales do not saturate the pixels.

        s = max(1, the p-quantile of |x̂_0| over the dimensions of an image)

    Args:
        percentile: p, in (0, 1].

    Raises:
        UserError: the percentile is out of its range.

    References:
        Saharia et al. (2022), "Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding",
        Section 2.3; p = 0.995 in its Appendix.
    """

    percentile: float = 0.995

    def __post_init__(self) -> None:
        check_interval("clipping.percentile", self.percentile, 0, 1, "1 divides by the largest; use 0.995", ends="(]")

    @property
    def suffix(self) -> str:  # type: ignore[override]
        return f"_dynamic{self.percentile:g}"

    def __call__(self, x_0_hat: Images) -> Images:
        s = x_0_hat.abs().flatten(1).float().quantile(self.percentile, dim=1).clamp(min=1).to(x_0_hat.dtype)
        s = s.reshape(-1, *[1] * (x_0_hat.ndim - 1))
        return x_0_hat.clamp(-s, s) / s
