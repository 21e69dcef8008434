"""Cross-entropy over the pixels that count, plain and weighted by class.

Shapes: N pictures, K classes, H and W pixels, P = N * H * W.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from src.labels import IGNORE_INDEX


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
    return share_loss_sum(log_shares(logits), class_ids, weights)


def log_shares(logits: Tensor) -> Tensor:
    """(N, K, H, W), any float type -> the logarithm of each class's share, (N, K, H, W) float32."""
    # over (N, K, H, W), as the report's is: on some processors its last bits differ over (P, K)
    return F.log_softmax(logits.float(), dim=1)


def share_loss_sum(
    shares: Tensor, class_ids: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`cross_entropy_sum` from `log_shares`, for those who need it weighted and plain."""
    # over (P, K): CUDA's spatial sum has no fixed order
    pixels = shares.permute(0, 2, 3, 1).reshape(-1, shares.shape[1])  # (P, K)
    target = class_ids.reshape(-1)  # (P,)
    total = F.nll_loss(pixels, target, weights, ignore_index=IGNORE_INDEX, reduction="sum")
    counted = target != IGNORE_INDEX
    if weights is None:
        return total, counted.sum().float()
    return total, (weights[target.where(counted, 0)] * counted).sum()


def square_root_weights(pixels: np.ndarray) -> Tensor:
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
