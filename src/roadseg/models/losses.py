"""Losses over the pixels that count: cross-entropy, plain and weighted by class, and Lovász's.

Shapes: N pictures, K classes, H and W pixels, P = N * H * W.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup

_BINS = 1024
"""Of the errors 0..1 in Lovász's loss; finer ones change its gradient by less than 0.1 %."""


def cross_entropy_sum(
    logits: Tensor, class_ids: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropy over all pixels that are not ignored, and what to divide it by.

    The sums of batches add up to the sum of the data set (up to rounding); the mean of their means
    would not, where pictures differ in size.

    Args:
        logits: (N, K, H, W), any float type; computed in float32.
        class_ids: (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
        weights: (K,) float32 factor of each class; None is 1 for each.

    Returns:
        total: () float32, sum of weight * -log softmax(logits)[class id], in nats.
        count: () float32, sum of the weights of those pixels (their number without weights).
    """
    return nll_sum(log_probabilities(logits), class_ids, weights)


def log_probabilities(logits: Tensor) -> Tensor:
    """(N, K, H, W), any float type -> the logarithm of each class's share, (N, K, H, W) float32."""
    # over (N, K, H, W), as the report's is: on some processors its last bits differ over (P, K)
    return F.log_softmax(logits.float(), dim=1)


def nll_sum(
    shares: Tensor, class_ids: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`cross_entropy_sum` from `log_probabilities`, for those who need it weighted and plain."""
    # over (P, K): CUDA's spatial sum has no fixed order
    pixels = shares.permute(0, 2, 3, 1).reshape(-1, shares.shape[1])  # (P, K)
    target = class_ids.reshape(-1)  # (P,)
    total = F.nll_loss(pixels, target, weights, ignore_index=IGNORE_INDEX, reduction="sum")
    counted = target != IGNORE_INDEX
    if weights is None:
        return total, counted.sum().float()
    return total, (weights[target.where(counted, 0)] * counted).sum()


def inverse_sqrt_weights(pixels: np.ndarray) -> Tensor:
    """Weights proportional to 1 / sqrt(frequency), with a mean of 1 over the pixels.

    Args:
        pixels: (K,) int, training pixels of each class.

    Returns:
        (K,) float32; 0 for a class that does not occur, which has no pixel to weigh.
    """
    share = pixels / max(1, pixels.sum())
    weights = np.divide(1.0, np.sqrt(share), out=np.zeros(len(share)), where=share > 0)
    mean = (weights * share).sum()
    return torch.from_numpy(weights / (mean or 1.0)).float()


def lovasz_loss(
    log_probs: Tensor,
    class_ids: Tensor,
    void_id: int | None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Lovász-softmax (Berman et al. 2018): 1 - IoU, made continuous; mean over the classes.

    The loss of a class is a weighted sum of its pixels' errors (how far its share is from 1 or 0).
    A weight is what the IoU loses by that pixel, if those of larger errors are wrong already. The
    errors are not sorted but counted in bins, which is ten times faster and has one order only.

    Args:
        log_probs: (N, K, H, W) float32, as of `log_probabilities`.
        class_ids: (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
        void_id: a class that is left out, as the IoU leaves it out; None if there is none.
        processes: those that share the batch; the bins count the pixels of all of them.

    Returns:
        () float32, what this process's pixels contribute to the loss of the whole batch; that is
        0..1, and 0 where no class occurs.
    """
    errors, places, counts = _binned(log_probs, class_ids, void_id)
    counts = process_group.sum(counts)
    weights = _lovasz_weights(counts).reshape(-1)
    occurs = counts[:, :, 1].sum(1, keepdim=True) > 0  # (K, 1)
    present = occurs.sum().clamp(min=1)
    return (errors * (weights[places] * occurs / present)).sum()


def _binned(
    log_probs: Tensor, class_ids: Tensor, void_id: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Errors and what `_lovasz_weights` asks about them.

    Returns:
        errors: (K, P) float32, 0..1; 0 where a pixel does not count.
        places: (K, P) int64, place of each in the flat counts.
        counts: (K, bins, 2) int64.
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
        places = 2 * (_BINS * classes + bins) + truth  # class, bin, whether the class is true
        size = num_classes * _BINS * 2
        counts = bincount(places.where(counted, size).reshape(-1), size + 1)
    return errors, places, counts[:size].reshape(num_classes, _BINS, 2)


def bincount(values: Tensor, size: int) -> Tensor:
    """Count how often each of 0..size - 1 occurs, without waiting for a GPU.

    Args:
        values: (P,) int64, 0..size - 1.

    Returns:
        (size,) int64.
    """
    if values.device.type != "cuda":
        return torch.bincount(values, minlength=size)
    # torch.bincount on CUDA reads the largest value first
    counts = torch.zeros(size, dtype=torch.int64, device=values.device)
    return counts.index_add_(0, values, torch.ones_like(values))


def _lovasz_weights(counts: Tensor) -> Tensor:
    """What IoU loses by one more wrong pixel, from the largest error down.

    Args:
        counts: (K, bins, 2) int64, pixels by class, error, and whether the class is true there.

    Returns:
        (K, bins, 2) float32. A pixel of the class leaves the intersection, so the IoU loses
        1 / union. Any other joins the union U, and it loses intersection / (U (U + 1)); of
        several in a bin, the mean.
    """
    others, hits = counts.flip(1).unbind(2)  # (K, bins) each, largest errors first
    wrong_hits, wrong_others = hits.cumsum(1), others.cumsum(1)
    total = wrong_hits[:, -1:]  # pixels of the class
    union_after = total + wrong_others
    union_before = union_after - others
    intersection = total - wrong_hits + hits / 2  # in the middle of the bin
    by_hit = 2 / (union_before + union_after).clamp(min=1)
    by_other = intersection / (union_before.float() * union_after).clamp(min=1)
    return torch.stack([by_other, by_hit], dim=2).flip(1)
