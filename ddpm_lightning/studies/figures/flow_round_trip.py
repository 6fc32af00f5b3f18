"""The probability flow: what it encodes test images to, and how well it decodes them again."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ddpm_lightning.diffusion.probability_flow import CALLS_PER_STEP, ProbabilityFlow, check_num_steps
from ddpm_lightning.diffusion.variance_exploding import VarianceExploding
from ddpm_lightning.errors import UserError, counted
from ddpm_lightning.evaluation.exact_bound import PIXEL_SCALE
from ddpm_lightning.evaluation.subject import Subject
from ddpm_lightning.runtime.plots import panels
from ddpm_lightning.runtime.progress_bars import progress_bar
from ddpm_lightning.runtime.results import MeanAndError, Records
from ddpm_lightning.runtime.signals import STOP
from ddpm_lightning.studies.figures.abstract_figure import SingleProcessFigure
from ddpm_lightning.studies.figures.canvas import draw_errors, mark
from ddpm_lightning.studies.figures.latents import Chain
from ddpm_lightning.studies.figures.plane import are_points, draw_paths
from ddpm_lightning.training.generate import evaluating
from ddpm_lightning.typing import Images

BINS = 60


class Trip(NamedTuple):
    """The way of images to x_T and back by one solver.

    path: x after each step to x_T; of pictures only the last, to save memory. back: the decoded images.
    """

    path: list[Images]
    back: Images

    @property
    def x_T(self) -> Images:
        return self.path[-1]


@dataclass
class Flow(SingleProcessFigure):
    """Encodes the first test images to x_T by the probability flow, and decodes them again.

    The images are blurred by σ_1 first, because the flow leads data of that noise level to N(0, I).

    Measured: the RMSE between an image and its decoding, in 0..255 or, for points, in the plane. By the finest solver,
    also the mean of x_T's coordinates and of their squares, which are 0 and 1 for N(0, 1).
    Drawn: both, and `num_rows` images, or the paths of all points.

    Args:
        steps: Numbers of steps each way, one solver each.
        num_images: Number of test images, at least 2.
        num_rows: Number of images that are drawn.
    """

    steps: list[int]
    num_images: int = 256
    num_rows: int = 6

    name = "probability_flow"
    generates = False

    def check(self, subject: Subject) -> None:
        trained = self.trained(subject)
        trained.model.conditioning.check_free(self.name)
        self.generated(subject)
        if not are_points(trained):
            self.check_model(subject)
            self.check_grid(trained, self.num_rows, 2 + len(self.steps))
        if not self.steps:
            raise UserError(f"{self.option('steps')}=[] asks for no solver; use [5,10,20,50]")
        for steps in self.steps:
            check_num_steps(self.option("steps"), steps)
        self.check_count("num_images", 2, len(trained.data.images("test")), "the test split has no more")
        self.check_count("num_rows", 1, self.num_images, "num_images is no larger")

    def draw(self, subject: Subject) -> Records:
        """Returns the RMSE by steps and the moments of x_T; writes NAME.png, and NAME_images.png or NAME_paths.png."""
        chain = self.chain(subject)
        x_0 = self._blurred(chain, self.images_of(subject, "test", first=self.num_images))
        trips = self._round_trips(chain, x_0)
        finest = trips[max(self.steps)]
        errors = {steps: MeanAndError.of(self._rmse(subject, x_0, trip.back)) for steps, trip in trips.items()}
        self._draw_curves(subject, errors, finest.x_T)
        if are_points(self.trained(subject)):
            sentence = (
                f"The ways of {counted(self.num_images, 'test point')} along the probability flow, from x_0 to x_T."
            )
            paths = torch.stack([*reversed(finest.path), x_0])
            self.save_curves(subject, draw_paths(paths), sentence, "_paths")
        else:
            self._draw_images(chain, x_0, finest.x_T, {steps: trip.back for steps, trip in trips.items()})
        return {**self._errors(subject, errors), **self._moments(subject, finest.x_T)}

    def _blurred(self, chain: Chain, x_0: Images) -> Images:
        """Returns x_0 + σ_1 ε."""
        eps = chain.noise(range(len(x_0)), "flow").randn_like(x_0)
        first = torch.ones(len(x_0), dtype=torch.int64, device=x_0.device)
        return VarianceExploding(chain.images.model.process).q_sample(x_0, first, eps)

    def _round_trips(self, chain: Chain, x_0: Images) -> dict[int, Trip]:
        """Returns a trip for each number of steps, the smallest number first."""
        flows = [ProbabilityFlow(chain.images.model, steps) for steps in sorted(self.steps)]
        total = 2 * len(x_0) * sum(flow.calls for flow in flows)
        bar = progress_bar(total=total, desc=self.name, unit="call", unit_scale=True, leave=False)
        with evaluating(chain.images.model), chain.subject.fabric.autocast(), bar:
            return {flow.num_steps: self._trip(chain, flow, x_0, bar) for flow in flows}

    def _trip(self, chain: Chain, flow: ProbabilityFlow, x_0: Images, bar: "tqdm[Any]") -> Trip:
        trips = [self._trip_of_batch(chain, flow, part, bar) for part in torch.split(x_0, chain.images.batch_size)]
        paths = zip(*(trip.path for trip in trips), strict=True)
        return Trip([torch.cat(batches) for batches in paths], torch.cat([trip.back for trip in trips]))

    def _trip_of_batch(self, chain: Chain, flow: ProbabilityFlow, x_0: Images, bar: "tqdm[Any]") -> Trip:
        path: deque[Images] = deque(maxlen=None if are_points(self.trained(chain.subject)) else 1)

        def after_step(x: Images) -> None:
            STOP.check()
            bar.update(CALLS_PER_STEP * len(x))

        def after_encoding_step(x: Images) -> None:
            after_step(x)
            path.append(x)

        x_T = flow.encode(x_0, after_encoding_step)
        return Trip(list(path), flow.decode(x_T, after_step))

    def _rmse(self, subject: Subject, x_0: Images, back: Images) -> Tensor:
        """Returns the RMSE of each image: [n], in the unit of `_unit`."""
        scale = 1.0 if are_points(self.trained(subject)) else PIXEL_SCALE
        return scale * (x_0 - back).square().flatten(1).mean(1).sqrt().cpu()

    def _unit(self, subject: Subject) -> str:
        return "of the plane" if are_points(self.trained(subject)) else "of 0–255"

    def _errors(self, subject: Subject, errors: dict[int, MeanAndError]) -> Records:
        trained = self.trained(subject)
        return {
            f"flow_round_trip_rmse_{steps}steps{trained.suffix}": {
                **error.stated(),
                "unit": self._unit(subject),
                "network_calls": 2 * ProbabilityFlow(trained.model, steps).calls,
                "num_images": self.num_images,
                **trained.origin,
            }
            for steps, error in errors.items()
        }

    def _moments(self, subject: Subject, x_T: Images) -> Records:
        """Returns the mean of the coordinates and of their squares, with errors over images."""
        trained = self.trained(subject)
        moments = {"mean": (x_T, 0.0), "square": (x_T.square(), 1.0)}
        return {
            f"flow_x_T_{name}_{max(self.steps)}steps{trained.suffix}": {
                **MeanAndError.of(x.flatten(1).mean(1).cpu()).stated(),
                "of_a_normal_distribution": expected,
                "num_images": self.num_images,
                **trained.origin,
            }
            for name, (x, expected) in moments.items()
        }

    def _draw_curves(self, subject: Subject, errors: dict[int, MeanAndError], x_T: Images) -> None:
        figure, (trips, latents) = panels(2, width=10)
        draw_errors(trips, errors)
        label = f"RMSE after both ways ({self._unit(subject)})"
        trips.set(xscale="log", yscale="log", xlabel="steps of the solver", ylabel=label)
        mark(trips, list(errors))
        line = torch.linspace(-4, 4, 200)
        latents.hist(x_T.flatten().cpu().numpy(), bins=BINS, range=(-4, 4), density=True, label="x_T of test data")
        latents.plot(line, (-line.square() / 2).exp() / math.sqrt(2 * math.pi), color="black", label="N(0, 1)")
        latents.set(xlabel="coordinate of x_T", ylabel="density")
        latents.legend(fontsize="small")
        sentence = (
            f"{counted(self.num_images, 'test example')}, blurred by σ_1, encoded by the probability flow and "
            "decoded again: how far off they come back, by steps of the solver each way "
            f"({CALLS_PER_STEP} network calls each); and what they are encoded to, "
            f"by {counted(max(self.steps), 'step')}."
        )
        self.save_curves(subject, figure, sentence)

    def _draw_images(self, chain: Chain, x_0: Images, x_T: Images, back: dict[int, Images]) -> None:
        columns = [chain.to_bytes(x[: self.num_rows]) for x in (x_0, x_T, *back.values())]
        titles = ["x_0", "x_T", *(f"back in\n{counted(steps, 'step')}" for steps in back)]
        sentence = "Test images, what the probability flow encodes them to, and what it decodes again."
        self.save_grid(chain.subject, list(zip(*columns, strict=True)), titles, sentence, "_images")
