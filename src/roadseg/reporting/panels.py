"""Image, mask and prediction of a network side by side, for figures and TensorBoard.

Shapes: H, W pixels. All panels are (H, W, 3) uint8, RGB.
"""

import numpy as np
from torch import nn

from roadseg.data.prepared import PreparedDataset
from roadseg.inference.colors import colorize, error_map, overlay
from roadseg.inference.tta import predict_mask
from roadseg.runtime.accelerator import Accelerator

Panels = dict[str, np.ndarray]
"""Panels by column title."""


def image_and_mask(prepared: PreparedDataset, name: str) -> Panels:
    """Return the image `name` and its mask in colors."""
    image, mask = prepared.pair(name)
    return {"image": np.array(image), "mask": colorize(mask, prepared.class_map().colors)}


def prediction_and_overlay(image: np.ndarray, class_ids: np.ndarray, colors: np.ndarray) -> Panels:
    """Draw the predicted `class_ids`, (H, W) uint8, alone and over `image`, (H, W, 3) uint8."""
    return {
        "prediction": colorize(class_ids, colors),
        "overlay": overlay(image, class_ids, colors),
    }


def comparison_panels(
    network: nn.Module, prepared: PreparedDataset, name: str, accelerator: Accelerator
) -> Panels:
    """Return the image `name`, its mask, the prediction of `network`, an overlay and the errors."""
    class_map, (image, mask) = prepared.class_map(), prepared.pair(name)
    class_ids = predict_mask(network, image, accelerator)
    return {
        **image_and_mask(prepared, name),
        **prediction_and_overlay(image, class_ids, class_map.colors),
        "errors": error_map(image, mask, class_ids, class_map.void_id),
    }
