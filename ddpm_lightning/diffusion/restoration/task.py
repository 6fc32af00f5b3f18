"""The interface of a task: what a model and a sampler are used for."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from ddpm_lightning.diffusion.model import DenoisingDiffusion
from ddpm_lightning.diffusion.samplers import RandnLike, Sampler, Step, end_of
from ddpm_lightning.typing import Images, SomeImages


class Task(ABC):
    """Uses a model and a sampler to draw images, such as those that complete a given image.

    Attributes:
        suffix: the end of the names of results on these images.

    Example:
        >>> class Smaller(Task):
        ...     '''Draws from less noise than the model expects.'''
        ...
        ...     suffix = "_smaller"
        ...
        ...     def trajectory(self, model, sampler, x_T, *, randn_like):
        ...         return sampler.trajectory(model, 0.9 * x_T, randn_like=randn_like)
        >>> Smaller().given
        {}
    """

    suffix: str = ""

    @abstractmethod
    def trajectory(
        self, model: DenoisingDiffusion, sampler: Sampler, x_T: Images, *, randn_like: RandnLike
    ) -> Iterator[Step]:
        """Yields every step from x_T to x_0.

        Args:
            model: the reverse process on all T steps.
            sampler: defines the steps.
            x_T: noise ~ N(0, I), [b, *d].
            randn_like: draws ε ~ N(0, I) in the shape of its argument.
        """

    def sample(self, model: DenoisingDiffusion, sampler: Sampler, x_T: Images, *, randn_like: RandnLike) -> Images:
        """Returns x_0, the end of the trajectory: [b, *d]. See `trajectory` for the arguments."""
        return end_of(self.trajectory(model, sampler, x_T, randn_like=randn_like))

    def of(self, numbers: Sequence[int]) -> "Task":
        """Returns the task for the images of these numbers. Image i belongs to given image i mod n of n."""
        return self

    def check_sampler(self, sampler: Sampler) -> None:
        """Raises UserError if the task cannot use the sampler."""

    def num_steps(self, model: DenoisingDiffusion, sampler: Sampler) -> int:
        """Returns the number of steps of a trajectory."""
        return sampler.chain(model).process.T

    @property
    def given(self) -> Mapping[str, Tensor]:
        """The given images and other tensors that the results follow from, by name."""
        return {}


class NoTask(Task):
    """Draws from the model itself, and is given nothing."""

    def trajectory(
        self, model: DenoisingDiffusion, sampler: Sampler, x_T: Images, *, randn_like: RandnLike
    ) -> Iterator[Step]:
        return sampler.trajectory(model, x_T, randn_like=randn_like)


def in_turn(given: SomeImages, numbers: Sequence[int]) -> Images:
    """Returns given image i mod n for each number i: [b, *d].

    Args:
        given: n images, [n, *d].
        numbers: b numbers.
    """
    return given[[number % len(given) for number in numbers]]


def like(given: SomeImages, x: Images) -> Images:
    """Returns the given images in the dtype and on the device of x: [b, *d].

    Args:
        given: one image for each example of x, or one for all, [b or 1, *d].
        x: [b, *d].
    """
    return given.to(x).expand_as(x)
