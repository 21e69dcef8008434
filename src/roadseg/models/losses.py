"""Segmentation losses that ignore IGNORE_INDEX: (weighted) cross-entropy and Lovász-softmax.

Shapes: N images, K classes, H and W pixels, P = N * H * W.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup

_BINS = 1024
"""Bins of the errors 0..1 in `lovasz_loss`; more change the gradient by less than 0.1 %."""


def cross_entropy_sum(
    logits: Tensor, class_ids: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropy over all pixels that are not ignored, and its normalizer.

    Sums of batches add up to the sum over the data set (up to rounding); means of batches do not
    average to its mean if images differ in size.

    Args:
        logits: (N, K, H, W), any float type; computed in float32.
        class_ids: (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
        weights: (K,) float32, weight of each class; None: all 1.

    Returns:
        total: () float32, sum of weight * -log softmax(logits)[class id], in nats.
        count: () float32, sum of the weights of these pixels (their number without weights).
    """
    return nll_sum(log_probabilities(logits), class_ids, weights)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-softmax over the classes: (N, K, H, W), any float type -> (N, K, H, W) float32."""
    # over (N, K, H, W), as in the report: over (P, K) the last bits differ on some processors
    return F.log_softmax(logits.float(), dim=1)


def nll_sum(
    log_probs: Tensor, class_ids: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`cross_entropy_sum` of log-probabilities, (N, K, H, W) float32."""
    # over (P, K), because the order of summation of CUDA's spatial NLL loss is not fixed
    pixels = log_probs.permute(0, 2, 3, 1).reshape(-1, log_probs.shape[1])  # (P, K)
    target = class_ids.reshape(-1)  # (P,)
    total = F.nll_loss(pixels, target, weights, ignore_index=IGNORE_INDEX, reduction="sum")
    counted = target != IGNORE_INDEX
    if weights is None:
        return total, counted.sum().float()
    return total, (weights[target.where(counted, 0)] * counted).sum()


def inverse_sqrt_weights(pixels: np.ndarray) -> Tensor:
    """Class weights proportional to 1 / sqrt(frequency), with a mean of 1 over the pixels.

    Args:
        pixels: (K,) int, number of training pixels of each class.

    Returns:
        (K,) float32; 0 for a class without pixels.
    """
    frequency = pixels / max(1, pixels.sum())
    weights = np.divide(1.0, np.sqrt(frequency), out=np.zeros(len(pixels)), where=frequency > 0)
    mean = (weights * frequency).sum()
    return torch.from_numpy(weights / (mean or 1.0)).float()


def lovasz_loss(
    log_probs: Tensor,
    class_ids: Tensor,
    void_id: int | None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Lovász-softmax loss (Berman et al. 2018): a surrogate of 1 - mIoU.

    The loss of a class is the sum of its pixels' errors |truth - probability|, weighted by the
    gradient of the Lovász extension; its mean over the classes that occur is returned. The errors
    are counted in bins instead of sorted, which is ten times faster and deterministic.

    Args:
        log_probs: (N, K, H, W) float32, log-probabilities.
        class_ids: (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
        void_id: class that is excluded, as in mIoU; None if the map has none.
        process_group: the ranks that share the batch; the bins count the pixels of all of them.

    Returns:
        () float32, the contribution of this rank's pixels to the loss of the whole batch, which
        is in 0..1, and 0 if no class occurs.
    """
    errors, indices, counts = _count_errors(log_probs, class_ids, void_id)
    counts = process_group.sum(counts)
    weights = _lovasz_weights(counts).reshape(-1)
    occurs = counts[:, :, 1].sum(1, keepdim=True) > 0  # (K, 1)
    num_present = occurs.sum().clamp(min=1)
    return (errors * (weights[indices] * occurs / num_present)).sum()


def _count_errors(
    log_probs: Tensor, class_ids: Tensor, void_id: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the errors and their histograms.

    Returns:
        errors: (K, P) float32, 0..1; 0 for excluded pixels.
        indices: (K, P) int64, index of each error's bin in the flattened counts.
        counts: (K, bins, 2) int64; see `_lovasz_weights`.
    """
    num_classes = log_probs.shape[1]
    classes = torch.arange(num_classes, device=log_probs.device)[:, None]  # (K, 1)
    target = class_ids.reshape(-1)  # (P,)
    counted = target != IGNORE_INDEX
    if void_id is not None:
        counted &= target != void_id
    truth = target == classes  # (K, P)
    probabilities = log_probs.exp().permute(1, 0, 2, 3).reshape(num_classes, -1)  # (K, P)
    errors = (truth.float() - probabilities).abs() * counted
    with torch.no_grad():
        bins = (errors * _BINS).long().clamp(max=_BINS - 1)
        indices = 2 * (_BINS * classes + bins) + truth  # class, bin, whether the class is true
        size = num_classes * _BINS * 2
        counts = bincount(indices.where(counted, size).reshape(-1), size + 1)
    return errors, indices, counts[:size].reshape(num_classes, _BINS, 2)


def bincount(values: Tensor, size: int) -> Tensor:
    """torch.bincount without its synchronization with a GPU.

    Args:
        values: (P,) int64, 0..size - 1.

    Returns:
        (size,) int64, how often each value occurs.
    """
    if values.device.type != "cuda":
        return torch.bincount(values, minlength=size)
    counts = torch.zeros(size, dtype=torch.int64, device=values.device)
    return counts.index_add_(0, values, torch.ones_like(values))


def _lovasz_weights(counts: Tensor) -> Tensor:
    """Gradient of the Lovász extension of 1 - IoU per error bin (Berman et al. 2018, algorithm 1).

    Args:
        counts: (K, bins, 2) int64, pixels by class, error bin, and whether the class is true.

    Returns:
        (K, bins, 2) float32, the decrease of the IoU by one more wrong pixel if those with larger
        errors are wrong. A pixel of the class leaves the intersection I: 1 / U. Any other pixel
        joins the union U: I / (U (U + 1)). All pixels of a bin get the mean over the bin.
    """
    negatives, positives = counts.flip(1).unbind(2)  # (K, bins) each, largest errors first
    missed, false_positives = positives.cumsum(1), negatives.cumsum(1)
    total = missed[:, -1:]  # pixels of the class
    union_after = total + false_positives
    union_before = union_after - negatives
    intersection = total - missed + positives / 2  # in the middle of the bin
    by_positive = 2 / (union_before + union_after).clamp(min=1)
    by_negative = intersection / (union_before.float() * union_after).clamp(min=1)
    return torch.stack([by_negative, by_positive], dim=2).flip(1)
