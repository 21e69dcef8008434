"""The training dataset; a sample is a pure function of (seed, epoch, index).

Shapes: H and W are the height and width of an image.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from roadseg.config.recipe import Augmentation
from roadseg.data.augmentation import draw_transform
from roadseg.data.collate import Sample
from roadseg.data.prepared import PreparedDataset

# parts of the generators' seeds, so that augmentation and sampling have streams of their own
_AUGMENTATION, _CLASS_UNIFORM = 2, 4


class SegmentationDataset(Dataset[Sample]):
    """Map-style dataset of images and masks with their transforms; a key is (epoch, index).

    Args:
        class_uniform: fraction of the samples that do not show the image of their index, but one
            that is drawn by class: first a class, each with the same probability, then an image
            that has it, then a pixel of it, which the augmentation moves to the middle. Void is
            not drawn.
        num_epochs: epochs of the training, which decide where the plain epochs begin; None: none is
            plain.
    """

    def __init__(
        self,
        prepared: PreparedDataset,
        ids: Sequence[str],
        seed: int,
        augmentation: Augmentation | None = None,
        class_uniform: float = 0.0,
        num_epochs: int | None = None,
    ) -> None:
        self.prepared, self.ids, self.seed = prepared, list(ids), seed
        self.augmentation, self.class_uniform = augmentation, class_uniform
        self.num_epochs = num_epochs
        self.resident: list[Sample] | None = None
        self._mean_grays: dict[int, float] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    def move_to(self, device: torch.device, max_bytes: int) -> None:
        """Keep all images and masks on `device` from now on if they take at most `max_bytes`."""
        if self.resident is None and max_bytes and self.prepared.num_bytes(self.ids) <= max_bytes:
            # one at a time, because each memory-mapped array holds an open file
            self.resident = [
                Sample(_to_device(image, device), _to_device(mask, device))
                for image, mask in map(self.prepared.pair, self.ids)
            ]

    def __len__(self) -> int:
        return len(self.ids)

    def size(self, key: tuple[int, int]) -> tuple[int, int]:
        """Return (H, W) of the image that a sample shows."""
        index, *_ = self._choose(key)
        if index not in self._sizes:
            self._sizes[index] = self.prepared.size(self.ids[index])
        return self._sizes[index]

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return a sample with its transform, which `augment` applies; `key` is (epoch, index)."""
        index, center = self.source(key)
        image, mask = self._pair(index)
        augmentation = self.augmentation_in(key[0])
        if augmentation is None:
            return Sample(image, mask)
        rng = np.random.default_rng([_AUGMENTATION, self.seed, *key])
        size, mean = self.size(key), self._mean_gray(index)
        return Sample(image, mask, draw_transform(rng, augmentation, size, mean, center))

    def augmentation_in(self, epoch: int) -> Augmentation | None:
        """Return the augmentation of `epoch`, from 1."""
        if self.augmentation is None or self.num_epochs is None:
            return self.augmentation
        return self.augmentation.in_epoch(epoch, self.num_epochs)

    def source(self, key: tuple[int, int]) -> tuple[int, tuple[int, int] | None]:
        """Return the index of the image that a sample shows, and the pixel to center, if any."""
        index, class_id, rng = self._choose(key)
        if class_id is None:
            return index, None
        pixels = np.argwhere(self.prepared.mask(self.ids[index]) == class_id)
        row, column = pixels[rng.integers(len(pixels))].tolist()
        return index, (row, column)

    def _choose(self, key: tuple[int, int]) -> tuple[int, int | None, np.random.Generator]:
        """Return the index of the image, the class by which it was drawn, and the generator."""
        _, index = key
        rng = np.random.default_rng([_CLASS_UNIFORM, self.seed, *key])
        if rng.random() >= self.class_uniform or not self._images_of_classes:
            return index, None, rng
        class_id, images = self._images_of_classes[rng.integers(len(self._images_of_classes))]
        return int(rng.choice(images)), class_id, rng

    @functools.cached_property
    def _images_of_classes(self) -> list[tuple[int, np.ndarray]]:
        """The classes that occur, except void, each with the indices of the images that have it."""
        has_class = np.stack([self.prepared.class_pixels([i]) for i in self.ids]) > 0
        void = self.prepared.class_map().void_id
        return [
            (c, np.flatnonzero(has)) for c, has in enumerate(has_class.T) if has.any() and c != void
        ]

    def _pair(self, index: int) -> tuple[Any, Any]:
        if self.resident is not None:
            return self.resident[index][:2]
        return self.prepared.pair(self.ids[index])

    def _mean_gray(self, index: int) -> float:
        if index not in self._mean_grays:
            image = self.prepared.image(self.ids[index])
            self._mean_grays[index] = int(image.sum(dtype=np.int64)) / image.size  # exact
        return self._mean_grays[index]


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(array.copy()).to(device)
