"""What a network makes of a picture, looked at once or in several ways.

Shapes: N pictures, K classes, H and W pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roadseg.inference.tiling import tiled_logits
from roadseg.models.unet import SMALLEST_SIDE
from roadseg.runtime.accelerator import Accelerator


class View(NamedTuple):
    """One of several looks at a picture (test-time augmentation)."""

    scale: float
    """Of height and width."""
    flip: bool
    """Mirrored left for right."""


IDENTITY = View(1.0, False)


def mean_logits(
    network: nn.Module,
    images: Tensor,
    accelerator: Accelerator,
    views: Sequence[View],
    tile: int | None = None,
) -> Tensor:
    """Logits whose softmax is the mean of the probabilities that `views` give.

    Args:
        images: (N, 3, H, W) float32, 0..1.
        tile: as `tiled_logits` takes it.

    Returns:
        (N, K, H, W); of one view as it is, the network's own.
    """
    if list(views) == [IDENTITY]:
        return tiled_logits(network, images, accelerator, tile)
    total: Tensor | float = 0.0
    for view in views:
        total = total + _viewed_logits(network, images, accelerator, view, tile).softmax(1)
    return (total / len(views)).clamp(min=1e-30).log()


def _viewed_logits(
    network: nn.Module, images: Tensor, accelerator: Accelerator, view: View, tile: int | None
) -> Tensor:
    """(N, K, H, W) float32, of the picture as it lies."""
    size = images.shape[2:]
    seen = images.flip(3) if view.flip else images
    if view.scale != 1:
        sides = [max(SMALLEST_SIDE, round(side * view.scale)) for side in size]
        seen = F.interpolate(seen, sides, mode="bilinear", antialias=True)
    seen = seen.contiguous(memory_format=accelerator.memory_format)
    logits = tiled_logits(network, seen, accelerator, tile).float()
    if view.scale != 1:
        logits = F.interpolate(logits, size, mode="bilinear")
    return logits.flip(3) if view.flip else logits


@torch.inference_mode()
def predict_mask(network: nn.Module, image: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """(H, W) uint8 class ids that `network` predicts for `image`, (H, W, 3) uint8."""
    batch: Tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    logits = accelerator.logits(network, accelerator.images(batch))
    return logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
