"""Optimizers, gradient clipping, and the moving average of the weights."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from roadseg.config.recipe import Recipe
from roadseg.models.network import Network
from roadseg.training.muon import Muon


def to_memory_order(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Permute the axes of `tensor`, of the shape of `parameter`, to the parameter's memory order.

    (N, C, H, W) in channels_last is (N, H, W, C) in memory. The result is contiguous; it is a view
    if `tensor` has the memory format of the parameter.
    """
    is_channels_last = not parameter.is_contiguous()
    dense = tensor.detach().permute(0, 2, 3, 1) if is_channels_last else tensor.detach()
    return dense.contiguous()


def build_optimizer(network: Network, recipe: Recipe, precision: str) -> Optimizer:
    """Build the optimizer of `recipe`; all other options have torch's defaults.

    It updates contiguous views of the parameters, because torch's fused kernels copy all others.
    """
    pairs = zip(network.encoder_parameters(), network.parameters(), strict=False)
    if any(first is not second for first, second in pairs):
        raise TypeError(f"the encoder of {type(network).__name__} is not first in parameters()")
    views = [to_memory_order(parameter, parameter) for parameter in network.parameters()]
    groups = _parameter_groups(views, len(network.encoder_parameters()), recipe)
    lr, momentum, weight_decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
    match recipe.optimizer:
        case "rmsprop":  # has no fused kernel, and foreach is not faster on a CPU
            return RMSprop(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
        case "muon":
            return Muon(
                groups,
                lr=lr,
                momentum=momentum,
                weight_decay=weight_decay,
                rest_lr=recipe.rest_learning_rate,
                dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
                last_layer=next(view for view in reversed(views) if view.dim() > 1),
            )
        case "adamw":
            betas = (momentum, 0.999)
            return AdamW(groups, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        case "sgd":
            return SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)


def _parameter_groups(
    views: list[Tensor], num_encoder: int, recipe: Recipe
) -> list[dict[str, Any]]:
    """Return the first `num_encoder` parameters, at the rate of the encoder, and then the rest.

    They are a single group if they always have the same rate and are trained from the same step on
    (torch's fused SGD cannot update a group of which only a part has been updated before).
    """
    if recipe.encoder_rate == 1 and not recipe.encoder_frozen:
        num_encoder = 0
    parts = ((views[:num_encoder], recipe.encoder_rate), (views[num_encoder:], 1.0))
    return [
        {"params": part, "lr": recipe.learning_rate * factor, "rate_factor": factor}
        for part, factor in parts
        if part
    ]


def clip_gradients(parameters: Iterable[Tensor], recipe: Recipe) -> None:
    """Clip the gradients in place, by value or by norm as in `recipe`."""
    match recipe.clip:
        case "value":
            nn.utils.clip_grad_value_(parameters, recipe.clip_limit)
        case "norm":
            nn.utils.clip_grad_norm_(parameters, recipe.clip_limit)


def step_optimizer(optimizer: Optimizer, network: nn.Module) -> None:
    """Update the parameters of `network` that have a gradient, which stays readable."""
    views = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    for view, parameter in zip(views, network.parameters(), strict=True):
        gradient = parameter.grad
        view.grad = None if gradient is None else to_memory_order(gradient, parameter)
    optimizer.step()


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Update the exponential moving average of the weights and normalization statistics in place.

    torch.optim.swa_utils.AveragedModel is the counterpart without warm-up.

    Args:
        step: number of finished steps, including this one; the first steps use a smaller decay.
        decay: weight of the old average, 0 to below 1.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    for old, new in pairs:
        if not old.is_floating_point():  # num_batches_tracked of a normalization
            old.copy_(new)
    moving = [(old, new) for old, new in pairs if old.is_floating_point()]
    torch._foreach_lerp_([old for old, _ in moving], [new for _, new in moving], weight)
