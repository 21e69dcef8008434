"""Batches of cached pictures; what is in one is a function of (seed, epoch, index) alone.

Shapes: N pictures, H and W the largest height and width among them.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.data.augmentation import color_terms, draw_augmentation
from roadseg.data.loader import iterate_batches
from roadseg.data.prepared import PreparedDataset
from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup

_ORDER, _PICTURE = 1, 2  # what a generator is for, so that no two draw the same numbers


class Batch(NamedTuple):
    """Smaller pictures are padded at the right and the bottom; the masks say where (ignored)."""

    images: Tensor  # (N, 3, H, W) uint8, channels_last
    masks: Tensor  # (N, H, W) uint8 class ids, IGNORE_INDEX where a pixel does not count
    colors: Tensor | None = None  # (N, 3) float32, what `recolor` is to make of the images


class Sample(NamedTuple):
    """One of a batch: arrays, or tensors of the device that the data set lies on."""

    image: Any  # (H, W, 3) uint8, RGB
    mask: Any  # (H, W) uint8 class ids
    colors: tuple[float, float, float] | None = None  # its `color_terms`


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) int64, the order of the pictures in an epoch; a function of its arguments."""
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(count)


class SegmentationDataset(Dataset):
    """Pictures and masks by (epoch, index), changed by a generator of that picture's own."""

    def __init__(
        self, prepared: PreparedDataset, ids: Sequence[str], seed: int, *, flip: bool, jitter: float
    ) -> None:
        self.prepared, self.ids, self.seed = prepared, list(ids), seed
        self.changes = {"flip": flip, "jitter": jitter}
        self.resident: list[Sample] | None = None
        self._mean_greys: dict[int, float] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    def move_to(self, device: torch.device, room: int) -> None:
        """Keep all pictures on `device`, if they take no more than `room` bytes there."""
        if room and self.prepared.num_bytes(self.ids) <= room:
            # one after the other: each array holds an open file
            self.resident = [
                Sample(*(torch.from_numpy(array.copy()).to(device) for array in pair))
                for pair in map(self.prepared.pair, self.ids)
            ]

    def __len__(self) -> int:
        return len(self.ids)

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of a picture."""
        if index not in self._sizes:
            self._sizes[index] = self.prepared.size(self.ids[index])
        return self._sizes[index]

    def batch(self, keys: Sequence[tuple[int, int]], share: slice = slice(None)) -> Batch:
        """The `share` of the pictures `keys`, (epoch, index) each; padded as all of them are."""
        size = largest_size([self.size(index) for _, index in keys])
        return pad_collate([self[key] for key in keys[share]], size)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Picture `index` as it is to be seen in `epoch`."""
        epoch, index = key
        change = draw_augmentation(
            np.random.default_rng([_PICTURE, self.seed, epoch, index]), **self.changes
        )
        pair = self._pair(index)
        if change.flip:
            pair = tuple(x.flip(1) if isinstance(x, Tensor) else x[:, ::-1] for x in pair)
        if not self.changes["jitter"]:
            return Sample(*pair)
        return Sample(*pair, color_terms(change, self._mean_grey(index)))

    def _pair(self, index: int) -> tuple[Any, Any]:
        if self.resident is not None:
            return self.resident[index][:2]
        return self.prepared.pair(self.ids[index])

    def _mean_grey(self, index: int) -> float:
        if index not in self._mean_greys:
            image = self.prepared.image(self.ids[index])
            self._mean_greys[index] = int(image.sum(dtype=np.int64)) / image.size  # exact
        return self._mean_greys[index]


def training_batches(
    pictures: SegmentationDataset,
    epoch: int,
    batch_size: int,
    num_workers: int,
    first: int = 0,
    last_epoch: int | None = None,
    pin: bool = False,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Batch]:
    """The batches of `epoch` from number `first` on, each picture once; the last may be smaller.

    Of several processes each gets its share of a batch, which may be no picture.

    Args:
        num_workers: loader processes that make them; they start once.
        last_epoch: go on to the end of this epoch.
        pin: in memory that a GPU copies from by itself.
    """
    keys = _Keys(pictures, batch_size, epoch, first, last_epoch or epoch)
    if pictures.resident is not None:
        return (pictures.batch(some, process_group.share(len(some))) for some in keys)
    own = ProcessGroup(process_group.rank, process_group.size)  # a loader process has no group
    return iterate_batches(
        partial(_batch, pictures, keys, own),
        len(keys),
        num_workers,
        open_files=64 + 16 * num_workers + 4 * batch_size,
        pin=pin,
    )


def _batch(
    pictures: SegmentationDataset, keys: "_Keys", process_group: ProcessGroup, number: int
) -> Batch:
    return pictures.batch(keys[number], process_group.share(len(keys[number])))


class _Keys(Sequence):
    """(epoch, index) of the pictures of each batch; made when asked for, for they are many."""

    def __init__(
        self, pictures: SegmentationDataset, size: int, epoch: int, first: int, last_epoch: int
    ) -> None:
        self.seed, self.count, self.size = pictures.seed, len(pictures), size
        self.in_epoch = math.ceil(self.count / size)
        self.numbers = range(epoch * self.in_epoch + first, (last_epoch + 1) * self.in_epoch)
        self._epoch, self._order = 0, []  # the last that was drawn

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> list[tuple[int, int]]:
        epoch, place = divmod(self.numbers[number], self.in_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self.seed, epoch, self.count).tolist()
        some = self._order[place * self.size : (place + 1) * self.size]
        return [(epoch, index) for index in some]


def pad_collate(pictures: Sequence[Sample], size: tuple[int, int] | None = None) -> Batch:
    """One batch, on the device that the pictures lie on; of none, on the CPU.

    The padding repeats the border, so that it looks like a picture to the norm's statistics; no
    pixel of it counts in the loss.

    Args:
        size: (H, W) at least; None: the largest among them.
    """
    height, width = size or largest_size([picture.mask.shape for picture in pictures])
    device = pictures[0].mask.device if pictures else "cpu"  # arrays have one too
    images = torch.empty(len(pictures), height, width, 3, dtype=torch.uint8, device=device)
    masks = torch.full(images.shape[:3], IGNORE_INDEX, dtype=torch.uint8, device=device)
    arrays = device == "cpu"  # of numpy, not torch's of that name
    pixels, class_ids = (images.numpy(), masks.numpy()) if arrays else (images, masks)
    for i, (image, mask, _) in enumerate(pictures):
        rows, columns = mask.shape
        pixels[i, :rows, :columns] = image
        pixels[i, rows:, :columns] = image[-1:]
        pixels[i, :, columns:] = pixels[i, :, columns - 1 : columns]
        class_ids[i, :rows, :columns] = mask
    colors = [picture.colors for picture in pictures]
    # (N, H, W, 3) in memory seen as (N, 3, H, W) is channels_last already
    images = images.permute(0, 3, 1, 2)
    return Batch(images, masks, None if None in colors else torch.tensor(colors).reshape(-1, 3))


def largest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The largest height and the largest width among them."""
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def evaluation_groups(
    prepared: PreparedDataset, ids: Sequence[str], batch_size: int
) -> list[list[str]]:
    """`ids` in order, up to `batch_size` neighbours of one size together.

    No padding, which would change what the network sees at a picture's border.
    """
    groups = []
    for _, same_size in groupby(ids, key=prepared.size):
        names = list(same_size)
        groups += [names[at : at + batch_size] for at in range(0, len(names), batch_size)]
    return groups


def evaluation_batch(prepared: PreparedDataset, names: Sequence[str]) -> Batch:
    """The pictures `names`, of one size, as they are."""
    return pad_collate([Sample(*prepared.pair(name)) for name in names])
