"""Bootstrap confidence interval of mIoU, by resampling images.

Source: Efron 1979; percentile interval as in Efron and Tibshirani 1993, chapter 13.

Shapes: P images, K classes.
"""

import numpy as np

from roadseg.evaluation.metrics import iou, mean_present

RESAMPLES = 1000
SEED = 0
"""Random seed, the same for all models, so that equal predictions have equal draws."""
PERCENTILES = (2.5, 97.5)


def miou_draws(confusions: np.ndarray, void_id: int | None, seed: int) -> np.ndarray:
    """Mean IoU without void of 1,000 bootstrap draws; a pure function of its arguments.

    Each draw samples P images with replacement: images, because the errors of neighboring pixels
    are correlated. A class that is absent from a draw is excluded from its mean.

    Args:
        confusions: (P, K, K) int64, the confusion matrix of each image (8 K**2 bytes each).
        void_id: class that is excluded; None if the map has none.
        seed: random seed; the draws are the same for all models evaluated on P images.

    Returns:
        (1000,) float64, 0..1; NaN if no pixel counts.
    """
    rng = np.random.default_rng(seed)
    num_images, num_classes = confusions.shape[:2]
    evaluated = np.arange(num_classes) != void_id  # (K,), all True if there is no void
    without_void = confusions * evaluated[:, None]  # without pixels whose true class is void
    # BLAS multiplies only floats; they are exact below 2**53 pixels
    pixels = without_void.reshape(num_images, -1).astype(np.float64)
    mious = []
    for _ in range(RESAMPLES):
        indices = rng.integers(num_images, size=num_images)
        times = np.bincount(indices, minlength=num_images)  # (P,)
        confusion = (times @ pixels).astype(np.int64).reshape(num_classes, num_classes)
        mious.append(mean_present(iou(confusion)[evaluated]))
    return np.array(mious)


def miou_interval(confusions: np.ndarray, void_id: int | None, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of mIoU: the 2.5th and 97.5th percentile of `miou_draws`, 0..1.

    It covers the choice of images, not the random seed of the training. NaN if no pixel counts.
    """
    mious = miou_draws(confusions, void_id, seed)
    mious = mious[~np.isnan(mious)]
    if not mious.size:
        return float("nan"), float("nan")
    low, high = np.percentile(mious, PERCENTILES)
    return float(low), float(high)


def win_probability(draws: np.ndarray, winner: int) -> float:
    """Fraction of the draws in which `winner` has the highest mIoU; the first wins a tie.

    Args:
        draws: (candidates, draws) float64, `miou_draws` of each candidate with one seed.
        winner: 0..candidates - 1.
    """
    return float((np.nan_to_num(draws, nan=-1.0).argmax(0) == winner).mean())
