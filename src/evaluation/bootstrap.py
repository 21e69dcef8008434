"""How far mIoU might move with other pictures of the same kind: a bootstrap over pictures.

Source: Efron 1979; the percentile interval of Efron and Tibshirani 1993, chapter 13.

Shapes: P pictures, K classes.
"""

import numpy as np

from src.evaluation.metrics import iou, mean_present

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)


def miou_interval(confusions: np.ndarray, void_id: int | None, seed: int) -> tuple[float, float]:
    """The 95 % interval of mIoU, void left out; a pure function of its arguments.

    As many pictures as there are, are drawn with replacement, 1,000 times, and mIoU is computed of
    each draw. Pictures are drawn and not pixels, for the pixels of one picture are right or wrong
    together. A class that a draw does not have is left out of that draw's mean, as everywhere. The
    interval is about the choice of pictures, not about the training's seed.

    Args:
        confusions: (P, K, K) int64, the confusion matrix of each picture: 8 K**2 bytes a picture
            (1.2 kB of 12 classes), which is little beside the picture itself.
        seed: of the draws.

    Returns:
        The 2.5th and the 97.5th percentile, 0..1; NaN if nothing counts in any draw.
    """
    rng = np.random.default_rng(seed)
    count, num_classes = confusions.shape[:2]
    judged = np.arange(num_classes) != void_id  # all, where the map has no void
    seen = confusions * judged[:, None]  # pixels whose truth is void stand nowhere
    mious = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(count, size=count), minlength=count)  # (P,)
        drawn = (times @ seen.reshape(count, -1)).reshape(num_classes, num_classes)
        mious.append(mean_present(iou(drawn)[judged]))
    found = np.array(mious)
    found = found[~np.isnan(found)]
    if not found.size:
        return float("nan"), float("nan")
    low, high = np.percentile(found, PERCENTILES)
    return float(low), float(high)
