"""An optimizer for matrices and another one for the other weights, as one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ddpm_lightning.errors import UserError, check_whole


class MuonWithAdamW(Optimizer):
    """PyTorch's Muon for every weight of two and more dimensions, and its AdamW for the others, such as biases.

    Muon replaces the momentum M of a matrix by the nearest matrix with orthonormal rows or columns:

        M ← μ M + (1 − μ) G,  O = UVᵀ for (1 − μ) G + μ M = USVᵀ,  W ← (1 − η λ) W − 0.2 η √max(m, n) O

    Newton's iteration approximates O in bf16. The factor 0.2 √max(m, n) gives the entries of an m×n matrix the size of
    step that AdamW takes, so both share the learning rate η. A convolution [out, in, k, k] is a matrix [out, in·k·k].

    Args:
        params: the weights.
        lr: η of both.
        weight_decay: λ of both, applied to the weights themselves.
        momentum: μ of Muon.
        nesterov: whether O is that of (1 − μ) G + μ M, as above, or of M.
        ns_steps: steps of Newton's iteration, 1 to 99.
        betas, eps: those of AdamW.

    Raises:
        UserError: if PyTorch is older than 2.9, or ns_steps is out of bounds.
        ValueError: if another argument is out of bounds.

    References:
        Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks".
        Liu et al. (2025), "Muon is Scalable for LLM Training", whose factor of the learning rate this is.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise UserError(f"optimizer=muon needs PyTorch 2.9, and this is {torch.__version__}; use optimizer=adamw")
        check_whole("optimizer.ns_steps", ns_steps, 1, "Newton's iteration needs some steps; use 5", most=99)
        weights = list(params)
        groups = [[w for w in weights if w.dim() > 1], [w for w in weights if w.dim() <= 1]]
        options: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        options |= {"ns_steps": ns_steps, "betas": tuple(betas), "eps": eps}
        super().__init__([{"params": group} for group in groups], options)
        for make in (self._muon, self._adamw):
            make([torch.zeros(1, 1)], options)  # raises ValueError for an option out of bounds

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step. Calls `closure` first, which computes the loss and the gradients, and returns its loss."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for make, group in zip((self._muon, self._adamw), self.param_groups, strict=True):
            views = {weight: _matrix(weight.detach()) for weight in group["params"] if weight.grad is not None}
            if views:
                self._step_through(make([*views.values()], group), views)
        return loss

    def _step_through(self, optimizer: Optimizer, views: dict[nn.Parameter, Tensor]) -> None:
        """Takes a step of `optimizer`, and so of the weights.

        Args:
            optimizer: was made for this step; it gets the state that is kept here between steps.
            views: the optimizer's parameters by weight. They share the memory of the weights.
        """
        for weight, view in views.items():
            assert weight.grad is not None
            view.grad = weight.grad.reshape(view.shape)
            optimizer.state[view] = self.state[weight]
        optimizer.step()

    @staticmethod
    def _muon(views: list[Tensor], options: dict[str, Any]) -> Optimizer:
        names = ("lr", "weight_decay", "momentum", "nesterov", "ns_steps")
        chosen = {name: options[name] for name in names}
        return torch.optim.Muon(views, adjust_lr_fn="match_rms_adamw", **chosen)

    @staticmethod
    def _adamw(views: list[Tensor], options: dict[str, Any]) -> Optimizer:
        return AdamW(views, **{name: options[name] for name in ("lr", "weight_decay", "betas", "eps")})


def _matrix(weight: Tensor) -> Tensor:
    """Returns a view of a weight as a matrix, if it has that many dimensions."""
    return weight.view(len(weight), -1) if weight.dim() > 1 else weight
