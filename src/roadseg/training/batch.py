"""Preparation of a loaded batch for one training step.

Shapes: N images, H and W pixels.
"""

from torch import Tensor
from torch.nn import functional as F

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.data.augmentation import augment
from roadseg.data.collate import Batch
from roadseg.runtime.accelerator import Accelerator

_MIN_HALVED_SIDE = 32
"""Smallest side of a halved image, pixels: the network halves it four more times, and needs enough
pixels for the statistics of its normalization."""


def prepare_batch(
    batch: Batch, accelerator: Accelerator, halved: bool, ignored_class: int | None
) -> tuple[Tensor, Tensor]:
    """Move a batch to the device and augment it.

    Args:
        halved: halve height and width, rounded down, if both keep at least 32 pixels.
        ignored_class: class id whose pixels are not trained, or None.

    Returns:
        images: (N, 3, H, W) float32, 0..1.
        class_ids: (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
    """
    images = accelerator.pixels(batch.images)
    masks = batch.masks.to(accelerator.device, non_blocking=True)
    if batch.transforms is not None:
        images, masks = augment(images, masks, batch.transforms)
    images = images.contiguous(memory_format=accelerator.memory_format)
    class_ids = masks.long()
    if halved and min(class_ids.shape[1:]) >= 2 * _MIN_HALVED_SIDE:
        rows, columns = (side // 2 for side in class_ids.shape[1:])
        images = F.avg_pool2d(images, 2)  # (N, 3, H // 2, W // 2)
        class_ids = class_ids[:, ::2, ::2][:, :rows, :columns].contiguous()
    if ignored_class is not None:
        class_ids = class_ids.masked_fill(class_ids == ignored_class, IGNORE_INDEX)
    return images.div_(255), class_ids
