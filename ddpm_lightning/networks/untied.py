"""A network of its own for each step, where the paper shares one: to see what sharing brings."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ddpm_lightning.errors import UserError, check_at_most, check_whole
from ddpm_lightning.typing import Features, Indices


class Untied(nn.Module):
    """(x, t) -> tensor; x: [b, in_channels, h, w], t: [b] in 0..T−1; returns [b, out_channels, h, w].

    network: (in_channels, out_channels, size) -> a network; T of them are made. The one of step t learns from the
    examples of that t alone.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        *,
        T: int,
        network: Callable[[int, int, Sequence[int]], nn.Module],
    ) -> None:
        super().__init__()
        check_whole("network.T", T, 1, "there is a network for each step; use ${schedule.T}")
        check_at_most("network.T", T, 1000, "so many networks take much memory; choose fewer steps, schedule.T=20")
        self.networks = nn.ModuleList(network(in_channels, out_channels, size) for _ in range(T))

    def forward(self, x: Features, t: Indices) -> Features:
        if int(t.max()) >= len(self.networks):
            raise UserError(
                f"network.T={len(self.networks)} networks were made, and none knows step {int(t.max()) + 1} of the "
                "chain; choose network.T=${schedule.T}"
            )
        parts = {int(step): (t == step).nonzero().flatten() for step in t.unique()}
        answers = [self.networks[step](x[rows], t[rows]) for step, rows in parts.items()]
        return torch.cat(answers)[torch.cat(list(parts.values())).argsort()]
