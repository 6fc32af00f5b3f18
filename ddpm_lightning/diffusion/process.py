"""The forward process q, which turns data into noise (Ho et al., 2020, Section 2: Eq. 2, 4, 6, 7 and L_T)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddpm_lightning.diffusion.gaussian import Gaussian
from ddpm_lightning.diffusion.schedules import Schedule
from ddpm_lightning.errors import UserError
from ddpm_lightning.typing import Betas, Broadcast, Images, PerExample, Table, Timesteps


def at(table: Table, t: Timesteps, like: Images) -> Broadcast:
    """Returns table[t], shaped [b, 1, …] to broadcast over images, in their dtype.

    Args:
        table: one number per step, [T+1].
        t: the rows to read, [b] in 0..T.
        like: images that give the result its dtype and number of dimensions, [b, *d].
    """
    return table[t].to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def _table(row_0: float, rows: Betas) -> Table:
    return torch.cat([rows.new_tensor([row_0]), rows])


def _check(betas: Betas, alpha_bars: Betas) -> None:
    inside = (betas > 0) & (betas < 1) & (alpha_bars > 0) & (alpha_bars < 1)
    if not inside.all():
        t = int(inside.long().argmin())
        raise UserError(
            f"the schedule gives β_{t + 1}={betas[t]:.3g} and ᾱ_{t + 1}={alpha_bars[t]:.3g}, one of them not inside "
            "(0, 1) in float64: some step would add no noise or leave no signal; choose milder ends"
        )


class GaussianDiffusion(nn.Module):
    """The forward process q(x_{1:T} | x_0) of a schedule, as float64 tables of T+1 rows.

        q(x_t | x_{t−1}) = N(√(1 − β_t) x_{t−1}, β_t I)                                             (Eq. 2)
        q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I)                                                     (Eq. 4)
        q(x_{t−1} | x_t, x_0) = N(c_x_0 x_0 + c_x_t x_t, β̃_t I)                                  (Eq. 6, 7)

    Row t of a table belongs to step t. Row 0 is clean data: ᾱ_0 = 1.

    Args:
        schedule: gives β_1 … β_T.

    Attributes:
        T: the number of steps.
        beta, alpha, alpha_bar: β_t, α_t = 1 − β_t and ᾱ_t = Π_{s≤t} α_s.
        beta_tilde: β̃_t = (1 − ᾱ_{t−1})/(1 − ᾱ_t) · β_t (Eq. 7).
        c_x_0, c_x_t: the coefficients of μ̃_t (Eq. 7).
        log_beta, log_beta_tilde: the two fixed choices of log σ_t². Row 1 of both is log β̃_2, as in the official
            code, because β̃_1 = 0. With T = 1 there is no β̃_2, and row 1 is log β_1.

    Raises:
        UserError: some β_t or ᾱ_t is not inside (0, 1).
    """

    beta: Tensor
    alpha: Tensor
    alpha_bar: Tensor
    beta_tilde: Tensor
    c_x_0: Tensor
    c_x_t: Tensor
    log_beta: Tensor
    log_beta_tilde: Tensor

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        betas = schedule.betas()
        alphas = 1 - betas
        alpha_bars = alphas.cumprod(0)
        _check(betas, alpha_bars)
        before = _table(1.0, alpha_bars)[:-1]  # ᾱ_{t−1}
        self.T = len(betas)
        self._add("beta", 0.0, betas)
        self._add("alpha", 1.0, alphas)
        self._add("alpha_bar", 1.0, alpha_bars)
        self._add("beta_tilde", 0.0, (1 - before) / (1 - alpha_bars) * betas)
        self._add("c_x_0", 1.0, before.sqrt() * betas / (1 - alpha_bars))
        self._add("c_x_t", 0.0, alphas.sqrt() * (1 - before) / (1 - alpha_bars))
        self._add("log_beta", -torch.inf, betas.log())
        self._add("log_beta_tilde", -torch.inf, self.beta_tilde[1:].log())
        self.log_beta[1] = self.log_beta_tilde[1] = self.log_beta_tilde[2] if self.T > 1 else self.log_beta[1]

    def _add(self, name: str, row_0: float, rows: Betas) -> None:
        self.register_buffer(name, _table(row_0, rows), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "GaussianDiffusion":
        # `.to(device)` moves the tables, but they stay float64: in bf16, 1 − ᾱ_t is 0 for the first ten steps.
        for name, table in self._buffers.items():
            assert table is not None
            self._buffers[name] = table.to(fn(table).device)
        return self

    @property
    def snr(self) -> Table:
        """SNR(t) = ᾱ_t/(1 − ᾱ_t): [T+1], infinite in row 0."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @property
    def half_log_snr(self) -> Table:
        """λ_t = log(√ᾱ_t/√(1 − ᾱ_t)): [T+1], infinite in row 0."""
        return self.snr.log() / 2

    def marginal(self, x_0: Images, t: Timesteps) -> Gaussian:
        """Returns q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I)  (Eq. 4).

        Args:
            x_0: clean images, [b, *d].
            t: [b] in 1..T.
        """
        return Gaussian(at(self.alpha_bar.sqrt(), t, x_0) * x_0, at((1 - self.alpha_bar).log(), t, x_0))

    def q_sample(self, x_0: Images, t: Timesteps, eps: Images) -> Images:
        """Returns x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε: [b, *d]  (Eq. 4).

        Args:
            x_0: clean images, [b, *d].
            t: [b] in 0..T; t = 0 returns x_0.
            eps: ε ~ N(0, I), [b, *d].
        """
        return at(self.alpha_bar.sqrt(), t, x_0) * x_0 + at((1 - self.alpha_bar).sqrt(), t, x_0) * eps

    def eps(self, x_0: Images, x_t: Images, t: Timesteps) -> Images:
        """Returns the ε that turns x_0 into x_t: ε = (x_t − √ᾱ_t x_0)/√(1 − ᾱ_t), [b, *d]  (Eq. 4 solved for ε).

        Args:
            x_0, x_t: [b, *d].
            t: [b] in 1..T.
        """
        return (x_t - at(self.alpha_bar.sqrt(), t, x_t) * x_0) / at((1 - self.alpha_bar).sqrt(), t, x_t)

    def posterior(self, x_0: Images, x_t: Images, t: Timesteps) -> Gaussian:
        """Returns q(x_{t−1} | x_t, x_0) = N(μ̃_t(x_t, x_0), β̃_t I)  (Eq. 6, 7).

        Args:
            x_0, x_t: [b, *d].
            t: [b] in 1..T. At t = 1 the log-variance is log β̃_2; see `log_beta_tilde`.
        """
        return Gaussian(self.mu_tilde(x_0, x_t, t), at(self.log_beta_tilde, t, x_t))

    def mu_tilde(self, x_0: Images, x_t: Images, t: Timesteps) -> Images:
        """Returns the posterior mean μ̃_t(x_t, x_0): [b, *d].

            μ̃_t = √ᾱ_{t−1} β_t/(1 − ᾱ_t) · x_0 + √α_t (1 − ᾱ_{t−1})/(1 − ᾱ_t) · x_t                (Eq. 7)

        Args:
            x_0, x_t: [b, *d].
            t: [b] in 0..T; t = 0 returns x_0.
        """
        return at(self.c_x_0, t, x_t) * x_0 + at(self.c_x_t, t, x_t) * x_t

    def prior_kl(self, x_0: Images) -> PerExample:
        """Returns L_T = D_KL(q(x_T | x_0) ‖ N(0, I)) in nats, summed over dimensions: [b]  (Eq. 5).

        Args:
            x_0: clean images, [b, *d].
        """
        t = torch.full((len(x_0),), self.T, device=x_0.device)
        prior = Gaussian(torch.zeros_like(x_0), x_0.new_zeros(()))
        return self.marginal(x_0, t).kl(prior)
