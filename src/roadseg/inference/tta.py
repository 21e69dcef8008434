"""Test-time augmentation and ensembles: mean probabilities over views of an image and networks.

Shapes: N images, K classes, H and W pixels.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roadseg.inference.tiling import Tiles, tiled_logits
from roadseg.models.network import Network
from roadseg.runtime.accelerator import Accelerator


class View(NamedTuple):
    """A transformation of an image for test-time augmentation."""

    scale: float
    """Factor of height and width."""
    flip: bool
    """Flip horizontally."""


IDENTITY = View(1.0, False)


def list_views(scales: Sequence[float], flip: bool) -> list[View]:
    """Return a view for each of `scales`, and with `flip` also its mirror image."""
    flips = (False, True) if flip else (False,)
    return [View(scale, flipped) for scale in scales for flipped in flips]


class Ensemble(nn.ModuleList):
    """Networks of one class map whose probabilities `mean_logits` averages."""


def mean_logits(
    network: nn.Module,
    images: Tensor,
    accelerator: Accelerator,
    views: Sequence[View],
    tiles: Sequence[Tiles | None] | None = None,
) -> Tensor:
    """Logits whose softmax is the mean of the probabilities over `views`.

    Args:
        network: one network; or an Ensemble, then the mean is over its networks, too.
        images: (N, 3, H, W) float32, 0..1.
        tiles: of each network, see `tiled_logits`; None: no tiles.

    Returns:
        (N, K, H, W); for one network and IDENTITY alone, the unchanged logits of the network.
    """
    networks = list(network) if isinstance(network, Ensemble) else [network]
    members = list(zip(networks, tiles or [None] * len(networks), strict=True))
    if len(networks) == 1 and list(views) == [IDENTITY]:
        return tiled_logits(networks[0], images, accelerator, members[0][1])
    total = images.new_zeros(())
    for (member, its_tiles), view in itertools.product(members, views):
        total = total + _view_logits(member, images, accelerator, view, its_tiles).softmax(1)
    return (total / (len(networks) * len(views))).clamp(min=1e-30).log()


def _view_logits(
    network: nn.Module, images: Tensor, accelerator: Accelerator, view: View, tiles: Tiles | None
) -> Tensor:
    """Logits of one view, transformed back to the size and orientation of `images`, float32."""
    size = images.shape[2:]
    if view.flip:
        images = images.flip(3)
    if view.scale != 1:
        smallest = network.min_side if isinstance(network, Network) else 1
        sides = [max(smallest, round(side * view.scale)) for side in size]
        images = F.interpolate(images, sides, mode="bilinear", antialias=True)
    images = images.contiguous(memory_format=accelerator.memory_format)
    logits = tiled_logits(network, images, accelerator, tiles).float()
    if view.scale != 1:
        logits = F.interpolate(logits, size, mode="bilinear")
    return logits.flip(3) if view.flip else logits


@torch.inference_mode()
def predict_mask(network: nn.Module, image: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """Predict class ids (H, W) uint8 of one image (H, W, 3) uint8, without resizing it."""
    batch: Tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    logits = accelerator.logits(network, accelerator.images(batch))
    return logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
