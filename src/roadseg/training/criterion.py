"""The loss that training minimizes.

Shapes: N images, K classes, H and W pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.config.recipe import Recipe
from roadseg.models.losses import inverse_sqrt_weights, lovasz_loss, nll_sum
from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """Cross-entropy, optionally with class weights, plus optionally the Lovász loss."""

    class_weights: Tensor | None
    """(K,) float32 on the device, or None for the plain mean of the cross-entropy."""
    lovasz: float
    """Weight of the Lovász loss."""
    void_id: int | None
    """Class id that the Lovász loss excludes, as mIoU does; or None."""
    ignored_class: int | None
    """Class id whose pixels are not trained, or None."""

    def loss(
        self, log_probs: Tensor, class_ids: Tensor, process_group: ProcessGroup = SINGLE_PROCESS
    ) -> Tensor:
        """Mean cross-entropy over the counted pixels of the batch, plus the Lovász loss.

        Args:
            log_probs: (N, K, H, W) float32, log-probabilities of this rank's images.
            class_ids: (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
            process_group: the ranks that share the batch.

        Returns:
            () float32, this rank's contribution; the contributions of all ranks add up to the loss
            of the whole batch.
        """
        total, count = nll_sum(log_probs, class_ids, self.class_weights)
        # without the clamp, a batch without counted pixels would give NaN instead of 0
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
    ignored_class = class_map.void_id if recipe.void == "ignored" else None
    weights = None
    if recipe.class_weights == "sqrt":
        trained = pixels.copy()
        if ignored_class is not None:
            trained[ignored_class] = 0
        weights = inverse_sqrt_weights(trained).to(device)
    return Criterion(
        class_weights=weights,
        lovasz=recipe.lovasz,
        void_id=class_map.void_id,
        ignored_class=ignored_class,
    )
