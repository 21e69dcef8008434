"""One step of training: pictures, loss, gradients, clip, update; and the average of the weights.

Shapes: N pictures, K classes, H and W pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.config.params import Recipe
from roadseg.data.augmentation import recolor
from roadseg.data.dataset import Batch
from roadseg.models.losses import log_probabilities, nll_sum
from roadseg.runtime.accelerator import Accelerator
from roadseg.training.criterion import Criterion
from roadseg.training.optimizer import clip_gradients, in_memory_order

_SMALLEST_HALF = 32
"""Pixels of a side below which nothing is halved: four more halvings leave the norms too few."""


class StepResult(NamedTuple):
    """Scalars on the device, without gradients."""

    loss: Tensor
    """What was minimised."""
    cross_entropy: Tensor
    """Sum of the plain cross-entropy over the counted pixels; nats."""
    pixels: Tensor
    """Number of counted pixels."""


def training_pair(
    batch: Batch, accelerator: Accelerator, halved: bool, ignored: int | None
) -> tuple[Tensor, Tensor]:
    """What the network sees of a batch, and what it is to say.

    Args:
        halved: at half the height and width, rounded down, where 32 pixels are left of both.
        ignored: a class that is not trained, or None.

    Returns:
        images: (N, 3, H, W) float32 on the device, 0..1, in the colours that were drawn.
        class_ids: (N, H, W) int64 on the device, 0..K-1 or IGNORE_INDEX.
    """
    images, class_ids = accelerator.pixels(batch.images), accelerator.class_ids(batch.masks)
    if batch.colors is not None:
        recolor(images, batch.colors.to(accelerator.device, non_blocking=True))
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
    objective: Criterion,
    accelerator: Accelerator,
    halved: bool = False,
) -> StepResult:
    """Update `network` once, on `halved` pictures or whole ones.

    The gradients stay readable until the next step.

    Args:
        batch: this process's share of the batch; it may contain no image.
    """
    images, class_ids = training_pair(batch, accelerator, halved, objective.ignored)
    log_probs = log_probabilities(accelerator.logits(network, images))  # (N, K, H, W)
    loss = objective.loss(log_probs, class_ids, accelerator.process_group)
    network.zero_grad()
    loss.backward()
    clip_gradients(network.parameters(), recipe)
    views = optimizer.param_groups[0]["params"]
    for view, parameter in zip(views, network.parameters(), strict=True):
        view.grad = in_memory_order(parameter.grad, parameter)
    optimizer.step()
    result = torch.stack([loss.detach(), *nll_sum(log_probs.detach(), class_ids)])
    return StepResult(*accelerator.process_group.sum(result))


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
