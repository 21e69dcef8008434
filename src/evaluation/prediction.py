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

from src.data.batches import evaluation_batch, evaluation_groups
from src.data.cache import Cache
from src.evaluation.metrics import confusion_matrix, figures_of_merit
from src.files import InputError
from src.inference.views import AS_IT_IS, View, mean_logits
from src.labels import IGNORE_INDEX
from src.model.loss import cross_entropy_sum
from src.model.machine import Machine


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
            **figures_of_merit(self.confusion, self.void_id),
        }

    def require_finite(self, model: Path) -> None:
        """Raise InputError where the network in `model` gave logits that are no finite numbers."""
        if not math.isfinite(self.cross_entropy):
            raise InputError(
                f"{model}: its cross-entropy is {self.cross_entropy}, no finite number: its "
                "weights are too large; train again"
            )


@torch.inference_mode()
def evaluated(
    network: nn.Module,
    cache: Cache,
    ids: Sequence[str],
    batch_size: int,
    machine: Machine,
    *,
    ignored: int | None,
    views: Sequence[View] = (AS_IT_IS,),
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
    class_map, processes = cache.class_map(), machine.processes
    network.eval()
    sums, confusions = [], []  # read at the end, so that nothing waits for a batch
    groups = evaluation_groups(cache, ids, batch_size)
    with processes.bar(total=len(ids), desc="evaluate", unit="img", leave=False) as bar:
        for start in range(0, len(groups), processes.size):
            before_batch()
            in_turn = groups[start : start + processes.size]
            bar.update(sum(map(len, in_turn)))
            if processes.rank >= len(in_turn):
                continue
            batch = evaluation_batch(cache, in_turn[processes.rank])
            images, class_ids = machine.images(batch.images), machine.class_ids(batch.masks)
            logits = mean_logits(network, images, machine, views)  # (N, K, H, W)
            trained = class_ids
            if ignored is not None:
                trained = class_ids.masked_fill(class_ids == ignored, IGNORE_INDEX)
            sums.append(torch.stack(cross_entropy_sum(logits, trained)))
            predicted = logits.argmax(1)  # (N, H, W)
            for truth, guess in zip(class_ids, predicted, strict=True):
                confusions.append(confusion_matrix(truth, guess, class_map.num_classes))
            after_batch(logits, class_ids, predicted)
    ours = [torch.stack(found).cpu().numpy() if found else () for found in (sums, confusions)]
    by_batch, by_picture = _in_order(processes.gathered(ours), list(map(len, groups)))
    total, pixels = (sum(column.tolist()) for column in by_batch.T)
    evaluation = Evaluation(total / max(1.0, pixels), by_picture, class_map.void_id)
    if math.isnan(evaluation.figures()["miou"]):
        raise InputError(f"{cache.root}: no pixel counts in the masks of {', '.join(ids[:5])}")
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
