"""Names for the shapes of tensors, used in every annotation; the tests check them at run time.

In a shape, `b` is the batch size and `*d` the shape of one example: (channels, height, width) for an image.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

Images = Float[Tensor, "b *d"]
"""A batch of examples on the scale of the model; clean data lie in [−1, 1]."""

SomeImages = Float[Tensor, "_ *d"]
"""Given images on the scale of the model, not as many as a batch has examples."""

Measured = Float[Tensor, "b *m"]
"""Measurements of a batch of examples, each of the shape *m."""

SomeMeasured = Float[Tensor, "_ *m"]
"""Given measurements, not as many as a batch has examples."""

Features = Float[Tensor, "b _ _ _"]
"""Activations inside a network; channels, height and width may differ from layer to layer."""

Noise = Float[Tensor, "b ..."]
"""The noise that a loss draws for each example: ε alone, or several draws."""

NoisePairs = Float[Tensor, "b 2 *d"]
"""Two draws of noise for each example."""

Tokens = Float[Tensor, "b tokens width"]
"""Activations of a transformer, one vector for each patch of an image."""

Timesteps = Int64[Tensor, "b"]
"""One step t in 1..T per example; t = 0 is clean data."""

PerExample = Float[Tensor, "b"]
"""One number per example."""

Probes = Float[Tensor, "k b *d"]
"""k directions per example, to which a Jacobian is applied."""

ByProbe = Float[Tensor, "k b"]
"""One number per probe and example."""

Trajectories = Float[Tensor, "_ b *d"]
"""The states of each example, one after another."""

Broadcast = Float[Tensor, "..."]
"""A tensor that broadcasts over `Images`."""

Table = Float64[Tensor, "rows"]
"""One number per step, in T+1 rows: row t belongs to step t, and row 0 to clean data."""

Betas = Float64[Tensor, "T"]
"""β_1 … β_T, without a row 0."""

ByStep = Float64[Tensor, "T"]
"""One number per step t = 1..T, without a row 0."""

ByInterval = Float64[Tensor, "intervals"]
"""One number per step t = 2..T, for the noise levels from SNR(t−1) to SNR(t)."""

Terms = Float[Tensor, "n intervals"]
"""One number per image and step t = 2..T."""

Gradient = Float64[Tensor, "weights"]
"""The gradients of all weights in one vector."""

Pixels = UInt8[Tensor, "b c h w"]
"""Images as files hold them: integers in 0..levels−1."""

SomePixels = UInt8[Tensor, "_ c h w"]
"""One of several batches of images; their lengths may differ."""

Points = Float[Tensor, "k d"]
"""k points with d coordinates each."""

PointCloud = Float[Tensor, "n d"]
"""n points with d coordinates each."""

FeatureVectors = Float[Tensor, "n d"]
"""The d features that a classifier computes from each of n images."""

SomeVectors = Float[Tensor, "_ d"]
"""The feature vectors of one of several batches of images."""

OtherVectors = Float[Tensor, "m d"]
"""The feature vectors of m other images, to compare n images with."""

Distances = Float[Tensor, "_"]
"""The distance from each image to its nearest neighbour in another set."""

NeighbourDistances = Float[Tensor, "n k"]
"""The distances from each of n images to its k nearest neighbours, ascending."""

Neighbours = Int64[Tensor, "n k"]
"""The places in a data set of the k nearest neighbours of each of n images."""

Logits = Float[Tensor, "n k"]
"""A classifier's logits of k classes for each of n images."""

Labels = Int64[Tensor, "n"]
"""The classes of n images."""

LabelSets = Int64[Tensor, "n k"]
"""The classes of n sets of k images."""

ImageSets = UInt8[Tensor, "n k c h w"]
"""n sets of k images, in 0..255."""

Classes = Int64[Tensor, "b"]
"""The class that each example is conditioned on, in 0..K−1; −1 is no class."""

Flags = Bool[Tensor, "b"]
"""One yes or no per example."""

Indices = Int64[Tensor, "b"]
"""One place in the data set per example."""


class Examples(NamedTuple):
    """A batch as a DataModule hands it to a model.

    Args:
        x_0: images in [−1, 1], [b, c, h, w].
        indices: indices of the images in the data set, [b].
    """

    x_0: Images
    indices: Indices

    @property
    def y(self) -> None:
        """The classes of the images: there are none."""


class LabelledExamples(NamedTuple):
    """A batch for a model that is conditioned on classes.

    Args:
        x_0: images in [−1, 1], [b, c, h, w].
        indices: indices of the images in the data set, [b].
        y: their classes, [b].
    """

    x_0: Images
    indices: Indices
    y: Classes


AnyExamples = Examples | LabelledExamples
"""A batch, with or without classes."""
