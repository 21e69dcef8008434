"""Segmentation metrics computed from one integer confusion matrix over a whole data set.

Shapes: K classes; rows are true classes, columns predicted classes, entries numbers of pixels.
A class that occurs neither in truth nor in prediction is absent: its metrics are NaN, never 0 or
1, and means exclude it. Sources: Everingham et al. 2010 (IoU), Long et al. 2015 (pixel accuracy
and mean class accuracy), Dice 1945.
"""

import numpy as np
from torch import Tensor

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.models.losses import bincount


def confusion_matrix(class_ids: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Count pixels by true and predicted class.

    Args:
        class_ids: integer tensor of any shape, 0..K-1 or IGNORE_INDEX.
        predicted: integer tensor of the same shape, 0..K-1.

    Returns:
        (K, K) int64, without ignored pixels. Matrices of batches add up.
    """
    ignored = num_classes**2  # an additional bin, which is faster than boolean indexing
    pairs = (class_ids.long() * num_classes + predicted).where(class_ids != IGNORE_INDEX, ignored)
    counts = bincount(pairs.reshape(-1), ignored + 1)
    return counts[:ignored].reshape(num_classes, num_classes)


def exclude_true_class(confusion: np.ndarray, class_id: int | None) -> np.ndarray:
    """Remove the pixels whose true class is `class_id`, as benchmarks do with void.

    Pixels of other classes that were predicted as `class_id` remain; they are errors.
    """
    if class_id is None:
        return confusion
    confusion = confusion.copy()
    confusion[class_id] = 0
    return confusion


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide elementwise; NaN where the denominator is 0."""
    quotient: np.ndarray = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union, TP / (TP + FP + FN): (K, K) -> (K,), 0..1 or NaN."""
    true_positives = np.diag(confusion)
    return divide(true_positives, confusion.sum(0) + confusion.sum(1) - true_positives)


def dice(confusion: np.ndarray) -> np.ndarray:
    """Dice coefficient (F1), 2 TP / (2 TP + FP + FN): (K, K) -> (K,), 0..1 or NaN."""
    return divide(2 * np.diag(confusion), confusion.sum(0) + confusion.sum(1))


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Recall, TP / (TP + FN): (K, K) -> (K,), 0..1; NaN for a class absent from the truth."""
    return divide(np.diag(confusion), confusion.sum(1))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Fraction of all pixels that are predicted correctly, 0..1; NaN if there are no pixels."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def mean_present(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none (np.nanmean would warn)."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def _delete_class(values: np.ndarray, class_id: int | None) -> np.ndarray:
    return values if class_id is None else np.delete(values, class_id)


def segmentation_metrics(confusion: np.ndarray, void_id: int | None) -> dict[str, float]:
    """Compute the metrics of a confusion matrix, with the names of metrics/evaluate.json.

    Args:
        confusion: (K, K) int.
        void_id: class that is excluded: its true pixels do not count, and means do not include
            it. None if the map has none; then `miou_with_void` equals `miou`.

    Returns:
        pixel_accuracy, mean_class_accuracy, mean_dice and miou, all without void, and
        miou_with_void, which treats void as any other class. 0..1 or NaN.
    """
    without_void = exclude_true_class(confusion, void_id)
    return {
        "pixel_accuracy": pixel_accuracy(without_void),
        "mean_class_accuracy": mean_present(_delete_class(class_accuracy(without_void), void_id)),
        "mean_dice": mean_present(_delete_class(dice(without_void), void_id)),
        "miou": mean_present(_delete_class(iou(without_void), void_id)),
        "miou_with_void": mean_present(iou(confusion)),
    }
