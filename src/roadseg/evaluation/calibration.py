"""Expected calibration error: whether a network is right as often as it says.

Source: Guo et al. 2017, "On calibration of modern neural networks". The confidence is the
probability of the most probable class. The M bins have equal width and include their upper edge:
bin m contains confidences in ((m - 1) / M, m / M].

Shapes: N images, K classes, H and W pixels, P = N * H * W, M = 15 bins.
"""

import numpy as np
import torch
from torch import Tensor

from roadseg.models.losses import bincount

NUM_BINS = 15
_UNIT = 2**32
"""Confidences are summed as integer multiples of 1 / _UNIT. This is exact: any float32 above 1/256
is such a multiple (there are fewer than 256 classes), and an int64 can hold 2**31 pixels."""


def calibration_counts(
    logits: Tensor, class_ids: Tensor, predicted: Tensor, counted: Tensor
) -> Tensor:
    """Count pixels, correct pixels and confidences by confidence bin.

    Args:
        logits: (N, K, H, W), any float type; the softmax is computed in float32.
        class_ids: (N, H, W) int64.
        predicted: (N, H, W) int64, the most probable class of each pixel.
        counted: (N, H, W) bool; other pixels, and those with NaN logits, are excluded.

    Returns:
        (3, M) int64: pixels, correct pixels, and the sum of the confidences in units of 2**-32.
        Counts of batches add up.
    """
    confidence = logits.float().softmax(1).amax(1)  # (N, H, W), above 1/K up to 1
    units = (confidence * _UNIT).long().reshape(-1)  # (P,); exact, a power of 2
    valid = (counted & ~confidence.isnan()).reshape(-1)  # converting NaN to int is undefined
    bins = ((units * NUM_BINS - 1) // _UNIT).where(valid, NUM_BINS)
    correct = (predicted == class_ids).reshape(-1)
    pixels = bincount(bins, NUM_BINS + 1)
    hits = bincount(bins.where(correct, NUM_BINS), NUM_BINS + 1)
    sums = torch.zeros_like(pixels).index_add_(0, bins, units)
    return torch.stack([pixels, hits, sums])[:, :NUM_BINS]


def calibration_table(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Reliability diagram as a table with one row per bin that is not empty.

    Args:
        counts: (3, M) int, `calibration_counts` summed over the data set.

    Returns:
        Columns bin (1..M), confidence and accuracy (means over the pixels of the bin, 0..1) and
        share (fraction of all pixels, 0..1).
    """
    filled = counts[0] > 0
    pixels, hits, units = counts[:, filled]
    return {
        "bin": np.flatnonzero(filled) + 1,
        "confidence": units / _UNIT / pixels,
        "accuracy": hits / pixels,
        "share": pixels / max(1, pixels.sum()),
    }


def calibration_error(counts: np.ndarray) -> float:
    """Expected calibration error: mean over pixels of |accuracy - confidence| of their bin, 0..1.

    `counts` as for `calibration_table`. NaN if no pixel is counted.
    """
    table = calibration_table(counts)
    gaps = np.abs(table["accuracy"] - table["confidence"])
    return float((gaps * table["share"]).sum()) if len(gaps) else float("nan")
