"""How far mIoU might move with other pictures of the same kind: a bootstrap over pictures.

Source: Efron 1979; the percentile interval of Efron and Tibshirani 1993, chapter 13.

Shapes: P pictures, K classes.
"""

import numpy as np

from roadseg.evaluation.metrics import iou, mean_present

RESAMPLES = 1000
SEED = 0
"""Of the draws: one for all models, so that equal predictions have equal draws."""
PERCENTILES = (2.5, 97.5)


def miou_draws(confusions: np.ndarray, void_id: int | None, seed: int) -> np.ndarray:
    """mIoU, void left out, of 1,000 draws of pictures; a pure function of its arguments.

    Each draws as many pictures as there are, with replacement: pictures and not pixels, for the
    pixels of one picture are right or wrong together. A class that a draw does not have is left out
    of that draw's mean, as everywhere.

    Args:
        confusions: (P, K, K) int64, the confusion matrix of each picture: 8 K**2 bytes a picture
            (1.2 kB of 12 classes), which is little beside the picture itself.
        seed: of the draws, which are the same for all models judged on as many pictures.

    Returns:
        (1000,) float64, 0..1; NaN where nothing counts.
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
    return np.array(mious)


def miou_interval(confusions: np.ndarray, void_id: int | None, seed: int) -> tuple[float, float]:
    """The 95 % interval of mIoU: the 2.5th and the 97.5th percentile of `miou_draws`, 0..1.

    It is about the choice of pictures, not about the training's seed. NaN if nothing counts in any
    draw.
    """
    found = miou_draws(confusions, void_id, seed)
    found = found[~np.isnan(found)]
    if not found.size:
        return float("nan"), float("nan")
    low, high = np.percentile(found, PERCENTILES)
    return float(low), float(high)


def win_probability(draws: np.ndarray, winner: int) -> float:
    """Share of the draws in which `winner` is the first of the highest: how sure a choice is.

    Args:
        draws: (candidates, draws) float64, `miou_draws` of each with one seed.
        winner: 0..candidates - 1.
    """
    return float((np.nan_to_num(draws, nan=-1.0).argmax(0) == winner).mean())
