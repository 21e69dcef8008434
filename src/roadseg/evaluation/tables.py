"""Tables of metrics for reports and plots, with classes in the order of the class map.

Shapes: K classes, P images.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from roadseg.config.class_map import ClassMap
from roadseg.evaluation.metrics import (
    class_accuracy,
    dice,
    divide,
    exclude_true_class,
    iou,
    segmentation_metrics,
)


def per_class(class_map: ClassMap, confusion: np.ndarray, boundary_f: np.ndarray) -> pd.DataFrame:
    """Metrics of each class; true void pixels are excluded as in `miou`.

    Args:
        confusion: (K, K) int, confusion matrix; rows are the true classes.
        boundary_f: (K,) float, boundary F-score of each class, 0..1 or NaN.

    Returns:
        Columns class, iou, dice, accuracy and boundary_f (0..1, NaN if absent), pixels, and color
        (#rrggbb), in class order. In the row of void, void counts as an ordinary class, but its
        boundary_f is NaN.
    """
    void_id = class_map.void_id
    without_void = exclude_true_class(confusion, void_id)
    functions = {"iou": iou, "dice": dice, "accuracy": class_accuracy}
    metrics = {name: function(without_void) for name, function in functions.items()}
    if void_id is not None:
        for name, function in functions.items():
            metrics[name][void_id] = function(confusion)[void_id]
    metrics["boundary_f"] = boundary_f
    pixels = {"pixels": confusion.sum(1), "color": class_map.hex_colors}
    return pd.DataFrame({"class": class_map.names, **metrics, **pixels})


def per_image(class_map: ClassMap, ids: Sequence[str], confusions: np.ndarray) -> pd.DataFrame:
    """Metrics of each image, sorted by ascending mIoU.

    Args:
        ids: names of the P images.
        confusions: (P, K, K) int, their confusion matrices.

    Returns:
        Columns rank (1, 2, ..), picture (the name), miou and pixel_accuracy (0..1, without void).
        Images whose pixels are all void or ignored are omitted.
    """
    rows = [segmentation_metrics(confusion, class_map.void_id) for confusion in confusions]
    columns = {name: [row[name] for row in rows] for name in ("miou", "pixel_accuracy")}
    table = pd.DataFrame({"picture": list(ids), **columns}).dropna()
    table = table.sort_values(["miou", "picture"], ignore_index=True)
    table.insert(0, "rank", range(1, len(table) + 1))
    return table


def confusion_pairs(class_map: ClassMap, confusion: np.ndarray) -> pd.DataFrame:
    """Confusion matrix (K, K) as a table with one row per pair of classes, in class order.

    Returns:
        Columns actual, predicted, pixels, and share (fraction of the pixels of the actual class,
        0..1; NaN if that class does not occur).
    """
    names, count = class_map.names, class_map.num_classes
    share = divide(confusion, confusion.sum(1, keepdims=True))
    return pd.DataFrame(
        {
            "actual": np.repeat(names, count),
            "predicted": np.tile(names, count),
            "pixels": confusion.reshape(-1),
            "share": share.reshape(-1),
        }
    )
