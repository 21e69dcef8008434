"""Optimizers, gradient clipping, and the moving average of the weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from roadseg.config.params import Recipe
from roadseg.training.muon import Muon


def in_memory_order(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return `tensor`, of the shape of `parameter`, with its axes in the parameter's memory order.

    (N, C, H, W) in channels_last is (N, H, W, C) in memory. The result is contiguous; it is a view
    if `tensor` has the memory format of the parameter.
    """
    is_channels_last = not parameter.is_contiguous()
    dense = tensor.detach().permute(0, 2, 3, 1) if is_channels_last else tensor.detach()
    return dense.contiguous()


def build_optimizer(parameters: Iterable[Tensor], recipe: Recipe, precision: str) -> Optimizer:
    """Build the optimizer of `recipe`; other options have torch's defaults.

    It works on contiguous views of the parameters, because torch's fused kernels copy others.
    """
    parameters = [in_memory_order(parameter, parameter) for parameter in parameters]
    common = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    match recipe.optimizer:
        case "rmsprop":  # torch has it neither fused nor, on a CPU, faster than one by one
            return RMSprop(parameters, momentum=recipe.momentum, **common)
        case "muon":
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            rest_lr = recipe.rest_learning_rate
            return Muon(
                parameters, momentum=recipe.momentum, rest_lr=rest_lr, dtype=dtype, **common
            )
        case "adamw":
            return AdamW(parameters, betas=(recipe.momentum, 0.999), fused=True, **common)
        case "sgd":
            return SGD(parameters, momentum=recipe.momentum, fused=True, **common)


def clip_gradients(parameters: Iterable[Tensor], recipe: Recipe) -> None:
    """Clip the gradients in place as `recipe` says."""
    match recipe.clip:
        case "value":
            nn.utils.clip_grad_value_(parameters, recipe.clip_limit)
        case "norm":
            nn.utils.clip_grad_norm_(parameters, recipe.clip_limit)


def step_optimizer(optimizer: Optimizer, network: nn.Module) -> None:
    """Update the parameters of `network`, whose gradients stay readable until the next step."""
    views = optimizer.param_groups[0]["params"]
    for view, parameter in zip(views, network.parameters(), strict=True):
        view.grad = in_memory_order(parameter.grad, parameter)
    optimizer.step()


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Update an exponential moving average of the weights and of the norms' statistics in place.

    torch.optim.swa_utils.AveragedModel is the counterpart without the warm-up.

    Args:
        step: finished steps, including this one; the first steps use a smaller decay.
        decay: weight of the old average, 0 to below 1.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    for old, new in pairs:
        if not old.is_floating_point():  # the number of batches that a norm has counted
            old.copy_(new)
    moving = [(old, new) for old, new in pairs if old.is_floating_point()]
    torch._foreach_lerp_([old for old, _ in moving], [new for _, new in moving], weight)
