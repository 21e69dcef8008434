"""How near predicted boundaries lie to the true ones: the boundary F-score of each class.

Source: Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?". There a
score is of one picture; here precision and recall come from counts over a whole data set, so that
no picture weighs more than its boundaries, and batches add exactly.

Shapes: N pictures, H and W pixels, K classes.
"""

import math

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 0.0075
"""Of the picture's diagonal: how far apart two boundaries may lie; Csurka et al. take 0.75 %."""

_BITS = 31
"""Classes that an int32 holds at one bit each; the sign stays free."""


def tolerance(height: int, width: int) -> float:
    """How far apart boundaries may lie in a picture of this size, pixels; at least 1."""
    return max(1.0, TOLERANCE * math.hypot(height, width))


def boundary_counts(
    class_ids: Tensor, predicted: Tensor, counted: Tensor, num_classes: int
) -> Tensor:
    """Count boundary pixels, and those that lie near a boundary of their class on the other side.

    A boundary pixel of a class has a neighbour (above, below, left or right) of another class.
    Only pixels that count are boundary pixels or neighbours, in truth and prediction alike: what
    is predicted where truth is void changes nothing, and the picture's border is no boundary.
    Near is a Euclidean distance of at most `tolerance`: a disc.

    Args:
        class_ids: (N, H, W) int64, 0..K-1, anything from 0 to 255 where a pixel does not count.
        predicted: (N, H, W) int64, 0..K-1.
        counted: (N, H, W) bool.

    Returns:
        (4, K) int64 pixels: predicted boundary, of these near a true one, true boundary, of these
        near a predicted one. Counts of batches add up.
    """
    true_edges, predicted_edges = _edges(class_ids, counted), _edges(predicted, counted)
    reach = tolerance(*class_ids.shape[1:])
    near_true, near_predicted = torch.zeros_like(counted), torch.zeros_like(counted)
    for first in range(0, num_classes, _BITS):
        bit = torch.zeros(256, dtype=torch.int32)
        ids = torch.arange(first, min(first + _BITS, num_classes))
        bit[ids] = 1 << (ids - first).int()
        bit = bit.to(class_ids.device)
        true_bits = bit[class_ids].where(true_edges, 0)  # (N, H, W) int32
        predicted_bits = bit[predicted].where(predicted_edges, 0)
        near_true |= (predicted_bits & _dilated(true_bits, reach)) != 0
        near_predicted |= (true_bits & _dilated(predicted_bits, reach)) != 0
    return torch.stack(
        [
            _by_class(predicted, predicted_edges, num_classes),
            _by_class(predicted, near_true, num_classes),
            _by_class(class_ids, true_edges, num_classes),
            _by_class(class_ids, near_predicted, num_classes),
        ]
    )


def boundary_f(counts: np.ndarray, void_id: int | None) -> np.ndarray:
    """The boundary F-score of each class, 2 P R / (P + R) of its precision and recall.

    Args:
        counts: (4, K) int, what `boundary_counts` returns, summed over the data set.
        void_id: the class whose boundaries are not judged; None if the map has none.

    Returns:
        (K,) float64, 0..1; NaN for void and for a class that has a boundary neither in truth nor
        in prediction. 0 where it has one on one side only.
    """
    predicted, near_true, true, near_predicted = counts
    precision = near_true / np.maximum(predicted, 1)
    recall = near_predicted / np.maximum(true, 1)
    sums = precision + recall
    score = np.divide(2 * precision * recall, sums, out=np.zeros(len(sums)), where=sums > 0)
    score[(predicted == 0) & (true == 0)] = np.nan
    if void_id is not None:
        score[void_id] = np.nan
    return score


def _by_class(class_ids: Tensor, chosen: Tensor, num_classes: int) -> Tensor:
    """(K,) int64, pixels of each class among the `chosen` ones."""
    ids = class_ids.where(chosen, num_classes).reshape(-1)
    return torch.bincount(ids, minlength=num_classes + 1)[:num_classes]


def _edges(class_ids: Tensor, counted: Tensor) -> Tensor:
    """(N, H, W) bool, counted pixels beside a counted one of another class."""
    edges = torch.zeros_like(counted)
    for dim in (1, 2):
        size = class_ids.shape[dim] - 1
        differ = class_ids.narrow(dim, 0, size) != class_ids.narrow(dim, 1, size)
        differ &= counted.narrow(dim, 0, size) & counted.narrow(dim, 1, size)
        for start in (0, 1):
            edges.narrow(dim, start, size).logical_or_(differ)
    return edges


def _dilated(bits: Tensor, radius: float) -> Tensor:
    """The bits of all pixels in a disc round each pixel, or-ed: a dilation of all classes at once.

    A disc is a pile of rows. From its top to its middle they grow, so each is widened out of the
    one before; some 4 * radius passes over the pixels in all, however many classes there are.

    Args:
        bits: (N, H, W) int32.
        radius: pixels; a pixel whose centre lies just that far away belongs to the disc.
    """
    height = bits.shape[1]
    disc = torch.zeros_like(bits)
    row, half_width = bits, 0
    for rise in range(min(int(radius), height - 1), -1, -1):
        while half_width < math.isqrt(int(radius**2 - rise**2)):
            wider = row.clone()
            wider[..., 1:] |= row[..., :-1]
            wider[..., :-1] |= row[..., 1:]
            row, half_width = wider, half_width + 1
        disc[:, rise:] |= row[:, : height - rise]
        if rise:
            disc[:, :-rise] |= row[:, rise:]
    return disc
