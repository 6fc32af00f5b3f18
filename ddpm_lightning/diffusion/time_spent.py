"""A schedule as the share of its steps that it spends between two noise levels, and the schedule for which one draw of
t tells most of the bound (Kingma et al., 2021, "Variational Diffusion Models", Section 5.1).

As T grows, the bound depends on SNR_1 and SNR_T alone, and the way between them decides how much an estimate from one t
varies: L_{t−1}, the term between the levels SNR_{t−1} and SNR_t, is seen with probability p(t), the time spent there,
and counts as L_{t−1}/p(t). So a schedule is a way to draw t, and `timesteps=importance` another name for it. Kingma et
al. find the best one by gradient descent on the variance; here it is read off the terms of a trained model.
"""

import torch

from ddpm_lightning.diffusion.interpolate import interpolate
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import Schedule, through
from ddpm_lightning.typing import ByInterval, ByStep, PerExample, Terms


def fading(process: GaussianDiffusion) -> ByStep:
    """How far log SNR_t has come on its way from log SNR_1 to log SNR_T: from 0 to 1, for t = 1..T."""
    log_snr = process.half_log_snr[1:]
    return (log_snr[0] - log_snr) / (log_snr[0] - log_snr[-1])


def time_spent(schedule: Schedule, process: GaussianDiffusion) -> ByInterval:
    """p(t) for t = 2..T: the share of its steps that the schedule, its log SNR stretched to the ends of the process,
    spends between SNR_{t−1} and SNR_t of the process. [T−1], sums to 1; for the process's own schedule 1/(T−1)."""
    path = fading(GaussianDiffusion(schedule)).to(process.alpha_bar.device)
    u = torch.linspace(0, 1, len(path), dtype=torch.float64, device=path.device)
    return interpolate(fading(process), path, u).diff()


def second_moments(terms: Terms, p: ByInterval) -> PerExample:
    """E (L_{t−1}/p(t))² over t ~ p, for each of n images: [n]. terms: L_{t−1} of each image, [n, T−1]; p: [T−1]."""
    return (terms.double().square() / p).sum(1)


def least_time(terms: Terms) -> ByInterval:
    """The p(t) for which the mean second moment is least: p(t) ∝ √E L²_{t−1} (by Cauchy and Schwarz). [T−1]."""
    size = terms.double().square().mean(0).sqrt()
    size = size.clamp(min=1e-9 * float(size.max()))  # a level that costs nothing still has to be passed
    return size / size.sum()


def schedule_spending(p: ByInterval, process: GaussianDiffusion) -> Schedule:
    """The schedule that spends the share p(t) of its steps between SNR_{t−1} and SNR_t of the process, from the same
    SNR_1 to the same SNR_T in as many steps."""
    passed = torch.cat([p.new_zeros(1), p.cumsum(0)])
    even = torch.linspace(0, 1, process.T, dtype=torch.float64, device=p.device)
    return through(interpolate(even * passed[-1], passed, process.snr[1:].log().to(p.device)))
