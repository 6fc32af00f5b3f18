"""The tasks of sample.py, each with its options and the files that it is given."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ddpm_lightning.configuration.build import ImageData
from ddpm_lightning.data.pixels import PixelRange
from ddpm_lightning.diffusion.restoration.measurements import AveragePooling, Mask
from ddpm_lightning.diffusion.restoration.pseudoinverse import PseudoinverseGuidance
from ddpm_lightning.diffusion.restoration.repaint import RePaint
from ddpm_lightning.diffusion.restoration.sdedit import SDEdit
from ddpm_lightning.diffusion.restoration.task import NoTask, Task
from ddpm_lightning.errors import UserError
from ddpm_lightning.evaluation.restoration.given_images import read_images, read_known, read_pixels


class TaskFiles(ABC):
    """The options of a task, with the files that it is given.

    Example:
        >>> class Brightened(TaskFiles):
        ...     '''A slight change of images that are made brighter first.'''
        ...
        ...     def read(self, data):
        ...         return SDEdit(image=read_images("photo.png", "task.image=", data) + 0.1, strength=0.2)
    """

    @abstractmethod
    def read(self, data: ImageData) -> Task:
        """Returns the task on its files.

        Args:
            data: gives channels, size and levels of the model's images.

        Raises:
            UserError: a file cannot be read, or does not fit the model.
        """


class NoFiles(TaskFiles):
    """Draws from the model itself, and reads nothing."""

    def read(self, data: ImageData) -> Task:
        return NoTask()


@dataclass(frozen=True, kw_only=True)
class InpaintingFiles(TaskFiles):
    """Fills in the hidden part of images by RePaint.

    Args:
        image: the path of an image, of a folder of images, or of an .npz file.
        mask: the path of a mask, or of as many as there are images. White is filled in, and black is known.
        repeats: how often each stretch of steps is walked, at least 1.
        jump: the length of a stretch, at least 1.
    """

    image: str
    mask: str
    repeats: int = 10
    jump: int = 1

    def read(self, data: ImageData) -> Task:
        image = read_images(self.image, "task.image=", data)
        known = read_known(self.mask, "task.mask=", data, image)
        return RePaint(image=image, known=known, repeats=self.repeats, jump=self.jump)


@dataclass(frozen=True, kw_only=True)
class EditingFiles(TaskFiles):
    """Draws images like given ones by SDEdit.

    Args:
        image: the path of an image, of a folder of images, or of an .npz file.
        strength: the share of T that is noise, in (0, 1].
    """

    image: str
    strength: float = 0.5

    def read(self, data: ImageData) -> Task:
        return SDEdit(image=read_images(self.image, "task.image=", data), strength=self.strength)


@dataclass(frozen=True, kw_only=True)
class GuidedInpaintingFiles(TaskFiles):
    """Fills in the hidden part of images by pseudoinverse guidance.

    Args:
        image: the path of an image, of a folder of images, or of an .npz file.
        mask: the path of a mask, or of as many as there are images. White is filled in, and black is known.
        noise: the standard deviation of the noise in the known pixels, on the scale [−1, 1], at least 0.
        sigma_data: the standard deviation of the data on the scale [−1, 1], above 0.
    """

    image: str
    mask: str
    noise: float = 0.0
    sigma_data: float = 0.5

    def read(self, data: ImageData) -> Task:
        image = read_images(self.image, "task.image=", data)
        known = read_known(self.mask, "task.mask=", data, image)
        return PseudoinverseGuidance(
            measurement=Mask(known), y=image * known, noise=self.noise, sigma_data=self.sigma_data
        )


@dataclass(frozen=True, kw_only=True)
class SuperResolutionFiles(TaskFiles):
    """Draws images whose blocks of pixels have the means that small images give, by pseudoinverse guidance.

    Args:
        image: the path of a small image, of a folder of them, or of an .npz file.
        factor: how many times smaller it is than the model's images, each way, at least 1.
        noise: the standard deviation of the noise in the small image, on the scale [−1, 1], at least 0.
        sigma_data: the standard deviation of the data on the scale [−1, 1], above 0.
    """

    image: str
    factor: int = 2
    noise: float = 0.0
    sigma_data: float = 0.5

    def read(self, data: ImageData) -> Task:
        measurement, (height, width) = AveragePooling(self.factor), data.size
        if height % self.factor or width % self.factor:
            raise UserError(f"factor={self.factor} does not divide {height} and {width}, the sides of the images")
        shape = (data.channels, height // self.factor, width // self.factor)
        y = PixelRange().encode(read_pixels(self.image, "task.image=", shape))
        return PseudoinverseGuidance(measurement=measurement, y=y, noise=self.noise, sigma_data=self.sigma_data)
