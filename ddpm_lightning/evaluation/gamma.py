"""Measures Γ_t, from which variance=analytic takes the best σ_t² for a trained model."""

from dataclasses import dataclass

import torch

from ddpm_lightning.atomic_files import atomic_write
from ddpm_lightning.diffusion.analytic_variance import every_squared_eps, save_gamma
from ddpm_lightning.evaluation.metric import Metric
from ddpm_lightning.evaluation.split_share import check_first, check_split, first_label, measuring, share_of_split
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.results import Records, add_up
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.training.generate import with_progress

FILE = "gamma.pt"


@dataclass
class Gamma(Metric):
    """Γ_t = E‖ε_θ(x_t, t)‖²/d for every t, over images of a split; written as gamma.pt into the run directory.

    The draws depend only on (seed, image, t). Processes share the images.

    Args:
        split: "train" or "test".
        num_images: number of images, the first of the split; None for all.
    """

    split: str = "train"
    num_images: int | None = 500

    generates = False

    def check(self, subject: Subject) -> None:
        """Raises UserError if there is no model or no such split, or if the split has fewer than num_images images."""
        check_split(self.split)
        check_first("metrics.gamma.num_images", self.num_images, subject.require_model("gamma"), self.split)

    def measure(self, subject: Subject) -> Records:
        """Writes gamma.pt and returns the mean of Γ_t over t."""
        trained = subject.require_model("gamma")
        process = trained.model.process
        sums = torch.zeros_like(process.alpha_bar)
        with measuring(subject, trained, self.split, process.T, self.num_images) as bar:
            for batch in share_of_split(subject, trained, self.split, self.num_images):
                noise = NoisePerImage(subject.seed, batch.indices.tolist(), batch.x_0.device, "gamma")
                steps = every_squared_eps(trained.model.given(batch.y), batch.x_0, randn_like=noise.randn_like)
                for t, squared in enumerate(with_progress(steps, bar, len(batch.x_0)), start=1):
                    sums[t] += squared.double().sum()
        n = self.num_images or len(trained.data.images(self.split))
        gamma = add_up(subject.fabric, sums) / n
        if not subject.fabric.is_global_zero:
            return {}
        with atomic_write(subject.run_dir / FILE) as file:
            save_gamma(file, process, gamma)
        record = {"value": float(gamma[1:].mean()), "file": FILE, "split": self.split, "num_images": n}
        return {self.result_names(subject)[0]: {**record, **trained.origin}}

    def result_names(self, subject: Subject) -> list[str]:
        """Returns the name of the result in results.json."""
        return [f"{self.split}/gamma{first_label(self.num_images)}{subject.require_model('gamma').suffix}"]
