"""Linear measurements of images: the known pixels, and averages over blocks of pixels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import avg_pool2d

from ddpm_lightning.diffusion.restoration.task import in_turn, like
from ddpm_lightning.errors import check_whole
from ddpm_lightning.typing import Images, Measured, SomeImages


class LinearMeasurement(ABC):
    """A linear map H of images whose rows are orthogonal and of one length: H Hᵀ = h I.

    Attributes:
        gain: h.

    Example:
        >>> class LeftHalf(LinearMeasurement):
        ...     gain = 1.0
        ...
        ...     def __call__(self, x):
        ...         return x[..., : x.shape[-1] // 2]
    """

    gain: float

    @abstractmethod
    def __call__(self, x: Images) -> Measured:
        """Returns H x for each image: [b, *m]."""

    def of(self, numbers: Sequence[int]) -> "LinearMeasurement":
        """Returns the measurement for the images of these numbers. By default all images are measured alike."""
        return self

    @property
    def given(self) -> Mapping[str, Tensor]:
        """The tensors that define the measurement, by name."""
        return {}


@dataclass(frozen=True, eq=False)
class Mask(LinearMeasurement):
    """Keeps the known pixels, and makes the others 0, which counts as no measurement of them.

    Args:
        known: 1 where a pixel is known and 0 where it is hidden, [b or 1, *d].
    """

    known: SomeImages

    gain = 1.0

    def __call__(self, x: Images) -> Measured:
        return like(self.known, x) * x

    def of(self, numbers: Sequence[int]) -> "Mask":
        return Mask(in_turn(self.known, numbers))

    @property
    def given(self) -> Mapping[str, Tensor]:
        return {"known": self.known}


@dataclass(frozen=True)
class AveragePooling(LinearMeasurement):
    """The mean of each block of k × k pixels.

    Args:
        factor: k, at least 1.

    Raises:
        UserError: the factor is no such number.
    """

    factor: int = 2

    def __post_init__(self) -> None:
        check_whole("factor", self.factor, 1, "it is the side of a block of pixels; use 2")

    @property
    def gain(self) -> float:  # type: ignore[override]
        return 1 / self.factor**2

    def __call__(self, x: Images) -> Measured:
        return avg_pool2d(x, self.factor)
