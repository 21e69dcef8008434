"""From gradients to new weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from roadseg.config.params import Recipe
from roadseg.training.muon import Muon


def in_memory_order(tensor: Tensor, parameter: Tensor) -> Tensor:
    """`tensor`, of the shape of `parameter`, as the contiguous array that the parameter is.

    (N, C, H, W) in channels_last is (N, H, W, C) in memory. A view where `tensor` lies in memory
    as the parameter does.
    """
    is_channels_last = not parameter.is_contiguous()
    dense = tensor.detach().permute(0, 2, 3, 1) if is_channels_last else tensor.detach()
    return dense.contiguous()


def build_optimizer(parameters: Iterable[Tensor], recipe: Recipe, precision: str) -> Optimizer:
    """The optimizer that `recipe` names; what it does not name is torch's default.

    It works on views of the parameters in the order of their memory, for torch's fused kernels
    copy whatever is not contiguous.
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
    """Limit the gradients in place, as `recipe` says."""
    match recipe.clip:
        case "value":
            nn.utils.clip_grad_value_(parameters, recipe.clip_limit)
        case "norm":
            nn.utils.clip_grad_norm_(parameters, recipe.clip_limit)
