"""Boundary F-score of each class.

Source: Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?". There a
score is of one image; here precision and recall come from counts over a whole data set, so that
no image weighs more than its boundaries, and batches add exactly.

Shapes: N images, H and W pixels, K classes.
"""

import math

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 0.0075
"""Of the image's diagonal: how far apart two boundaries may lie; Csurka et al. take 0.75 %."""


def tolerance(height: int, width: int) -> float:
    """Largest distance of matching boundaries in an image of this size, pixels; at least 1."""
    return max(1.0, TOLERANCE * math.hypot(height, width))


def boundary_counts(
    class_ids: Tensor, predicted: Tensor, counted: Tensor, num_classes: int
) -> Tensor:
    """Count boundary pixels, and those that lie near a boundary of their class on the other side.

    A boundary pixel of a class has a neighbour (above, below, left or right) of another class.
    Only pixels that count are boundary pixels or neighbours, in truth and prediction alike: what
    is predicted where truth is void changes nothing, and the image's border is no boundary.
    Near is a Euclidean distance of at most `tolerance`: a disc.

    Args:
        class_ids: (N, H, W) int64, 0..K-1, anything from 0 to 255 where a pixel does not count.
        predicted: (N, H, W) int64, 0..K-1.
        counted: (N, H, W) bool.

    Returns:
        (4, K) int64 pixels: predicted boundary, of these near a true one, true boundary, of these
        near a predicted one. Counts of batches add up.
    """
    classes = torch.arange(num_classes, device=class_ids.device)[:, None, None]  # (K, 1, 1)
    true = (class_ids[:, None] == classes) & _edges(class_ids, counted)[:, None]  # (N, K, H, W)
    found = (predicted[:, None] == classes) & _edges(predicted, counted)[:, None]
    radius = tolerance(*class_ids.shape[1:])
    true, found = true.byte(), found.byte()  # or-ing bytes is ten times faster than booleans
    masks = [found, found & _dilated(true, radius), true, true & _dilated(found, radius)]
    return torch.stack([mask.sum((0, 2, 3)) for mask in masks])


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


def _dilated(mask: Tensor, radius: float) -> Tensor:
    """Dilate `mask` (N, K, H, W) uint8, 0 or 1, by a disc of `radius` pixels, its edge included.

    From the top of the disc to its middle the rows grow, so each is widened out of the one before.
    This takes some 4 * radius passes over the pixels; a convolution takes radius**2.
    """
    height = mask.shape[2]
    dilated = torch.zeros_like(mask)
    row, half_width = mask, 0
    for rise in range(min(int(radius), height - 1), -1, -1):
        while half_width < math.isqrt(int(radius**2 - rise**2)):
            wider = row.clone()
            wider[..., 1:] |= row[..., :-1]
            wider[..., :-1] |= row[..., 1:]
            row, half_width = wider, half_width + 1
        dilated[:, :, rise:] |= row[:, :, : height - rise]
        dilated[:, :, : height - rise] |= row[:, :, rise:]
    return dilated
