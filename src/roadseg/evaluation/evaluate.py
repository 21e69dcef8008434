"""Evaluate a network on a data set: cross-entropy and confusion matrices.

Shapes: N images of a batch, P images of the data set, K classes, H and W pixels.
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
    """Mean over all pixels of the classes that are trained; nats."""
    confusions: np.ndarray
    """(P, K, K) int64, of each image: pixels by true and predicted class."""
    void_id: int | None

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) int64, of all images."""
        return self.confusions.sum(0)

    def metrics(self) -> dict[str, float]:
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
    """Predict the images `ids` and compare with their masks.

    Sums over all pixels, so that no batch or image weighs more than its pixels. The network is
    left in evaluation mode. Several processes take batches in turn, and each gets the evaluation
    of all of them, with the bits that one process alone would get.

    Args:
        ignored: a class that was not trained; the cross-entropy leaves its pixels out.
        views: of each image; the mean of the probabilities that they give is evaluated.
        before_batch: called before each batch, by all processes equally often; may raise to give
            up, in all of them.
        after_batch: called with the logits (N, K, H, W) of each of our batches, its class ids and
            predicted class ids (N, H, W), for figures beyond these, on the device.

    Raises:
        InputError: masks in which nothing counts.
    """
    class_map, process_group = prepared.class_map(), accelerator.process_group
    network.eval()
    results = []  # of our batches; read at the end, so that nothing waits for a batch
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
            sums = torch.stack(cross_entropy_sum(logits, trained))  # (2,)
            predicted = logits.argmax(1)  # (N, H, W)
            confusions = [
                confusion_matrix(truth, guess, class_map.num_classes)
                for truth, guess in zip(class_ids, predicted, strict=True)
            ]
            results.append((sums, torch.stack(confusions)))
            after_batch(logits, class_ids, predicted)
    ours = [(sums.cpu().numpy(), confusions.cpu().numpy()) for sums, confusions in results]
    of_rank = process_group.all_gather(ours)
    in_order = [of_rank[i % len(of_rank)][i // len(of_rank)] for i in range(len(groups))]
    by_batch = np.stack([sums for sums, _ in in_order])  # (batches, 2)
    total, pixels = (sum(column.tolist()) for column in by_batch.T)
    by_image = np.concatenate([confusions for _, confusions in in_order])  # (P, K, K)
    evaluation = Evaluation(total / max(1.0, pixels), by_image, class_map.void_id)
    if math.isnan(evaluation.metrics()["miou"]):
        raise InputError(f"{prepared.root}: no pixel counts in the masks of {', '.join(ids[:5])}")
    return evaluation


def evaluation_groups(
    prepared: PreparedDataset, ids: Sequence[str], batch_size: int
) -> list[list[str]]:
    """Group `ids`, in order, into batches of up to `batch_size` neighbours of one size.

    Nothing is padded, because padding changes what the network sees at the border of an image.
    """
    groups = []
    for _, same_size in groupby(ids, key=prepared.size):
        names = list(same_size)
        groups += [names[at : at + batch_size] for at in range(0, len(names), batch_size)]
    return groups


def evaluation_batch(prepared: PreparedDataset, names: Sequence[str]) -> Batch:
    """Return the images `names`, which have one size, and their masks."""
    return pad_collate([Sample(*prepared.pair(name)) for name in names])
