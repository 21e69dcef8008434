"""What a training minimises.

Shapes: N pictures, K classes, H and W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from src.config import Recipe
from src.labels import ClassMap
from src.model.loss import lovasz_losses, share_loss_sum, square_root_weights
from src.processes import ALONE, Processes, paired_sum


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a training minimises, and over which pixels."""

    class_weights: Tensor | None
    """(K,) float32 on the device, or None for a plain mean of the cross-entropy."""
    lovasz: float
    """Weight of Lovász's loss."""
    void_id: int | None
    """The class that Lovász's loss leaves out, as mIoU does."""
    ignored: int | None
    """The class that is not trained."""

    def losses(
        self, parts: Sequence[tuple[Tensor, Tensor]], processes: Processes = ALONE
    ) -> list[Tensor]:
        """The cross-entropy, a mean over the counted pixels of a batch, plus Lovász's loss.

        Args:
            parts: of the batch, those that are ours: shares (N, K, H, W) float32, as of
                `log_shares`, and class ids (N, H, W) int64, 0..K-1 or IGNORE_INDEX.
            processes: those that share the batch.

        Returns:
            What each part adds to the batch's loss; ().
        """
        found = [share_loss_sum(shares, ids, self.class_weights) for shares, ids in parts]
        count = processes.sum(paired_sum([count for _, count in found]).clone())
        count = count.clamp(min=1e-12)  # a batch of ignored pixels alone teaches nothing
        losses = [total / count for total, _ in found]
        if self.lovasz:
            more = lovasz_losses(parts, self.void_id, processes)
            losses = [a + self.lovasz * b for a, b in zip(losses, more, strict=True)]
        return losses


def objective(
    recipe: Recipe, class_map: ClassMap, pixels: np.ndarray, device: torch.device
) -> Objective:
    """What `recipe` asks for.

    Args:
        pixels: (K,) int, training pixels of each class.
    """
    ignored = class_map.void_id if recipe.void == "ignored" else None
    weights = None
    if recipe.class_weights == "sqrt":
        trained = pixels.copy()
        if ignored is not None:
            trained[ignored] = 0
        weights = square_root_weights(trained).to(device)
    return Objective(
        class_weights=weights, lovasz=recipe.lovasz, void_id=class_map.void_id, ignored=ignored
    )
