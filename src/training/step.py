"""One step of training: loss, gradients, clip, update.

Shapes: N pictures, K classes, H and W pixels.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from src.config import Recipe
from src.data.augment import recolor
from src.data.batches import Batch
from src.model.loss import log_shares, share_loss_sum
from src.model.machine import Machine


class StepResult(NamedTuple):
    """Scalars on the device, without gradients."""

    loss: Tensor
    """What was minimised: mean over the counted pixels, weighted by class where the recipe says."""
    cross_entropy: Tensor
    """Sum of the plain cross-entropy over the counted pixels; nats."""
    pixels: Tensor
    """Number of counted pixels."""


def in_memory_order(tensor: Tensor, parameter: Tensor) -> Tensor:
    """`tensor`, of the shape of `parameter`, as the contiguous array that the parameter is.

    (N, C, H, W) in channels_last is (N, H, W, C) in memory. A view where `tensor` lies in memory
    as the parameter does.
    """
    is_channels_last = not parameter.is_contiguous()
    dense = tensor.detach().permute(0, 2, 3, 1) if is_channels_last else tensor.detach()
    return dense.contiguous()


def build_optimizer(parameters: Iterable[Tensor], recipe: Recipe) -> Optimizer:
    """The optimizer that `recipe` names; what it does not name is torch's default.

    It works on views of the parameters in the order of their memory, for torch's fused kernels
    copy whatever is not contiguous.
    """
    parameters = [in_memory_order(parameter, parameter) for parameter in parameters]
    common = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    match recipe.optimizer:
        case "rmsprop":  # torch has it neither fused nor, on a CPU, faster than one by one
            return RMSprop(parameters, momentum=recipe.momentum, **common)
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


def training_images(batch: Batch, machine: Machine) -> Tensor:
    """(N, 3, H, W) float32 on the device, 0..1, in the colours that were drawn for them."""
    images = machine.pixels(batch.images)
    if batch.colors is not None:
        recolor(images, batch.colors.to(machine.device, non_blocking=True))
    return images.div_(255)


def train_step(
    network: nn.Module,
    optimizer: Optimizer,
    batch: Batch,
    recipe: Recipe,
    class_weights: Tensor | None,
    machine: Machine,
) -> StepResult:
    """Update `network` once. The gradients stay readable until the next step.

    Args:
        class_weights: (K,) float32 on the machine's device, or None for a plain mean.
    """
    images, class_ids = training_images(batch, machine), machine.class_ids(batch.masks)
    shares = log_shares(machine.logits(network, images))  # (N, K, H, W)
    total, count = share_loss_sum(shares, class_ids, class_weights)
    loss = total / count.clamp(min=1e-12)  # a batch of nothing but ignored pixels teaches nothing
    network.zero_grad()
    loss.backward()
    clip_gradients(network.parameters(), recipe)
    views = optimizer.param_groups[0]["params"]
    for view, parameter in zip(views, network.parameters(), strict=True):
        view.grad = in_memory_order(parameter.grad, parameter)
    optimizer.step()
    if class_weights is None:
        return StepResult(loss.detach(), total.detach(), count)
    with torch.no_grad():
        plain, pixels = share_loss_sum(shares.detach(), class_ids)
    return StepResult(loss.detach(), plain, pixels)
