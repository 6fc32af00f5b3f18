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
from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.evaluation.split_share import measuring
from ddpm_lightning.evaluation.subject import Subject, Trained
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.results import MeanAndError
from ddpm_lightning.seeding import NoisePerImage
from ddpm_lightning.studies.figures.abstract_figure import Figure
from ddpm_lightning.studies.figures.canvas import save_curves
from ddpm_lightning.training.generate import counted
from ddpm_lightning.typing import ByInterval, Terms

LEAST = "least_variance"
OWN = "its_own"


@dataclass
class Schedules(Figure):
    """One image, one t, one x_t estimate Σ_{t>1} L_{t−1}: with what standard deviation, if t is spread as a schedule
    spreads it between SNR_1 and SNR_T of the model's own? And which schedule has the least (Kingma et al., 2021)?

    schedules: those that are compared, by name, stretched to the model's SNR_1 and SNR_T. num_images: the first so many
    of the training images, from which the least is learned, and of the test images, on which all are measured. One
    process does the work.
    """

    schedules: dict[str, Schedule]
    num_images: int = 128

    name = "schedules"

    def check(self, subject: Subject) -> None:
        """Raises UserError where there is no model, or fewer images."""
        data = self.trained(subject).data
        for taken in {LEAST, OWN} & self.schedules.keys():
            raise UserError(f"{self.option('schedules')} names one {taken}, as the figure does; give it another name")
        check_whole(self.option("num_images"), self.num_images, 2, "one image tells nothing of others; use 128")
        for split in ("train", "test"):
            check_at_most(self.option("num_images"), self.num_images, len(data.images(split)), f"so many {split}")

    def measure(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Standard deviations by schedule; schedules.png, and the least as schedule/least_variance.yaml."""
        if not subject.fabric.is_global_zero:
            return {}
        trained = self.trained(subject)
        process = trained.model.process
        learned = least_time(self._terms(subject, "train"))
        write_schedule(schedule_spending(learned, process), subject.run_dir / "schedule" / f"{LEAST}.yaml")
        times = {name: time_spent(schedule, process).cpu() for name, schedule in self.schedules.items()}
        times |= {LEAST: learned, OWN: torch.full_like(learned, 1 / len(learned))}
        terms = self._terms(subject, "test")
        found = {name: spread(terms, p) for name, p in times.items()}
        ways = {f"{name.replace('_', ' ')}: {found[name]['value']:.3g}": p for name, p in times.items()}
        self._draw(process, terms, ways, subject.run_dir / f"{self.name}.png")
        return {
            f"bound_std_{name}{trained.swapped}{trained.suffix}": {**record, **self._origin(trained)}
            for name, record in found.items()
        }

    def _terms(self, subject: Subject, split: str) -> Terms:
        """L_{t−1} in bits/dim of the first images of a split, t = 2..T, as they are trained: x̂_0 unclipped."""
        trained = self.trained(subject)
        T, n = trained.model.process.T, self.num_images
        parts = []
        with measuring(subject, trained, split, calls_per_image=T, first=n) as bar:
            for x_0, indices in trained.data.in_order(split, subject.fabric.device, first=n):
                noise = NoisePerImage(subject.seed, indices.tolist(), x_0.device, f"schedules {split}")
                asked = every_term(trained.model, x_0, randn_like=noise.randn_like, clip_x_0=False)
                terms = [measured.term.cpu() for measured in counted(asked, bar, len(x_0))]
                parts.append(torch.stack(terms[::-1][1:], dim=1))  # from t = T down to 1, and L_0 is no term of these
        return torch.cat(parts)

    def _origin(self, trained: Trained) -> dict[str, Any]:
        return {"split": "test", "num_images": self.num_images, "clip_x_0": False, **trained.origin}

    def _draw(self, process: GaussianDiffusion, terms: Terms, times: dict[str, ByInterval], path: Path) -> None:
        figure, (ways, sizes) = panels(2, width=11)
        log_snr = process.snr[1:].log().cpu()
        for label, p in times.items():
            ways.plot(torch.cat([torch.zeros(1), p.cumsum(0)]), log_snr, label=label)
        ways.set(xlabel="share of the steps, t/T", ylabel="log SNR")
        ways.legend(title="standard deviation, bits/dim", fontsize="small", loc="lower left")
        falls = fading(process).diff().cpu()
        sizes.plot(log_snr[1:], terms.double().square().mean(0).sqrt() / falls)
        sizes.invert_xaxis()
        sizes.set(xlabel="log SNR", ylabel="√E L² per share of the way, bits/dim", yscale="log")
        sentence = (
            "Left: schedules between the same two noise levels, and how an estimate of Σ L (t > 1) from one image and "
            "one t varies by them. Right: what the levels cost; the least variance goes slowly where they cost much. "
            f"{self.num_images} test images."
        )
        save_curves(figure, sentence, path)


def spread(terms: Terms, p: ByInterval) -> dict[str, Any]:
    """The standard deviation of L_{t−1}/p(t) over images and t ~ p, and its standard error over the images."""
    second, sums = second_moments(terms, p), terms.double().sum(1)
    mean = float(sums.mean())
    deviation = math.sqrt(max(float(second.mean()) - mean**2, 0.0))
    varying = MeanAndError.of(second - 2 * mean * sums)  # what the variance changes by with each image, to first order
    return {
        "value": deviation,
        "standard_error": varying.standard_error / (2 * deviation) if deviation else 0.0,
        "unit": "bits/dim",
        "term": "standard deviation of an estimate of Σ_{t>1} L_{t−1} from one image and one t",
        "mean": mean,
    }


def write_schedule(schedule: Schedule, path: Path) -> None:
    """As an option of the group `schedule`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    node = {
        "_target_": "ddpm_lightning.diffusion.schedules.GivenSchedule",
        "beta": [float(f"{beta:.9g}") for beta in schedule.betas().tolist()],
    }
    usage = "# python train.py --config-dir=FOLDER schedule=least_variance, where FOLDER/schedule/ holds this file.\n"
    write_text(path, usage + json.dumps(node) + "\n")  # JSON is YAML
