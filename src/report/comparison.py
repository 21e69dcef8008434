"""A picture, its mask and what a network predicts, side by side; for figures and TensorBoard.

Shapes: H, W pixels; all that is shown is (H, W, 3) uint8, RGB, by the title of its column.
"""

import numpy as np
from torch import nn

from src.data.cache import Cache
from src.inference.views import predicted_mask
from src.model.machine import Machine
from src.palette import colorized, errors, overlaid

Shown = dict[str, np.ndarray]


def with_mask(cache: Cache, name: str) -> Shown:
    """A picture and its mask."""
    image, mask = cache.pair(name)
    return {"image": np.array(image), "mask": colorized(mask, cache.class_map().colors)}


def with_prediction(image: np.ndarray, class_ids: np.ndarray, colors: np.ndarray) -> Shown:
    """What was predicted for `image`, (H, W, 3) uint8: `class_ids`, (H, W) uint8."""
    return {
        "prediction": colorized(class_ids, colors),
        "overlay": overlaid(image, class_ids, colors),
    }


def compared(network: nn.Module, cache: Cache, name: str, machine: Machine) -> Shown:
    """A picture, its mask, what `network` predicts and where that is wrong."""
    class_map, (image, mask) = cache.class_map(), cache.pair(name)
    class_ids = predicted_mask(network, image, machine)
    return {
        **with_mask(cache, name),
        **with_prediction(image, class_ids, class_map.colors),
        "errors": errors(image, mask, class_ids, class_map.void_id),
    }
