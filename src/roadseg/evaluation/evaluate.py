"""Evaluation of a network on a data set: cross-entropy and confusion matrices.

Shapes: N images in a batch, P images in the data set, K classes, H and W pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.data.collate import Batch, Sample, pad_collate
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation.metrics import confusion_matrix, segmentation_metrics
from roadseg.inference.tta import IDENTITY, View, mean_logits
from roadseg.models.losses import cross_entropy_sum
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError


@dataclass(frozen=True)
class Evaluation:
    """The result of one pass over a data set."""

    cross_entropy: float
    """Mean over all pixels of the trained classes, in nats."""
    confusions: np.ndarray
    """(P, K, K) int64, the confusion matrix of each image; rows are the true classes."""
    void_id: int | None

    @property
    def confusion(self) -> np.ndarray:
        """Confusion matrix of all images, (K, K) int64."""
        total: np.ndarray = self.confusions.sum(0)
        return total

    def metrics(self) -> dict[str, float]:
        """Compute `cross_entropy` and the metrics of `segmentation_metrics`."""
        return {
            "cross_entropy": self.cross_entropy,
            **segmentation_metrics(self.confusion, self.void_id),
        }

    def require_finite(self, model: Path | str) -> None:
        """Raise InputError, naming the model or models, if the cross-entropy is not finite."""
        if not math.isfinite(self.cross_entropy):
            raise InputError(
                f"{model}: the cross-entropy is {self.cross_entropy}, not a finite number, because "
                "the weights are too large; train again"
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
    """Predict the images `ids` and compare the predictions with their masks.

    Every pixel has the same weight, whatever its image or batch. The network is left in evaluation
    mode. The ranks of a process group take turns at batches; each returns the evaluation of all of
    them, bit-identical to that of a single process.

    Args:
        ignored: class that was not trained; the cross-entropy excludes its pixels.
        views: test-time augmentation; the mean of the probabilities of the views is evaluated.
        before_batch: called before each batch, equally often on all ranks; may raise to stop, if it
            raises on all of them.
        after_batch: called with the logits (N, K, H, W), class ids and predicted class ids
            (N, H, W) of each batch of this rank, on the device, to compute further metrics.

    Raises:
        InputError: all pixels of the masks are ignored or void.
    """
    class_map, process_group = prepared.class_map(), accelerator.process_group
    network.eval()
    results = []  # batches of this rank; read at the end, to avoid waiting for each on a GPU
    groups = evaluation_groups(prepared, ids, batch_size)
    with process_group.bar(total=len(ids), desc="evaluate", unit="img", leave=False) as bar:
        for start in range(0, len(groups), process_group.size):
            before_batch()
            turn = groups[start : start + process_group.size]
            bar.update(sum(map(len, turn)))
            if process_group.rank >= len(turn):
                continue
            batch = evaluation_batch(prepared, turn[process_group.rank])
            images, class_ids = accelerator.images(batch.images), accelerator.class_ids(batch.masks)
            logits = mean_logits(network, images, accelerator, views)  # (N, K, H, W)
            trained = class_ids
            if ignored is not None:
                trained = class_ids.masked_fill(class_ids == ignored, IGNORE_INDEX)
            sums = torch.stack(cross_entropy_sum(logits, trained))  # (2,)
            predicted = logits.argmax(1)  # (N, H, W)
            confusions = [
                confusion_matrix(truth, guess, class_map.num_classes)
                for truth, guess in zip(class_ids, predicted, strict=True)
            ]
            results.append((sums, torch.stack(confusions)))
            after_batch(logits, class_ids, predicted)
    local = [(sums.cpu().numpy(), confusions.cpu().numpy()) for sums, confusions in results]
    by_rank = process_group.all_gather(local)
    in_order = [by_rank[i % len(by_rank)][i // len(by_rank)] for i in range(len(groups))]
    by_batch = np.stack([sums for sums, _ in in_order])  # (batches, 2)
    total, pixels = (sum(column.tolist()) for column in by_batch.T)
    by_image = np.concatenate([confusions for _, confusions in in_order])  # (P, K, K)
    evaluation = Evaluation(total / max(1.0, pixels), by_image, class_map.void_id)
    if math.isnan(evaluation.metrics()["miou"]):
        names = ", ".join(ids[:5]) + (", .." if len(ids) > 5 else "")
        raise InputError(f"{prepared.root}: all pixels are void or ignored in the masks of {names}")
    return evaluation


def evaluation_groups(
    prepared: PreparedDataset, ids: Sequence[str], batch_size: int
) -> list[list[str]]:
    """Group `ids`, in order, into batches of up to `batch_size` consecutive images of one size.

    Images are not padded, because padding would change the logits at their borders.
    """
    groups = []
    for _, same_size in groupby(ids, key=prepared.size):
        names = list(same_size)
        groups += [names[start : start + batch_size] for start in range(0, len(names), batch_size)]
    return groups


def evaluation_batch(prepared: PreparedDataset, names: Sequence[str]) -> Batch:
    """Load the images `names`, which must have one size, and their masks."""
    return pad_collate([Sample(*prepared.pair(name)) for name in names])
