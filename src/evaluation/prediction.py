"""Running a network over a data set: its cross-entropy and its confusion matrix.

Shapes: N pictures, P pictures of the data set, K classes, H and W pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from src.data.batches import evaluation_batches
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
    left in evaluation mode.

    Args:
        ignored: a class that was not trained; the cross-entropy leaves its pixels out.
        views: of each picture; the mean of the probabilities that they give is judged.
        before_batch: called before each batch; may raise to give up.
        after_batch: called with each batch's logits (N, K, H, W), class ids and predicted class
            ids (N, H, W), for figures beyond these, on the device.

    Raises:
        InputError: masks in which nothing counts.
    """
    class_map = cache.class_map()
    network.eval()
    losses, counts, confusions = [], [], []  # read at the end, so that nothing waits for a batch
    bar = tqdm(total=len(ids), desc="evaluate", unit="img", leave=False, disable=None)
    with bar:
        for batch in evaluation_batches(cache, ids, batch_size):
            before_batch()
            images, class_ids = machine.images(batch.images), machine.class_ids(batch.masks)
            logits = mean_logits(network, images, machine, views)  # (N, K, H, W)
            trained = class_ids
            if ignored is not None:
                trained = class_ids.masked_fill(class_ids == ignored, IGNORE_INDEX)
            loss, count = cross_entropy_sum(logits, trained)
            predicted = logits.argmax(1)  # (N, H, W)
            for truth, guess in zip(class_ids, predicted, strict=True):
                confusions.append(confusion_matrix(truth, guess, class_map.num_classes))
            after_batch(logits, class_ids, predicted)
            losses.append(loss)
            counts.append(count)
            bar.update(len(images))
    total, pixels = (sum(torch.stack(values).tolist()) for values in (losses, counts))
    by_picture = torch.stack(confusions).cpu().numpy()
    evaluation = Evaluation(total / max(1.0, pixels), by_picture, class_map.void_id)
    if math.isnan(evaluation.figures()["miou"]):
        raise InputError(f"{cache.root}: no pixel counts in the masks of {', '.join(ids[:5])}")
    return evaluation
