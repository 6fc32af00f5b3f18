"""Hidden halves of test images, filled in by a model and by simple ways: errors and agreement with the class."""

from dataclasses import dataclass

import torch

from ddpm_lightning.diffusion.restoration.measurements import Mask
from ddpm_lightning.diffusion.restoration.pseudoinverse import PseudoinverseGuidance
from ddpm_lightning.diffusion.restoration.repaint import RePaint
from ddpm_lightning.diffusion.restoration.task import Task
from ddpm_lightning.diffusion.samplers import end_of
from ddpm_lightning.errors import counted
from ddpm_lightning.evaluation.exact_bound import PIXEL_SCALE
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.metrics.extractor import Extractor, extract_all
from ddpm_lightning.runtime.results import MeanAndError, Records
from ddpm_lightning.studies.figures.abstract_figure import SingleProcessFigure
from ddpm_lightning.studies.figures.restoration.fillings import nearest_image, nearest_pixel
from ddpm_lightning.training.generate import check_finite, walk
from ddpm_lightning.typing import Images, Labels, PerExample, SomeImages


@dataclass(kw_only=True)
class RestoredImages(SingleProcessFigure):
    """Fills in the hidden right half of the first test images, in four ways.

    The ways are the nearest known pixel, the training image whose known half is nearest, RePaint, and pseudoinverse
    guidance. Measured for each: the RMSE over hidden pixels, and the share of images whose class, for the extractor,
    is that of the whole image. Drawn: `num_rows` images.

    Args:
        extractor: A classifier of the data's classes. None leaves the share out.
        num_images: Number of test images, at least 2.
        num_rows: Number of images that are drawn.
        repeats: How often RePaint walks each step.
        sigma_data: The standard deviation of the data, for pseudoinverse guidance.
    """

    extractor: Extractor | None = None
    num_images: int = 64
    num_rows: int = 8
    repeats: int = 10
    sigma_data: float = 0.5

    name = "restoration"
    generates = False

    def check(self, subject: Subject) -> None:
        trained = self.check_model(subject)
        trained.model.conditioning.check_free(self.name)
        images, n = self.generated(subject), len(trained.data.images("test"))
        self.check_count("num_images", 2, n, f"the test split has {counted(n, 'image')}")
        self.check_count("num_rows", 1, self.num_images, "num_images is no larger")
        self.check_grid(trained, self.num_rows, 6)
        x = torch.zeros(1, trained.data.channels, *trained.data.size)
        for task in self._tasks(x, self._known(x)).values():
            task.check_sampler(images.sampler)

    def draw(self, subject: Subject) -> Records:
        """Returns the errors and the shares by way; writes restoration.png."""
        x_0 = self.images_of(subject, "test", first=self.num_images)
        known = self._known(x_0)
        filled = self._filled(subject, x_0, known)
        self._draw(subject, x_0, known, filled)
        classes = self._classes(subject, x_0)
        records: Records = {}
        for way, x in filled.items():
            values = {"rmse": _rmse(x, x_0, known)}
            if classes is not None:
                values["agreement"] = (self._classes(subject, x) == classes).float()  # type: ignore[union-attr]
            for quantity, value in values.items():
                name = f"{self.name}_{way.replace(' ', '_')}_{quantity}_{len(x_0)}{self.generated(subject).suffix}"
                records[name] = {**MeanAndError.of(value.cpu()).stated(), **self.origin(subject, self.extractor)}
        return records

    def _known(self, x: Images) -> SomeImages:
        known = torch.ones_like(x[:1])
        known[..., x.shape[-1] // 2 :] = 0
        return known

    def _tasks(self, x: Images, known: SomeImages) -> dict[str, Task]:
        guided = PseudoinverseGuidance(measurement=Mask(known), y=x * known, sigma_data=self.sigma_data)
        return {"repaint": RePaint(image=x, known=known, repeats=self.repeats), "guidance": guided}

    def _filled(self, subject: Subject, x_0: Images, known: SomeImages) -> dict[str, Images]:
        """Returns the images that each way fills in, by the name of the way."""
        train = (batch.x_0 for batch in self.trained(subject).data.in_order("train", x_0.device))
        simple = {"nearest pixel": nearest_pixel(x_0, known), "nearest image": nearest_image(x_0, known, train)}
        tasks = self._tasks(x_0, known)
        return {**simple, **{way: self._by_model(subject, task, x_0.shape[1:]) for way, task in tasks.items()}}

    def _by_model(self, subject: Subject, task: Task, shape: tuple[int, ...]) -> Images:
        images, parts = self.generated(subject), list[Images]()
        for numbers in torch.split(torch.arange(self.num_images), images.batch_size):
            first, count = int(numbers[0]), len(numbers)
            part = task.of(numbers.tolist())
            with subject.fabric.autocast():
                steps = walk(images.model, images.sampler, shape, count, seed=subject.seed, first=first, task=part)
                parts.append(end_of(steps))
            check_finite(parts[-1], numbers.tolist(), subject.seed)
        return torch.cat(parts).clamp(-1, 1)

    def _classes(self, subject: Subject, x: Images) -> Labels | None:
        """Returns the classes of images by the extractor; None without one."""
        if self.extractor is None:
            return None
        pixels = self.chain(subject).to_bytes(x)
        return extract_all(self.extractor.to(subject.fabric.device), [pixels]).logits.argmax(1)

    def _draw(self, subject: Subject, x_0: Images, known: SomeImages, filled: dict[str, Images]) -> None:
        grey = torch.where(known > 0, x_0, torch.zeros_like(x_0))
        columns = [self.chain(subject).to_bytes(x[: self.num_rows]) for x in (x_0, grey, *filled.values())]
        titles = ["whole", "known", *(way.replace(" ", "\n") for way in filled)]
        sentence = "Test images whose right half is hidden, filled in by simple ways and by the model."
        self.save_grid(subject, list(zip(*columns, strict=True)), titles, sentence, "")


def _rmse(x: Images, x_0: Images, known: SomeImages) -> PerExample:
    """Returns the RMSE of each image over its hidden pixels, in units of 0..255: [b]."""
    hidden = 1 - known
    return PIXEL_SCALE * ((hidden * (x - x_0).square()).flatten(1).sum(1) / hidden.sum()).sqrt()
