"""Muon (Jordan et al. 2024) for convolution filters; torch.optim.Muon only takes matrices.

The gradient of a convolution has a few large singular values, which dominate gradient descent. Muon
sets all of them to about 1, so that rare patterns are learned as fast as common ones.
Shapes: O filters, M = 9 C entries of each, C input channels.
"""

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

POLYNOMIALS = (
    (8.0934, -23.6204, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)
"""x -> a x + b x^3 + c x^5, applied in turn; together they map every x in 0.01..1 to 1 within 0.27.
Each is optimal for the range that the previous one leaves (Amsel et al. 2025, Polar Express)."""
_BETA2, _EPSILON = 0.999, 1e-8  # torch's defaults for AdamW


def orthogonalize(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring the singular values of U S V^T near 1, so that it is nearly U V^T.

    The polynomials are evaluated on the small Gram matrix X X^T, whose eigenvalues are the squared
    singular values and at most its Frobenius norm; the large matrix is multiplied only twice.

    Args:
        matrix: (O, M) float32, O <= M; zeros stay zeros.
        dtype: precision of the products.

    Returns:
        (O, M) float32; singular values below a hundredth of the largest are raised, but stay small.
    """
    x = matrix.to(dtype)
    gram = (x @ x.T).float()  # (O, O)
    bound: Tensor = gram.norm().clamp(min=1e-30)
    gram = ((gram + gram.T) / (2 * bound)).to(dtype)  # symmetric again after rounding
    factors: list[Tensor] = []
    for number, (a, b, c) in enumerate(POLYNOMIALS, start=1):
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)  # p(x) = x (a + b x^2 + c x^4)
        factor.diagonal().add_(a)
        factors.append(factor)
        if number < len(POLYNOMIALS):
            gram = gram @ factor @ factor
    return ((reduce(torch.matmul, factors) / bound.sqrt()).to(dtype) @ x).float()


class Muon(Optimizer):
    """Muon for 3x3 filters with O <= M, AdamW for all other parameters.

    The others are biases, normalizations, the last layer, filters of other sizes, linear layers,
    and filters with few entries: depthwise and most grouped ones, and the first layer if it has
    more than 27 filters. They have no weight decay, because in the default network they are few
    numbers whose size has a meaning.

    Args:
        parameters: contiguous; filters are (O, 3, 3, C) or (O, C, 3, 3).
        lr: learning rate of the filters; the singular values of an update are near `lr` (in bf16
            up to three times that if one direction dominates the gradient, because the others are
            lost in its rounding).
        momentum: weight of the old average of the gradients, with Nesterov's look-ahead. AdamW's
            first beta is 0.9.
        weight_decay: decoupled decay of the filters: `lr * weight_decay` of each weight per step.
        rest_lr: AdamW's learning rate; a schedule that changes `lr` changes it in proportion.
        dtype: precision of the large matrix products.
        last_layer: weights of the last layer, which may be 3x3 filters.
    """

    def __init__(
        self,
        parameters: ParamsT,
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        rest_lr: float,
        dtype: torch.dtype,
        last_layer: Tensor | None = None,
    ) -> None:
        # `fused` makes Optimizer.load_state_dict keep the step counts on the device
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "fused": True}
        super().__init__(parameters, defaults)
        self.rest_ratio, self.dtype, self.last_layer = rest_lr / lr, dtype, last_layer

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # closures are not supported
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            updates = [(p, p.grad) for p in group["params"] if p.grad is not None]
            self._step_filters([(p, grad) for p, grad in updates if self._is_filter(p)], group)
            self._step_rest([(p, grad) for p, grad in updates if not self._is_filter(p)], group)

    def _is_filter(self, parameter: Tensor) -> bool:
        return parameter is not self.last_layer and is_filter_bank(parameter)

    def _step_filters(self, updates: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        for parameter, gradient in updates:
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
            ahead = gradient.lerp(average, group["momentum"])
            update = orthogonalize(ahead.flatten(1), self.dtype)  # (O, M)
            if group["weight_decay"]:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.view_as(parameter), alpha=-group["lr"])

    def _step_rest(self, updates: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        for parameter, _ in updates:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter, _ in updates]
        adamw(
            [parameter for parameter, _ in updates],
            [gradient for _, gradient in updates],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=_BETA2,
            lr=group["lr"] * self.rest_ratio,
            weight_decay=0.0,
            eps=_EPSILON,
            maximize=False,
        )


def is_filter_bank(parameter: Tensor) -> bool:
    """Return True for 3x3 filters, in either memory format, with O <= M; Muon updates them."""
    is_3x3 = parameter.dim() == 4 and (3, 3) in (parameter.shape[1:3], parameter.shape[2:])
    return is_3x3 and parameter.numel() >= len(parameter) ** 2
