"""Measures whether the Fréchet distance on a small classifier's features rises as real images get worse.

python -m benchmarks.mathematics.ruler digits    prints a table, and draws ruler.png if a path is given after the name
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ddpm_lightning.data.digits import DigitsDataModule
from ddpm_lightning.data.fashion_mnist import FashionMNISTDataModule
from ddpm_lightning.metrics.classifier import DataSetClassifier
from ddpm_lightning.metrics.extractor import extract_all
from ddpm_lightning.metrics.reference import frechet_distance, statistics_of
from ddpm_lightning.studies.classifier_training import as_bytes

STRENGTHS = (1, 2, 3, 4, 5)
DATA = {"digits": DigitsDataModule, "fashion_mnist": FashionMNISTDataModule}


def noisy(images: Tensor, labels: Tensor, strength: int) -> Tensor:
    """Adds normal noise of standard deviation 20·strength, of 255."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 20 * strength * noise).round().clamp(0, 255).to(torch.uint8)


def blurred(images: Tensor, labels: Tensor, strength: int) -> Tensor:
    """Blurs images by a Gaussian of σ = 0.2 + 0.2·strength pixels."""
    sigma = 0.2 + 0.2 * strength
    return gaussian_blur(images.float(), [7, 7], [sigma, sigma]).round().to(torch.uint8)


def without_classes(images: Tensor, labels: Tensor, strength: int) -> Tensor:
    """Leaves out classes 0 … strength−1."""
    return images[labels >= strength]


SPOILERS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "noise": noisy,
    "blur": blurred,
    "missing classes": without_classes,
}


def measure(name: str) -> tuple[float, dict[str, list[float]]]:
    """Returns the distance between two halves of the training images, and by strength with one half degraded."""
    data, extractor = DATA[name](), DataSetClassifier(name)
    images, labels = as_bytes(data, "train"), data.labels("train")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    real, other = order.chunk(2)

    def statistics(batch: Tensor) -> dict[str, object]:
        return statistics_of(extract_all(extractor, torch.split(batch, 500)).features)

    reference = statistics(images[real])
    floor = frechet_distance(reference, statistics(images[other]))
    spoiled = {
        kind: [frechet_distance(reference, statistics(spoil(images[other], labels[other], k))) for k in STRENGTHS]
        for kind, spoil in SPOILERS.items()
    }
    return floor, spoiled


def draw(floor: float, spoiled: dict[str, list[float]], name: str, path: Path) -> None:
    """Draws the table as a picture."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="strength", ylabel=f"fd_{name}", yscale="log", xticks=[0, *STRENGTHS])
    for kind, distances in spoiled.items():
        axes.plot([0, *STRENGTHS], [floor, *distances], marker="o", label=kind)
    axes.axhline(floor, linestyle=":", color="grey", label="two halves of real images")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def main(name: str, *path: str) -> None:
    """Prints the table as Markdown."""
    floor, spoiled = measure(name)
    print(f"| fd_{name} | none | " + " | ".join(map(str, STRENGTHS)) + " |\n|" + "---|" * (len(STRENGTHS) + 2))
    for kind, distances in spoiled.items():
        print(f"| {kind} | {floor:.3f} | " + " | ".join(f"{distance:.3f}" for distance in distances) + " |")
    for each in path:
        draw(floor, spoiled, name, Path(each))


if __name__ == "__main__":
    main(*sys.argv[1:])
