"""Running a network over a data set: its cross-entropy and its confusion matrix.

Shapes: N pictures, P pictures of the data set, K classes, H and W pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation.batches import evaluation_batch, evaluation_groups
from roadseg.evaluation.metrics import confusion_matrix, segmentation_metrics
from roadseg.inference.tta import IDENTITY, View, mean_logits
from roadseg.models.losses import cross_entropy_sum
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set gave."""

    cross_entropy: float
    """Mean over all pixels of the classes that are trained; nats."""
    confusions: np.ndarray
    """(P, K, K) int64, of each picture: pixels by true and predicted class."""
    void_id: int | None

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) int64, of all pictures."""
        return self.confusions.sum(0)

    def figures(self) -> dict[str, float]:
        return {
            "cross_entropy": self.cross_entropy,
            **segmentation_metrics(self.confusion, self.void_id),
        }

    def require_finite(self, model: Path) -> None:
        """Raise InputError where the network in `model` gave logits that are no finite numbers."""
        if not math.isfinite(self.cross_entropy):
            raise InputError(
                f"{model}: its cross-entropy is {self.cross_entropy}, no finite number: its "
                "weights are too large; train again"
            )


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    prepared: PreparedDataset,
    ids: Sequence[str],
    batch_size: int,
    accelerator: Accelerator,
    *,
    ignored: int | None,
    views: Sequence[View] = (IDENTITY,),
    before_batch: Callable[[], None] = lambda: None,
    after_batch: Callable[[Tensor, Tensor, Tensor], None] = lambda *_: None,
) -> Evaluation:
    """Predict the pictures `ids` and compare with their masks.

    Sums over all pixels, so that no batch or picture weighs more than its pixels. The network is
    left in evaluation mode. Several processes take batches in turn, and each gets the evaluation
    of all of them, with the bits that one process alone would get.

    Args:
        ignored: a class that was not trained; the cross-entropy leaves its pixels out.
        views: of each picture; the mean of the probabilities that they give is judged.
        before_batch: called before each batch, by all processes equally often; may raise to give
            up, in all of them.
        after_batch: called with the logits (N, K, H, W) of each of our batches, its class ids and
            predicted class ids (N, H, W), for figures beyond these, on the device.

    Raises:
        InputError: masks in which nothing counts.
    """
    class_map, process_group = prepared.class_map(), accelerator.process_group
    network.eval()
    sums, confusions = [], []  # read at the end, so that nothing waits for a batch
    groups = evaluation_groups(prepared, ids, batch_size)
    with process_group.bar(total=len(ids), desc="evaluate", unit="img", leave=False) as bar:
        for start in range(0, len(groups), process_group.size):
            before_batch()
            in_turn = groups[start : start + process_group.size]
            bar.update(sum(map(len, in_turn)))
            if process_group.rank >= len(in_turn):
                continue
            batch = evaluation_batch(prepared, in_turn[process_group.rank])
            images, class_ids = accelerator.images(batch.images), accelerator.class_ids(batch.masks)
            logits = mean_logits(network, images, accelerator, views)  # (N, K, H, W)
            trained = class_ids
            if ignored is not None:
                trained = class_ids.masked_fill(class_ids == ignored, IGNORE_INDEX)
            sums.append(torch.stack(cross_entropy_sum(logits, trained)))
            predicted = logits.argmax(1)  # (N, H, W)
            for truth, guess in zip(class_ids, predicted, strict=True):
                confusions.append(confusion_matrix(truth, guess, class_map.num_classes))
            after_batch(logits, class_ids, predicted)
    ours = [torch.stack(found).cpu().numpy() if found else () for found in (sums, confusions)]
    by_batch, by_picture = _in_order(process_group.gathered(ours), list(map(len, groups)))
    total, pixels = (sum(column.tolist()) for column in by_batch.T)
    evaluation = Evaluation(total / max(1.0, pixels), by_picture, class_map.void_id)
    if math.isnan(evaluation.figures()["miou"]):
        raise InputError(f"{prepared.root}: no pixel counts in the masks of {', '.join(ids[:5])}")
    return evaluation


def _in_order(
    found: Sequence[Sequence[np.ndarray]], sizes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows by batch and rows by picture, in the order of the batches.

    Args:
        found: these of each process, which took the batches in turn.
        sizes: how many pictures each batch has.
    """
    left = [tuple(map(iter, rows)) for rows in found]
    by_batch, by_picture = [], []
    for number, size in enumerate(sizes):
        batches, pictures = left[number % len(left)]
        by_batch.append(next(batches))
        by_picture += islice(pictures, size)
    return np.stack(by_batch), np.stack(by_picture)
