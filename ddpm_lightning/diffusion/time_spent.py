"""Schedules described by the share of their steps between two noise levels, and the best such shares.

As T grows, the bound depends on SNR(1) and SNR(T) alone (Kingma et al., 2021, "Variational Diffusion Models",
Section 5.1). The schedule between the two ends decides how much an estimate from one random t varies: L_{t−1} is drawn
with probability p(t), the share of steps between SNR(t−1) and SNR(t), and counts as L_{t−1}/p(t). So choosing a
schedule is choosing a distribution of t, as timesteps=importance does. Kingma et al. find the best schedule by
gradient descent on the variance; `least_time` computes it from the terms of a trained model.
"""

import torch

from ddpm_lightning.diffusion.likelihood import interpolate
from ddpm_lightning.diffusion.process import GaussianDiffusion
from ddpm_lightning.diffusion.schedules import Schedule, schedule_of_log_snr
from ddpm_lightning.typing import ByInterval, ByStep, PerExample, Terms


def fading(process: GaussianDiffusion) -> ByStep:
    """Returns how far log SNR has fallen at t = 1..T, from 0 at t = 1 to 1 at t = T: [T].

    (log SNR(1) − log SNR(t))/(log SNR(1) − log SNR(T))
    """
    log_snr = process.half_log_snr[1:]
    return (log_snr[0] - log_snr) / (log_snr[0] - log_snr[-1])


def time_spent(schedule: Schedule, process: GaussianDiffusion) -> ByInterval:
    """Returns p(t), the share of a schedule's steps between SNR(t−1) and SNR(t) of a process, for t = 2..T: [T−1].

    The shares sum to 1. The schedule's log SNR is first stretched to the ends of the process. For the schedule of the
    process itself, p(t) = 1/(T−1).

    Args:
        schedule: the schedule whose steps are counted.
        process: the process that gives the noise levels.
    """
    path = fading(GaussianDiffusion(schedule)).to(process.alpha_bar.device)
    u = torch.linspace(0, 1, len(path), dtype=torch.float64, device=path.device)
    return interpolate(fading(process), path, u).diff()


def second_moments(terms: Terms, p: ByInterval) -> PerExample:
    """Returns E_{t~p}(L_{t−1}/p(t))², the second moment of an estimate of the bound from one t, per image: [n].

    Args:
        terms: L_{t−1} of each image for t = 2..T, [n, T−1].
        p: the distribution of t, [T−1].
    """
    return (terms.double().square() / p).sum(1)


def least_time(terms: Terms) -> ByInterval:
    """Returns the p(t) with the least mean second moment: p(t) ∝ √E L²_{t−1} (Cauchy–Schwarz), [T−1].

    Args:
        terms: L_{t−1} of each image for t = 2..T, [n, T−1].
    """
    size = terms.double().square().mean(0).sqrt()
    size = size.clamp(min=1e-9 * float(size.max()))  # SNR must fall at every step, even if its term is 0.
    return size / size.sum()


def schedule_spending(p: ByInterval, process: GaussianDiffusion) -> Schedule:
    """Returns the schedule that has a share p(t) of its steps between SNR(t−1) and SNR(t) of a process.

    It has as many steps as the process, and the same SNR(1) and SNR(T).

    Args:
        p: shares for t = 2..T, [T−1].
        process: the process that gives the noise levels.
    """
    passed = torch.cat([p.new_zeros(1), p.cumsum(0)])
    even = torch.linspace(0, 1, process.T, dtype=torch.float64, device=p.device)
    return schedule_of_log_snr(interpolate(even * passed[-1], passed, process.snr[1:].log().to(p.device)))
