"""Training images and masks; a sample is a pure function of (seed, epoch, index).

Shapes: H and W are the height and width of an image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from roadseg.data.augmentation import color_terms, draw_augmentation
from roadseg.data.collate import Sample
from roadseg.data.prepared import PreparedDataset

_AUGMENTATION = 2  # the purpose of a generator, so that no two purposes draw the same numbers


class SegmentationDataset(Dataset):
    """Augmented images and masks by (epoch, index)."""

    def __init__(
        self, prepared: PreparedDataset, ids: Sequence[str], seed: int, *, flip: bool, jitter: float
    ) -> None:
        self.prepared, self.ids, self.seed = prepared, list(ids), seed
        self.augmentation = {"flip": flip, "jitter": jitter}
        self.resident: list[Sample] | None = None
        self._mean_greys: dict[int, float] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    def move_to(self, device: torch.device, max_bytes: int) -> None:
        """Keep all images and masks on `device` if they take at most `max_bytes` there."""
        if max_bytes and self.prepared.num_bytes(self.ids) <= max_bytes:
            # one after the other, because each array holds an open file
            self.resident = [
                Sample(*(torch.from_numpy(array.copy()).to(device) for array in pair))
                for pair in map(self.prepared.pair, self.ids)
            ]

    def __len__(self) -> int:
        return len(self.ids)

    def size(self, index: int) -> tuple[int, int]:
        """Return (H, W) of an image."""
        if index not in self._sizes:
            self._sizes[index] = self.prepared.size(self.ids[index])
        return self._sizes[index]

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return the image `index` with the augmentation of `epoch`, where `key` is both."""
        epoch, index = key
        change = draw_augmentation(
            np.random.default_rng([_AUGMENTATION, self.seed, epoch, index]), **self.augmentation
        )
        pair = self._pair(index)
        if change.flip:
            pair = tuple(x.flip(1) if isinstance(x, Tensor) else x[:, ::-1] for x in pair)
        if not self.augmentation["jitter"]:
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
