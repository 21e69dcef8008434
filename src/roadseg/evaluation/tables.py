"""Confusion matrices as tables for people and plots, classes in the order of the map.

Shapes: K classes, P pictures.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from roadseg.config.class_map import ClassMap
from roadseg.evaluation.metrics import (
    class_accuracy,
    dice,
    divide,
    iou,
    segmentation_metrics,
    without_truth,
)


def per_class(class_map: ClassMap, confusion: np.ndarray, boundary_f: np.ndarray) -> pd.DataFrame:
    """The figures of each class, true void pixels left out as in `miou`.

    Args:
        confusion: (K, K) int, pixels by true and predicted class.
        boundary_f: (K,) float, the boundary F-score of each class, 0..1 or NaN.

    Returns:
        Columns class, iou, dice, accuracy, boundary_f (0..1, NaN where absent), pixels, and the
        class's color for plots (#rrggbb), in class order. The void class has a row too, with its
        figures when it counts as a class, but for boundary_f, which it never has.
    """
    seen, void_id = without_truth(confusion, class_map.void_id), class_map.void_id
    columns = {"iou": iou, "dice": dice, "accuracy": class_accuracy}
    figures = {name: figure(seen) for name, figure in columns.items()}
    if void_id is not None:
        for name, figure in columns.items():
            figures[name][void_id] = figure(confusion)[void_id]
    figures["boundary_f"] = boundary_f
    pixels = {"pixels": confusion.sum(1), "color": class_map.hex_colors}
    return pd.DataFrame({"class": class_map.names, **figures, **pixels})


def per_image(class_map: ClassMap, ids: Sequence[str], confusions: np.ndarray) -> pd.DataFrame:
    """The figures of each picture, the hardest first.

    Args:
        ids: P, of the pictures.
        confusions: (P, K, K) int, their confusion matrices.

    Returns:
        Columns rank (1, 2, ..), picture, miou and pixel_accuracy (0..1, void left out), sorted by
        miou; pictures in which nothing counts are not there.
    """
    figures = [segmentation_metrics(confusion, class_map.void_id) for confusion in confusions]
    columns = {name: [each[name] for each in figures] for name in ("miou", "pixel_accuracy")}
    table = pd.DataFrame({"picture": list(ids), **columns}).dropna()
    table = table.sort_values(["miou", "picture"], ignore_index=True)
    table.insert(0, "rank", range(1, len(table) + 1))
    return table


def confusion_pairs(class_map: ClassMap, confusion: np.ndarray) -> pd.DataFrame:
    """The confusion matrix as a table, one row a pair of classes, in class order.

    Returns:
        Columns actual, predicted, pixels, and share: of the actual class's pixels, 0..1, NaN
        where that class does not occur.
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
