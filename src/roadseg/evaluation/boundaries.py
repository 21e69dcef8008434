"""Boundary F-score of each class.

Source: Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?". They
average scores of images; here precision and recall are computed from counts over the data set, so
that images weigh by the length of their boundaries, and counts of batches add up exactly.

Shapes: N images, H and W pixels, K classes.
"""

import math

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 0.0075
"""Largest distance of matching boundaries as a fraction of the image diagonal (Csurka et al.)."""


def tolerance(height: int, width: int) -> float:
    """Largest distance of matching boundaries in an image of this size, in pixels; at least 1."""
    return max(1.0, TOLERANCE * math.hypot(height, width))


def boundary_counts(
    class_ids: Tensor, predicted: Tensor, counted: Tensor, num_classes: int
) -> Tensor:
    """Count the boundary pixels of each class in prediction and truth, and how many of them match.

    A boundary pixel of a class has a 4-neighbor of another class. In truth and prediction, pixels
    that are not counted are neither boundary pixels nor neighbors, so predictions for void pixels
    have no effect. The border of the image is not a boundary. A boundary pixel matches if one of
    its class in the other map lies within a Euclidean distance of `tolerance`.

    Args:
        class_ids: (N, H, W) int64, 0..K-1; 0..255 for pixels that are not counted.
        predicted: (N, H, W) int64, 0..K-1.
        counted: (N, H, W) bool.

    Returns:
        (4, K) int64: predicted boundary pixels, those of them that match, true boundary pixels,
        those of them that match. Counts of batches add up.
    """
    classes = torch.arange(num_classes, device=class_ids.device)[:, None, None]  # (K, 1, 1)
    true = (class_ids[:, None] == classes) & _edges(class_ids, counted)[:, None]  # (N, K, H, W)
    guess = (predicted[:, None] == classes) & _edges(predicted, counted)[:, None]
    radius = tolerance(*class_ids.shape[1:])
    true, guess = true.byte(), guess.byte()  # bitwise or is ten times faster than on booleans
    masks = [guess, guess & _dilate(true, radius), true, true & _dilate(guess, radius)]
    return torch.stack([mask.sum((0, 2, 3)) for mask in masks])


def boundary_f(counts: np.ndarray, void_id: int | None) -> np.ndarray:
    """Boundary F-score of each class, 2 P R / (P + R) with precision P and recall R.

    Args:
        counts: (4, K) int, `boundary_counts` summed over the data set.
        void_id: class that is excluded; None if the map has none.

    Returns:
        (K,) float64, 0..1; NaN for void and for a class that has a boundary neither in truth nor
        in prediction; 0 if it has a boundary in only one of them.
    """
    predicted, matched_predicted, true, matched_true = counts
    precision = matched_predicted / np.maximum(predicted, 1)
    recall = matched_true / np.maximum(true, 1)
    sums = precision + recall
    score: np.ndarray = np.zeros(len(sums))
    np.divide(2 * precision * recall, sums, out=score, where=sums > 0)
    score[(predicted == 0) & (true == 0)] = np.nan
    if void_id is not None:
        score[void_id] = np.nan
    return score


def _edges(class_ids: Tensor, counted: Tensor) -> Tensor:
    """(N, H, W) bool, counted pixels with a counted 4-neighbor of another class."""
    edges = torch.zeros_like(counted)
    for dim in (1, 2):
        size = class_ids.shape[dim] - 1
        differ = class_ids.narrow(dim, 0, size) != class_ids.narrow(dim, 1, size)
        differ &= counted.narrow(dim, 0, size) & counted.narrow(dim, 1, size)
        for start in (0, 1):
            edges.narrow(dim, start, size).logical_or_(differ)
    return edges


def _dilate(mask: Tensor, radius: float) -> Tensor:
    """Dilate `mask` (N, K, H, W) uint8, 0 or 1, by a closed disc of `radius` pixels.

    The rows of the disc widen from its top to its middle, so each is computed from the previous
    one, in about 4 * radius passes over the pixels; a convolution takes radius**2.
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
