"""Whether a network is right as often as it says: the expected calibration error.

Source: Guo et al. 2017, "On calibration of modern neural networks". Confidence is the probability
of the most probable class. Bins are equal and hold their upper edge: bin m of M has confidences
above (m - 1) / M, up to m / M.

Shapes: N pictures, K classes, H and W pixels, M = 15 bins.
"""

import numpy as np
import torch
from torch import Tensor

NUM_BINS = 15
_UNIT = 2**32
"""Confidences are summed as whole numbers of 1 / _UNIT. A float32 above 1/256 is such a number (a
class map has fewer than 256 classes), and 2**31 pixels fit into an int64: the sums are exact."""


def calibration_counts(
    logits: Tensor, class_ids: Tensor, predicted: Tensor, counted: Tensor
) -> Tensor:
    """Count pixels by the bin of their confidence.

    Args:
        logits: (N, K, H, W), any float type; the softmax is computed in float32.
        class_ids: (N, H, W) int64.
        predicted: (N, H, W) int64, the most probable class of each pixel.
        counted: (N, H, W) bool; only these pixels are in any bin, and of these no NaN.

    Returns:
        (3, M) int64: pixels, of these right, and the sum of the confidences in units of 2**-32.
        Counts of batches add up.
    """
    confidence = logits.float().softmax(1).amax(1)  # (N, H, W), above 1/K up to 1
    units = (confidence * _UNIT).long().reshape(-1)  # (P,), a power of two only shifts
    known = (counted & ~confidence.isnan()).reshape(-1)  # NaN has no integer, and so no bin
    bins = ((units * NUM_BINS - 1) // _UNIT).where(known, NUM_BINS)
    right = (predicted == class_ids).reshape(-1)
    pixels = torch.bincount(bins, minlength=NUM_BINS + 1)
    hits = torch.bincount(bins.where(right, NUM_BINS), minlength=NUM_BINS + 1)
    sums = torch.zeros_like(pixels).index_add_(0, bins, units)
    return torch.stack([pixels, hits, sums])[:, :NUM_BINS]


def calibration_table(counts: np.ndarray) -> dict[str, np.ndarray]:
    """A reliability diagram as a table, one row a bin that holds pixels.

    Args:
        counts: (3, M) int, what `calibration_counts` returns, summed over the data set.

    Returns:
        Columns bin (1..M), confidence and accuracy (means over the bin's pixels, 0..1) and share
        (of all pixels, 0..1).
    """
    filled = counts[0] > 0
    pixels, right, units = counts[:, filled]
    return {
        "bin": np.flatnonzero(filled) + 1,
        "confidence": units / _UNIT / pixels,
        "accuracy": right / pixels,
        "share": pixels / max(1, pixels.sum()),
    }


def calibration_error(counts: np.ndarray) -> float:
    """Expected calibration error, 0..1: the mean over pixels of |accuracy - confidence| by bin.

    NaN if no pixel counts. `counts` as for `calibration_table`.
    """
    table = calibration_table(counts)
    gaps = np.abs(table["accuracy"] - table["confidence"])
    return float((gaps * table["share"]).sum()) if len(gaps) else float("nan")
