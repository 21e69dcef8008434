"""Running a network over a data set: its cross-entropy and its confusion matrix.

Shapes: N pictures, P pictures of the data set, K classes, H and W pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from src.data.batches import evaluation_batches
from src.data.cache import Cache
from src.evaluation.metrics import confusion_matrix, figures_of_merit
from src.files import InputError
from src.labels import IGNORE_INDEX
from src.model.loss import cross_entropy_sum
from src.model.machine import Machine
from src.model.unet import SMALLEST_SIDE


class View(NamedTuple):
    """One of several looks at a picture (test-time augmentation)."""

    scale: float
    """Of height and width."""
    flip: bool
    """Mirrored left for right."""


AS_IT_IS = View(1.0, False)


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


def mean_logits(
    network: nn.Module, images: Tensor, machine: Machine, views: Sequence[View]
) -> Tensor:
    """Logits whose softmax is the mean of the probabilities that `views` give.

    Args:
        images: (N, 3, H, W) float32, 0..1.

    Returns:
        (N, K, H, W); of one view as it is, the network's own.
    """
    if list(views) == [AS_IT_IS]:
        return machine.logits(network, images)
    total: Tensor | float = 0.0
    for view in views:
        total = total + _viewed_logits(network, images, machine, view).softmax(1)
    return (total / len(views)).clamp(min=1e-30).log()


def _viewed_logits(network: nn.Module, images: Tensor, machine: Machine, view: View) -> Tensor:
    """(N, K, H, W) float32, of the picture as it lies."""
    size = images.shape[2:]
    seen = images.flip(3) if view.flip else images
    if view.scale != 1:
        sides = [max(SMALLEST_SIDE, round(side * view.scale)) for side in size]
        seen = F.interpolate(seen, sides, mode="bilinear", antialias=True)
    logits = machine.logits(network, seen.contiguous(memory_format=machine.memory_format)).float()
    if view.scale != 1:
        logits = F.interpolate(logits, size, mode="bilinear")
    return logits.flip(3) if view.flip else logits


@torch.inference_mode()
def predicted_mask(network: nn.Module, image: np.ndarray, machine: Machine) -> np.ndarray:
    """(H, W) uint8 class ids that `network` predicts for `image`, (H, W, 3) uint8."""
    batch: Tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    logits = machine.logits(network, machine.images(batch))
    return logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
