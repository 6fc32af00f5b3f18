"""A separate network for every step, to measure what the paper's shared network gains."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ddpm_lightning.errors import UserError, check_whole
from ddpm_lightning.typing import Classes, Features, Indices


class Untied(nn.Module):
    """T networks of the same kind, one per step; each learns from the examples of its own t alone.

    Args:
        in_channels, out_channels, size: what each network is built for; see `UNet`.
        T: the number of steps, in 1..1000.
        network: (in_channels, out_channels, size, further options) -> a new network.
        **options: further options of each network, such as num_classes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        *,
        T: int,
        network: Callable[..., nn.Module],
        **options: int,
    ) -> None:
        super().__init__()
        advice = "each step has a network of its own, which takes memory; use ${schedule.T} with schedule.T=20"
        check_whole("network.T", T, 1, advice, most=1000)
        self.networks = nn.ModuleList(network(in_channels, out_channels, size, **options) for _ in range(T))

    def forward(self, x: Features, t: Indices, *y: Classes) -> Features:
        """Returns the output of each example's network: [b, out_channels, h, w].

        Args:
            x: [b, in_channels, h, w].
            t: [b] in 0..T−1.
            y: the class of each example, [b], if the networks are conditioned on it.
        """
        if int(t.max()) >= len(self.networks):
            raise UserError(
                f"network.T={len(self.networks)} networks were made, and none knows step {int(t.max()) + 1} of the "
                "chain; choose network.T=${schedule.T}"
            )
        parts = {int(step): (t == step).nonzero().flatten() for step in t.unique()}
        answers = [self.networks[step](x[rows], t[rows], *(each[rows] for each in y)) for step, rows in parts.items()]
        return torch.cat(answers)[torch.cat(list(parts.values())).argsort()]
