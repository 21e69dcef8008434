"""Metrics and errors of a single image, derived from its confusion matrix.

Shapes: K classes; rows are true classes, columns predicted classes. True void pixels do not count,
as in `segmentation_metrics`.
"""

from dataclasses import dataclass

import numpy as np

from roadseg.evaluation.metrics import exclude_true_class, iou, segmentation_metrics

MAX_CONFUSIONS = 100
"""Number of pairs of classes kept of an image; an untrained network confuses thousands."""
_DIGITS = 4
"""Decimal places of mIoU and IoU."""


@dataclass(frozen=True, kw_only=True)
class ImageErrors:
    """Metrics and errors of an image; classes are ids, and lists of errors begin with the largest.

    `miou` and the entries of `ious` are None if they are not defined: of absent classes, of void,
    and of an image whose pixels are all void or ignored.
    """

    pixels: int
    """Number of pixels that count: neither void nor ignored."""
    miou: float | None
    """Mean IoU of the classes that occur in the mask or the prediction, 0..1."""
    ious: list[float | None]
    """IoU of each of the K classes, 0..1."""
    annotated: list[int]
    """Classes that occur in the mask, void among them."""
    confusions: list[tuple[int, int, int]]
    """True class, predicted class and number of pixels of the MAX_CONFUSIONS largest confusions."""
    missed: list[tuple[int, int]]
    """Class and number of its pixels, for classes in the mask of which no pixel was predicted
    correctly."""
    invented: list[tuple[int, int]]
    """Class and number of its predicted pixels, for classes that do not occur in the mask."""


def image_errors(confusion: np.ndarray, void_id: int | None) -> ImageErrors:
    """Compute the metrics and errors of one image.

    Args:
        confusion: (K, K) int.
        void_id: class that is excluded; None if the map has none.
    """
    counted = exclude_true_class(confusion, void_id)
    ious, miou = iou(counted), segmentation_metrics(confusion, void_id)["miou"]
    if void_id is not None:
        ious[void_id] = np.nan
    in_mask, found = confusion.sum(1) > 0, np.diag(counted) > 0
    invented = ~in_mask & (np.arange(len(confusion)) != void_id)
    wrong = counted - np.diag(np.diag(counted))
    return ImageErrors(
        pixels=int(counted.sum()),
        miou=_optional(miou),
        ious=[_optional(value) for value in ious],
        annotated=np.flatnonzero(in_mask).tolist(),
        confusions=[(a, b, n) for (a, b), n in _largest(wrong)][:MAX_CONFUSIONS],
        missed=[(k, n) for (k,), n in _largest(np.where(found, 0, counted.sum(1)))],
        invented=[(k, n) for (k,), n in _largest(np.where(invented, counted.sum(0), 0))],
    )


def _optional(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), _DIGITS)


def _largest(counts: np.ndarray) -> list[tuple[tuple[int, ...], int]]:
    """List index and value of the positive entries, largest first, ties in the order of ids."""
    positions = np.argwhere(counts)  # sorted, and Python's sort is stable
    pairs = [(tuple(p), int(counts[tuple(p)])) for p in positions.tolist()]
    return sorted(pairs, key=lambda pair: -pair[1])
