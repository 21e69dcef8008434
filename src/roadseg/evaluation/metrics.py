"""Figures of merit from one integer confusion matrix over a whole data set.

Shapes: K classes; rows are the true class, columns the predicted one, entries pixels.
A class that occurs neither in truth nor in prediction is absent: NaN, never 0 or 1, and left out
of every mean. Sources: Everingham et al. 2010 (IoU), Long et al. 2015 (pixel and mean class
accuracy), Dice 1945.
"""

import numpy as np
from torch import Tensor

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.models.losses import bincount


def confusion_matrix(class_ids: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Count pixels by true and predicted class.

    Args:
        class_ids: integer tensor of any shape, 0..K-1 or IGNORE_INDEX.
        predicted: integer tensor of that shape, 0..K-1.

    Returns:
        (K, K) int64; pixels that are ignored stand nowhere. Matrices of batches add up.
    """
    ignored = num_classes**2  # a bin of their own, for choosing pixels first takes longer
    pairs = (class_ids.long() * num_classes + predicted).where(class_ids != IGNORE_INDEX, ignored)
    counts = bincount(pairs.reshape(-1), ignored + 1)
    return counts[:ignored].reshape(num_classes, num_classes)


def without_truth(confusion: np.ndarray, class_id: int | None) -> np.ndarray:
    """The matrix without the pixels whose true class is `class_id`, as benchmarks treat void.

    Pixels of other classes that were predicted as `class_id` stay: they are errors.
    """
    if class_id is None:
        return confusion
    kept = confusion.copy()
    kept[class_id] = 0
    return kept


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide element by element; NaN where the denominator is 0."""
    blank = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=blank, where=denominator > 0)


def iou(confusion: np.ndarray) -> np.ndarray:
    """(K,) intersection over union, TP / (TP + FP + FN), 0..1 or NaN."""
    hits = np.diag(confusion)
    return divide(hits, confusion.sum(0) + confusion.sum(1) - hits)


def dice(confusion: np.ndarray) -> np.ndarray:
    """(K,) Dice coefficient, 2 TP / (2 TP + FP + FN), 0..1 or NaN."""
    return divide(2 * np.diag(confusion), confusion.sum(0) + confusion.sum(1))


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """(K,) recall of each class, TP / (TP + FN), 0..1; NaN where the class is not in the truth."""
    return divide(np.diag(confusion), confusion.sum(1))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Share of the counted pixels that are predicted right, 0..1; NaN if there are none."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def mean_present(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def _without(values: np.ndarray, class_id: int | None) -> np.ndarray:
    return values if class_id is None else np.delete(values, class_id)


def segmentation_metrics(confusion: np.ndarray, void_id: int | None) -> dict[str, float]:
    """The figures of metrics/evaluate.json.

    Args:
        confusion: (K, K) int.
        void_id: the class that is left out: its true pixels are not counted and it has no part
            in the means. None if the map has none; then `miou_with_void` equals `miou`.

    Returns:
        pixel_accuracy, mean_class_accuracy, mean_dice and miou, all without void, and
        miou_with_void, in which void is a class like any other. 0..1, or NaN.
    """
    seen = without_truth(confusion, void_id)
    return {
        "pixel_accuracy": pixel_accuracy(seen),
        "mean_class_accuracy": mean_present(_without(class_accuracy(seen), void_id)),
        "mean_dice": mean_present(_without(dice(seen), void_id)),
        "miou": mean_present(_without(iou(seen), void_id)),
        "miou_with_void": mean_present(iou(confusion)),
    }
