"""Running a network over a data set: its cross-entropy and its confusion matrix.

Shapes: N pictures, K classes, H and W pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from src.data.batches import evaluation_batches
from src.data.cache import Cache
from src.evaluation.metrics import confusion_matrix, figures_of_merit
from src.files import InputError
from src.model.loss import cross_entropy_sum
from src.model.machine import Machine


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a data set gave."""

    cross_entropy: float
    """Mean over all pixels that count, void among them where it is a class; nats."""
    confusion: np.ndarray
    """(K, K) int64, pixels by true and predicted class."""
    void_id: int | None

    def figures(self) -> dict[str, float]:
        return {
            "cross_entropy": self.cross_entropy,
            **figures_of_merit(self.confusion, self.void_id),
        }


@torch.inference_mode()
def evaluated(
    network: nn.Module,
    cache: Cache,
    ids: Sequence[str],
    batch_size: int,
    machine: Machine,
    before_batch: Callable[[], None] = lambda: None,
    after_batch: Callable[[Tensor, Tensor, Tensor], None] = lambda *_: None,
) -> Evaluation:
    """Predict the pictures `ids` and compare with their masks.

    Sums over all pixels, so that no batch or picture weighs more than its pixels. The network is
    left in evaluation mode.

    Args:
        before_batch: called before each batch; may raise to give up.
        after_batch: called with each batch's logits (N, K, H, W), class ids and predicted class
            ids (N, H, W), for figures beyond these, on the device.

    Raises:
        InputError: masks in which nothing counts.
    """
    class_map = cache.class_map()
    network.eval()
    losses, counts = [], []  # read at the end, so that nothing waits for a batch
    confusion = torch.zeros(
        class_map.num_classes, class_map.num_classes, dtype=torch.int64, device=machine.device
    )
    bar = tqdm(total=len(ids), desc="evaluate", unit="img", leave=False, disable=None)
    with bar:
        for batch in evaluation_batches(cache, ids, batch_size):
            before_batch()
            images, class_ids = machine.images(batch.images), machine.class_ids(batch.masks)
            logits = machine.logits(network, images)  # (N, K, H, W)
            loss, count = cross_entropy_sum(logits, class_ids)
            predicted = logits.argmax(1)  # (N, H, W)
            confusion += confusion_matrix(class_ids, predicted, class_map.num_classes)
            after_batch(logits, class_ids, predicted)
            losses.append(loss)
            counts.append(count)
            bar.update(len(images))
    total, pixels = (sum(torch.stack(values).tolist()) for values in (losses, counts))
    evaluation = Evaluation(total / max(1.0, pixels), confusion.cpu().numpy(), class_map.void_id)
    if math.isnan(evaluation.figures()["miou"]):
        raise InputError(f"{cache.root}: no pixel counts in the masks of {', '.join(ids[:5])}")
    return evaluation


@torch.inference_mode()
def predicted_mask(network: nn.Module, image: np.ndarray, machine: Machine) -> np.ndarray:
    """(H, W) uint8 class ids that `network` predicts for `image`, (H, W, 3) uint8."""
    batch: Tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    logits = machine.logits(network, machine.images(batch))
    return logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
