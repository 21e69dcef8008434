"""Batches of cached pictures; what is in one is a function of (seed, epoch, index) alone.

Shapes: N pictures, H and W the largest height and width among them.
"""

import signal
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.data.augment import augmented
from src.data.cache import Cache
from src.labels import IGNORE_INDEX

_ORDER, _PICTURE = 1, 2  # what a generator is for, so that no two draw the same numbers


class Batch(NamedTuple):
    """Smaller pictures are padded at the right and the bottom; the masks say where (ignored)."""

    images: Tensor  # (N, 3, H, W) uint8, channels_last
    masks: Tensor  # (N, H, W) uint8 class ids, IGNORE_INDEX where a pixel does not count


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) int64, the order of the pictures in an epoch; a function of its arguments."""
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(count)


class TrainingPictures(Dataset):
    """Pictures and masks by (epoch, index), augmented by a generator of that picture's own."""

    def __init__(
        self, cache: Cache, ids: Sequence[str], seed: int, *, flip: bool, jitter: float
    ) -> None:
        self.cache, self.ids, self.seed = cache, list(ids), seed
        self.changes = {"flip": flip, "jitter": jitter}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 and mask (H, W) uint8 of picture `index` in `epoch`."""
        epoch, index = key
        image, mask = self.cache.image(self.ids[index]), self.cache.mask(self.ids[index])
        rng = np.random.default_rng([_PICTURE, self.seed, epoch, index])
        return augmented(image, mask, rng, **self.changes)


def training_batches(
    pictures: TrainingPictures, epoch: int, batch_size: int, num_workers: int, first: int = 0
) -> DataLoader:
    """The batches of `epoch` from number `first` on, each picture once; the last may be smaller."""
    order = [(epoch, int(index)) for index in epoch_order(pictures.seed, epoch, len(pictures))]
    starts = range(first * batch_size, len(order), batch_size)
    return DataLoader(
        pictures,
        batch_sampler=[order[start : start + batch_size] for start in starts],
        collate_fn=padded_batch,
        num_workers=num_workers,
        worker_init_fn=_leave_signals_to_the_trainer,
        generator=torch.Generator(),  # else the loader draws from the generator of dropout
    )


def _leave_signals_to_the_trainer(_worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the trainer finishes its step, and needs us."""
    signal.set_wakeup_fd(-1)  # the trainer's own, inherited
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def padded_batch(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """One batch of (image, mask) pairs.

    The padding repeats the border, so that it looks like a picture to the norm's statistics; no
    pixel of it counts in the loss.
    """
    height = max(mask.shape[0] for _, mask in pairs)
    width = max(mask.shape[1] for _, mask in pairs)
    images = np.empty((len(pairs), height, width, 3), dtype=np.uint8)
    masks = np.full((len(pairs), height, width), IGNORE_INDEX, dtype=np.uint8)
    for i, (image, mask) in enumerate(pairs):
        rows, columns = mask.shape
        images[i, :rows, :columns] = image
        images[i, rows:, :columns] = image[-1:]
        images[i, :, columns:] = images[i, :, columns - 1 : columns]
        masks[i, :rows, :columns] = mask
    # (N, H, W, 3) in memory seen as (N, 3, H, W) is channels_last already
    return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(masks))


def evaluation_batches(cache: Cache, ids: Sequence[str], batch_size: int) -> Iterator[Batch]:
    """The pictures as they are, in order, up to `batch_size` neighbours of one size together.

    No padding, which would change what the network sees at a picture's border.
    """
    for _, same_size in groupby(ids, key=cache.size):
        names = list(same_size)
        for start in range(0, len(names), batch_size):
            some = names[start : start + batch_size]
            yield padded_batch([(cache.image(name), cache.mask(name)) for name in some])
