"""The training dataset; a sample is a pure function of (seed, epoch, index).

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

_AUGMENTATION = 2  # part of the generator's seed, so that augmentation has a stream of its own


class SegmentationDataset(Dataset[Sample]):
    """Map-style dataset of augmented images and masks; a key is (epoch, index)."""

    def __init__(
        self, prepared: PreparedDataset, ids: Sequence[str], seed: int, *, flip: bool, jitter: float
    ) -> None:
        self.prepared, self.ids, self.seed = prepared, list(ids), seed
        self.flip, self.jitter = flip, jitter
        self.resident: list[Sample] | None = None
        self._mean_greys: dict[int, float] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    def move_to(self, device: torch.device, max_bytes: int) -> None:
        """Keep all images and masks on `device` if they take at most `max_bytes`."""
        if max_bytes and self.prepared.num_bytes(self.ids) <= max_bytes:
            # one at a time, because each memory-mapped array holds an open file
            self.resident = [
                Sample(_to_device(image, device), _to_device(mask, device))
                for image, mask in map(self.prepared.pair, self.ids)
            ]

    def __len__(self) -> int:
        return len(self.ids)

    def size(self, index: int) -> tuple[int, int]:
        """Return (H, W) of an image."""
        if index not in self._sizes:
            self._sizes[index] = self.prepared.size(self.ids[index])
        return self._sizes[index]

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return sample `index` with the augmentation of `epoch`; `key` is (epoch, index)."""
        epoch, index = key
        rng = np.random.default_rng([_AUGMENTATION, self.seed, epoch, index])
        augmentation = draw_augmentation(rng, flip=self.flip, jitter=self.jitter)
        image, mask = self._pair(index)
        if augmentation.flip:
            image, mask = _mirror(image), _mirror(mask)
        if not self.jitter:
            return Sample(image, mask)
        return Sample(image, mask, color_terms(augmentation, self._mean_grey(index)))

    def _pair(self, index: int) -> tuple[Any, Any]:
        if self.resident is not None:
            return self.resident[index][:2]
        return self.prepared.pair(self.ids[index])

    def _mean_grey(self, index: int) -> float:
        if index not in self._mean_greys:
            image = self.prepared.image(self.ids[index])
            self._mean_greys[index] = int(image.sum(dtype=np.int64)) / image.size  # exact
        return self._mean_greys[index]


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array.copy()).to(device)


def _mirror(image: Any) -> Any:
    return image.flip(1) if isinstance(image, Tensor) else image[:, ::-1]
