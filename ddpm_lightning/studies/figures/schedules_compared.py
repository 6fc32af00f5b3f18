"""How much an estimate of the bound varies by schedule, and the schedule for which it varies least."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ddpm_lightning.atomic_files import write_text
from ddpm_lightning.diffusion.likelihood import every_term
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.diffusion.time_spent import fading, least_time, schedule_spending, second_moments, time_spent
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.split_share import measuring
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError, Records
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.studies.figures.abstract_figure import SingleProcessFigure
from ddpm_lightning.training.generate import with_progress
from ddpm_lightning.typing import ByInterval, Terms

LEAST = "least_variance"
OWN = "its_own"


@dataclass
class Schedules(SingleProcessFigure):
    """Compares how well schedules suit a one-draw estimate of the bound.

    One image, one t and one x_t estimate Σ_{t>1} L_{t−1}. Its standard deviation depends on how a schedule spreads t
    between SNR_1 and SNR_T. The figure measures it for several schedules, and for the one that minimises it.

    Args:
        schedules: The schedules to compare, by name. Each is stretched to the model's SNR_1 and SNR_T.
        num_images: Number of training images that the least variance is learned from, and of test images that all
            schedules are measured on.

    References:
        Kingma et al., "Variational Diffusion Models", 2021.
    """

    schedules: dict[str, Schedule]
    num_images: int = 128

    name = "schedules"
    generates = False

    def check(self, subject: Subject) -> None:
        data = self.trained(subject).data
        for taken in {LEAST, OWN} & self.schedules.keys():
            raise UserError(f"{self.option('schedules')} has the name {taken}, which the figure uses; choose another")
        for split in ("train", "test"):
            self.check_count("num_images", 2, len(data.images(split)), f"the {split} split has no more")

    def draw(self, subject: Subject) -> Records:
        """Returns standard deviations by schedule; writes NAME.png, and the best as schedule/least_variance.yaml."""
        trained = self.trained(subject)
        process = trained.model.process
        learned = least_time(self._terms(subject, "train"))
        write_schedule(schedule_spending(learned, process), subject.run_dir / "schedule" / f"{LEAST}.yaml")
        times = {name: time_spent(schedule, process).cpu() for name, schedule in self.schedules.items()}
        times |= {LEAST: learned, OWN: torch.full_like(learned, 1 / len(learned))}
        terms = self._terms(subject, "test")
        found = {name: spread(terms, p) for name, p in times.items()}
        labelled = {f"{name.replace('_', ' ')}: {found[name]['value']:.3g}": p for name, p in times.items()}
        self._draw(subject, process, terms, labelled)
        origin = {"split": "test", "num_images": self.num_images, "clip_x_0": False, **trained.origin}
        suffix = trained.variance_suffix + trained.suffix
        return {f"bound_std_{name}{suffix}": {**record, **origin} for name, record in found.items()}

    def _terms(self, subject: Subject, split: str) -> Terms:
        """Returns L_{t−1} in bits/dim for t = 2..T of the first images of a split, x̂_0 unclipped as in training."""
        trained = self.trained(subject)
        T, n = trained.model.process.T, self.num_images
        parts = []
        with measuring(subject, trained, split, calls_per_image=T, first=n) as bar:
            for batch in trained.data.in_order(split, subject.fabric.device, first=n):
                x_0, model = batch.x_0, trained.model.given(batch.y)
                noise = NoisePerImage(subject.seed, batch.indices.tolist(), x_0.device, f"schedules {split}")
                descending = every_term(model, x_0, randn_like=noise.randn_like, clip_x_0=False)
                terms = [measured.term.cpu() for measured in with_progress(descending, bar, len(x_0))]
                parts.append(torch.stack(terms[::-1][1:], dim=1))  # without L_0
        return torch.cat(parts)

    def _draw(self, subject: Subject, process: GaussianDiffusion, terms: Terms, times: dict[str, ByInterval]) -> None:
        figure, (left, right) = panels(2, width=11)
        log_snr = process.snr[1:].log().cpu()
        for label, p in times.items():
            left.plot(torch.cat([torch.zeros(1), p.cumsum(0)]), log_snr, label=label)
        left.set(xlabel="share of the steps, t/T", ylabel="log SNR")
        left.legend(title="standard deviation, bits/dim", fontsize="small", loc="lower left")
        right.plot(log_snr[1:], terms.double().square().mean(0).sqrt() / fading(process).diff().cpu())
        right.invert_xaxis()
        right.set(xlabel="log SNR", ylabel="√E L² per share of the way, bits/dim", yscale="log")
        sentence = (
            "Left: schedules between the same two noise levels, and how an estimate of Σ L (t > 1) from one image and "
            "one t varies by them. Right: what the levels cost; the least variance goes slowly where they cost much. "
            f"{counted(self.num_images, 'test image')}."
        )
        self.save_curves(subject, figure, sentence)


def spread(terms: Terms, p: ByInterval) -> dict[str, Any]:
    """Returns the standard deviation of L_{t−1}/p(t) over images and t ~ p, with its standard error over images."""
    second, sums = second_moments(terms, p), terms.double().sum(1)
    mean = float(sums.mean())
    deviation = math.sqrt(max(float(second.mean()) - mean**2, 0.0))
    influence = MeanAndError.of(second - 2 * mean * sums)  # of each image on the variance, to first order
    return {
        "value": deviation,
        "standard_error": influence.standard_error / (2 * deviation) if deviation else 0.0,
        "unit": "bits/dim",
        "term": "standard deviation of an estimate of Σ_{t>1} L_{t−1} from one image and one t",
        "mean": mean,
    }


def write_schedule(schedule: Schedule, path: Path) -> None:
    """Writes a schedule as a YAML file that train.py takes as an option of the group `schedule`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    node = {
        "_target_": "ddpm_lightning.diffusion.schedules.GivenSchedule",
        "beta": [float(f"{beta:.9g}") for beta in schedule.betas().tolist()],
    }
    usage = "# python train.py --config-dir=FOLDER schedule=least_variance, where FOLDER/schedule/ holds this file.\n"
    write_text(path, usage + json.dumps(node) + "\n")  # JSON is YAML
