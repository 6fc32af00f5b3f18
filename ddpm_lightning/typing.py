"""The shape vocabulary, named once.

`b` is the batch, `*d` whatever one example is made of (channels, height and width for an image, two numbers for
a point in the plane). The tests check every annotation at run time.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

Images = Float[Tensor, "b *d"]
"""A batch of examples on the scale of the model, [-1, 1] for clean data."""

Features = Float[Tensor, "b _ _ _"]
"""What flows through a network: channels, height and width may change from layer to layer."""

Timesteps = Int64[Tensor, "b"]
"""One t of 1..T for each example."""

PerExample = Float[Tensor, "b"]
"""One number for each example."""

Probes = Float[Tensor, "k b *d"]
"""k directions for each example, along which a Jacobian is felt."""

ByProbe = Float[Tensor, "k b"]
"""One number for each of k probes of each example."""

Ways = Float[Tensor, "_ b *d"]
"""Where each example was, place by place."""

Broadcast = Float[Tensor, "..."]
"""A tensor that broadcasts over `Images`."""

Table = Float64[Tensor, "rows"]
"""T+1 rows in float64; row t belongs to step t, and row 0 to clean data."""

Betas = Float64[Tensor, "T"]
"""β_1 … β_T, without a row 0."""

ByStep = Float64[Tensor, "T"]
"""One number for each t = 1..T, without a row 0."""

ByInterval = Float64[Tensor, "intervals"]
"""One number for each t = 2..T: for the noise levels from SNR_{t−1} to SNR_t."""

Terms = Float[Tensor, "n intervals"]
"""The same for each of n images."""

Gradient = Float64[Tensor, "weights"]
"""Of all weights, one after another."""

Pixels = UInt8[Tensor, "b c h w"]
"""Images as the files hold them: integers 0..levels-1."""

SomePixels = UInt8[Tensor, "_ c h w"]
"""One of several batches of images, which may differ in length."""

Points = Float[Tensor, "k d"]
"""k points of d coordinates each."""

PointCloud = Float[Tensor, "n d"]
"""n points of d coordinates each."""

FeatureVectors = Float[Tensor, "n d"]
"""What a classifier sees in n images, d numbers each."""

SomeVectors = Float[Tensor, "_ d"]
"""The same of one of several batches of images."""

OtherVectors = Float[Tensor, "m d"]
"""The same of m other images."""

Distances = Float[Tensor, "_"]
"""How far each of some images is from the nearest of others."""

NeighbourDistances = Float[Tensor, "n k"]
"""How far the k nearest are from each of n images, ascending."""

Neighbours = Int64[Tensor, "n k"]
"""Which the k nearest are, by their places in their data set."""

Logits = Float[Tensor, "n k"]
"""What a classifier takes n images for, among k classes."""

Labels = Int64[Tensor, "n"]
"""The classes of n images."""

LabelSets = Int64[Tensor, "n k"]
"""The classes of n sets of k images."""

ImageSets = UInt8[Tensor, "n k c h w"]
"""n sets of k images, in 0..255."""

Flags = Bool[Tensor, "b"]
"""One yes or no for each example."""

Indices = Int64[Tensor, "b"]
"""Places of examples in a data set."""


class Examples(NamedTuple):
    """What a DataModule hands to a model: x_0 ~ q(x_0), [b, c, h, w] in [−1, 1], and its places in the data set."""

    x_0: Images
    indices: Indices
