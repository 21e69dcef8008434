"""The loss that a training minimizes.

Shapes: N images, K classes, H and W pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.config.params import Recipe
from roadseg.models.losses import inverse_sqrt_weights, lovasz_loss, nll_sum
from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """Cross-entropy, optionally weighted, plus optionally the Lovász loss."""

    class_weights: Tensor | None
    """(K,) float32 on the device, or None for a plain mean of the cross-entropy."""
    lovasz: float
    """Weight of the Lovász loss."""
    void_id: int | None
    """The class that the Lovász loss leaves out, as mIoU does."""
    ignored: int | None
    """A class whose pixels do not count, or None."""

    def loss(
        self, log_probs: Tensor, class_ids: Tensor, process_group: ProcessGroup = SINGLE_PROCESS
    ) -> Tensor:
        """Cross-entropy, averaged over the counted pixels of the batch, plus Lovász loss.

        Args:
            log_probs: (N, K, H, W) float32, log-probabilities of this process's images.
            class_ids: (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
            process_group: the ranks that share the batch.

        Returns:
            () float32, what this process's images contribute to the loss of the whole batch: the
            contributions of all processes add up to it.
        """
        total, count = nll_sum(log_probs, class_ids, self.class_weights)
        # without the clamp, a batch in which no pixel counts would give NaN instead of 0
        loss = total / process_group.sum(count).clamp(min=1e-12)
        if self.lovasz:
            loss = loss + self.lovasz * lovasz_loss(
                log_probs, class_ids, self.void_id, process_group
            )
        return loss


def build_criterion(
    recipe: Recipe, class_map: ClassMap, pixels: np.ndarray, device: torch.device
) -> Criterion:
    """Build the criterion of `recipe`.

    Args:
        pixels: (K,) int, training pixels of each class.
    """
    ignored = class_map.void_id if recipe.void == "ignored" else None
    weights = None
    if recipe.class_weights == "sqrt":
        trained = pixels.copy()
        if ignored is not None:
            trained[ignored] = 0
        weights = inverse_sqrt_weights(trained).to(device)
    return Criterion(
        class_weights=weights, lovasz=recipe.lovasz, void_id=class_map.void_id, ignored=ignored
    )
