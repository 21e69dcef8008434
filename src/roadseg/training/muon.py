"""Muon (Jordan et al. 2024): every direction of a filter bank moves at the same speed.

A gradient of a convolution, as a matrix, has a few large singular values; plain descent follows
those alone. Muon sets all of them to about 1, so that rare patterns are learned as fast as common
ones. Shapes: O filters, M = 9 C entries of each, C input channels.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

POLYNOMIALS = (
    (8.0934, -23.6204, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)
"""x -> a x + b x^3 + c x^5, one after the other: together they bring every x of 0.01..1 to 1 within
0.27. Each is the best odd polynomial of degree 5 on what the one before leaves, by Remez's
algorithm (Amsel et al. 2025, Polar Express)."""
_BETA2, _EPSILON = 0.999, 1e-8  # AdamW's, torch's defaults


def orthogonalize(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """`matrix` with its singular values brought near 1: of U S V^T nearly U V^T.

    The polynomials work on the small Gram matrix X X^T, whose eigenvalues are the squares, so the
    large matrix is multiplied twice only. Its Frobenius norm bounds the largest of them.

    Args:
        matrix: (O, M) float32, O at most M; of zeros it stays zeros.
        dtype: of the products.

    Returns:
        (O, M) float32; singular values below a hundredth of the largest are raised, but stay small.
    """
    x = matrix.to(dtype)
    gram = (x @ x.T).float()  # (O, O)
    bound = gram.norm().clamp(min=1e-30)
    gram = ((gram + gram.T) / (2 * bound)).to(dtype)  # rounding had left it not quite symmetric
    factor = None
    for number, (a, b, c) in enumerate(POLYNOMIALS, start=1):
        each = torch.addmm(gram, gram, gram, beta=b, alpha=c)  # p(x) = x (a + b x^2 + c x^4)
        each.diagonal().add_(a)
        factor = each if factor is None else factor @ each
        if number < len(POLYNOMIALS):
            gram = gram @ each @ each
    return ((factor / bound.sqrt()).to(dtype) @ x).float()


class Muon(Optimizer):
    """Muon for 3x3 filters with no more outputs than inputs, AdamW for all else.

    The first layer of the default network, whose filters see colours, is among the rest, as are
    biases, norms and the last layer; the rest is not decayed: it is few numbers, whose size means
    something.

    Args:
        parameters: contiguous; filters (O, 3, 3, C) or (O, C, 3, 3).
        lr: of the filters; an update has singular values near `lr` (in bf16 up to three times that
            where one direction dominates a gradient, for the others drown in its rounding).
        momentum: share of the old average in the average of gradients; Nesterov's look-ahead. The
            rest's first beta is 0.9.
        weight_decay: of the filters, decoupled: `lr * weight_decay` of each weight a step.
        rest_lr: of the rest. A schedule that changes `lr` changes it in proportion.
        dtype: of the large products.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        rest_lr: float,
        dtype: torch.dtype,
    ) -> None:
        # `fused` tells Optimizer.load_state_dict to keep the counts of steps on the device
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "fused": True}
        super().__init__(parameters, defaults)
        self.rest_share, self.dtype = rest_lr / lr, dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Update every parameter that has a gradient."""
        (group,) = self.param_groups
        moved = [parameter for parameter in group["params"] if parameter.grad is not None]
        self._step_filters([p for p in moved if is_filter_bank(p)], group)
        self._step_rest([p for p in moved if not is_filter_bank(p)], group)

    def _step_filters(self, filters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in filters:
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            average = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
            ahead = parameter.grad.lerp(average, group["momentum"])
            update = orthogonalize(ahead.flatten(1), self.dtype)  # (O, M)
            if group["weight_decay"]:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.view_as(parameter), alpha=-group["lr"])

    def _step_rest(self, rest: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in rest:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in rest]
        adamw(
            rest,
            [parameter.grad for parameter in rest],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=_BETA2,
            lr=group["lr"] * self.rest_share,
            weight_decay=0.0,
            eps=_EPSILON,
            maximize=False,
        )


def is_filter_bank(parameter: Tensor) -> bool:
    """Whether Muon moves it: 3x3 filters, in either memory format, no more than their entries."""
    is_3x3 = parameter.dim() == 4 and (3, 3) in (parameter.shape[1:3], parameter.shape[2:])
    return is_3x3 and parameter.numel() >= len(parameter) ** 2
