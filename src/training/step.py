"""One step of training: pictures, loss, gradients, clip, update, average.

Shapes: N pictures, K classes, H and W pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from src.config import Recipe
from src.data.augment import recolor
from src.data.batches import Batch
from src.labels import IGNORE_INDEX, ClassMap
from src.model.loss import log_shares, lovasz_loss, share_loss_sum, square_root_weights
from src.model.machine import Machine
from src.training.muon import Muon

_SMALLEST_HALF = 32
"""Pixels of a side below which nothing is halved: four more halvings leave the norms too few."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a training minimises, and over which pixels."""

    class_weights: Tensor | None
    """(K,) float32 on the device, or None for a plain mean of the cross-entropy."""
    lovasz: float
    """Weight of Lovász's loss."""
    void_id: int | None
    """The class that Lovász's loss leaves out, as mIoU does."""
    ignored: int | None
    """The class that is not trained."""


def objective(
    recipe: Recipe, class_map: ClassMap, pixels: np.ndarray, device: torch.device
) -> Objective:
    """What `recipe` asks for.

    Args:
        pixels: (K,) int, training pixels of each class.
    """
    ignored = class_map.void_id if recipe.void == "ignored" else None
    weights = None
    if recipe.class_weights == "sqrt":
        trained = pixels.copy()
        if ignored is not None:
            trained[ignored] = 0
        weights = square_root_weights(trained).to(device)
    return Objective(
        class_weights=weights, lovasz=recipe.lovasz, void_id=class_map.void_id, ignored=ignored
    )


class StepResult(NamedTuple):
    """Scalars on the device, without gradients."""

    loss: Tensor
    """What was minimised."""
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


def training_pair(
    batch: Batch, machine: Machine, halved: bool, ignored: int | None
) -> tuple[Tensor, Tensor]:
    """What the network sees of a batch, and what it is to say.

    Args:
        halved: at half the height and width, rounded down, where 32 pixels are left of both.
        ignored: a class that is not trained, or None.

    Returns:
        images: (N, 3, H, W) float32 on the device, 0..1, in the colours that were drawn for them.
        class_ids: (N, H, W) int64 on the device, 0..K-1 or IGNORE_INDEX.
    """
    images, class_ids = machine.pixels(batch.images), machine.class_ids(batch.masks)
    if batch.colors is not None:
        recolor(images, batch.colors.to(machine.device, non_blocking=True))
    if halved and min(class_ids.shape[1:]) >= 2 * _SMALLEST_HALF:
        rows, columns = (side // 2 for side in class_ids.shape[1:])
        images = F.avg_pool2d(images, 2)  # (N, 3, H // 2, W // 2)
        class_ids = class_ids[:, ::2, ::2][:, :rows, :columns].contiguous()
    if ignored is not None:
        class_ids = class_ids.masked_fill(class_ids == ignored, IGNORE_INDEX)
    return images.div_(255), class_ids


def train_step(
    network: nn.Module,
    optimizer: Optimizer,
    batch: Batch,
    recipe: Recipe,
    objective: Objective,
    machine: Machine,
    halved: bool = False,
) -> StepResult:
    """Update `network` once, on `halved` pictures or whole ones.

    The gradients stay readable until the next step.
    """
    images, class_ids = training_pair(batch, machine, halved, objective.ignored)
    shares = log_shares(machine.logits(network, images))  # (N, K, H, W)
    total, count = share_loss_sum(shares, class_ids, objective.class_weights)
    loss = total / count.clamp(min=1e-12)  # a batch of nothing but ignored pixels teaches nothing
    if objective.lovasz:
        loss = loss + objective.lovasz * lovasz_loss(shares, class_ids, objective.void_id)
    network.zero_grad()
    loss.backward()
    clip_gradients(network.parameters(), recipe)
    views = optimizer.param_groups[0]["params"]
    for view, parameter in zip(views, network.parameters(), strict=True):
        view.grad = in_memory_order(parameter.grad, parameter)
    optimizer.step()
    if objective.class_weights is None:
        return StepResult(loss.detach(), total.detach(), count)
    with torch.no_grad():
        plain, pixels = share_loss_sum(shares.detach(), class_ids)
    return StepResult(loss.detach(), plain, pixels)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, decay: float) -> None:
    """Let `average` follow `network`, weights and the norms' statistics: an exponential average.

    Args:
        step: finished steps, this one too; the first ones average over the few there are.
        decay: weight of the old average, 0 to below 1.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    ours, theirs = average.state_dict().values(), network.state_dict().values()
    pairs = list(zip(ours, theirs, strict=True))
    for old, new in pairs:
        if not old.is_floating_point():  # batches that a norm has counted
            old.copy_(new)
    moving = [(old, new) for old, new in pairs if old.is_floating_point()]
    torch._foreach_lerp_([old for old, _ in moving], [new for _, new in moving], share)
