"""Prepared arrays: written by remap, read by training and evaluation.

images/ID.npy       (H, W, 3) uint8, RGB
masks/ID.npy        (H, W) uint8 class ids, or IGNORE_INDEX
test_images/ID.npy  (H, W, 3) uint8, RGB; a directory of their own, because KITTI gives training
                    and test images the same names
classes.json        the class map
sizes.json          [H, W] of each image in images/ before it was scaled
scale.json          remap.scale
index.jsonl         SHA-256 and class counts of each array, see array_files.py
"""

import functools
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from roadseg.config.class_map import IGNORE_INDEX, ClassMap
from roadseg.config.schema import validate
from roadseg.data.array_files import ArrayEntry, open_array, read_index
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, list_names, read_json

FOLDERS = IMAGES, MASKS, TEST_IMAGES = "images", "masks", "test_images"
CLASSES, SIZES, SCALE, INDEX = "classes.json", "sizes.json", "scale.json", "index.jsonl"

_REBUILD = "was modified after remap wrote it; run dvc repro to rebuild it"


class PreparedDataset:
    """Reads the prepared arrays below `root`, memory-mapped: only accessed pages are loaded.

    All methods raise InputError if a file is missing or was modified after remap wrote it. An array
    is compared with the index at its first use, when all of it is read anyway.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()  # arrays that this process has compared with the index

    def class_map(self) -> ClassMap:
        """Read the class map with which the masks were remapped."""
        path = self.root / CLASSES
        found = read_json(path)
        try:
            return validate(ClassMap, found, path)
        except InputError as error:
            raise InputError(f"{error}; {_REBUILD}") from None

    def scale(self) -> float:
        """Read the ratio of the prepared to the original height and width."""
        path = self.root / SCALE
        scale = read_json(path)
        if type(scale) not in (int, float) or not 0 < scale <= 1:
            raise InputError(f"{path}: {_REBUILD}")
        return float(scale)

    def recorded_sizes(self) -> dict[str, tuple[int, int]]:
        """Return the original (H, W) of each image that has a mask, by id."""
        path = self.root / SIZES
        sizes = read_json(path)
        if not isinstance(sizes, dict) or not all(map(_is_size, sizes.values())):
            raise InputError(f"{path}: {_REBUILD}")
        if others := sizes.keys() ^ set(self.train_ids()):
            raise InputError(
                f"{path}: {min(others)!r} has only a size here, or only a mask in "
                f"{self.root / MASKS}; {_REBUILD}"
            )
        return {name: (height, width) for name, (height, width) in sizes.items()}

    def train_ids(self) -> list[str]:
        """Return the sorted ids of the images that have masks."""
        return self._ids(MASKS)

    def test_ids(self) -> list[str]:
        """Return the sorted ids of the images that have no masks."""
        return self._ids(TEST_IMAGES)

    def image(self, image_id: str) -> np.ndarray:
        """Return an image, (H, W, 3) uint8, RGB, read-only."""
        return self._verified_array(IMAGES, image_id)

    def mask(self, image_id: str) -> np.ndarray:
        """Return a mask, (H, W) uint8 class ids or IGNORE_INDEX, read-only."""
        return self._verified_array(MASKS, image_id)

    def pair(self, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Return an image and its mask, which have the same size."""
        image, mask = self.image(image_id), self.mask(image_id)
        self._require_one_size(image_id, image.shape, mask.shape)
        return image, mask

    def test_image(self, image_id: str) -> np.ndarray:
        """Return an image without a mask, (H, W, 3) uint8, RGB, read-only."""
        return self._verified_array(TEST_IMAGES, image_id)

    def size(self, image_id: str) -> tuple[int, int]:
        """Return (H, W) of an image that has a mask."""
        height, width, *_ = self._shape(MASKS, image_id)
        return height, width

    def num_bytes(self, image_ids: Iterable[str]) -> int:
        """Return the total size of these images and masks in bytes, without reading them."""
        folders = (IMAGES, MASKS)
        return sum(math.prod(self._shape(f, name)) for name in image_ids for f in folders)

    def class_pixels(self, image_ids: Iterable[str]) -> np.ndarray:
        """Return the number of pixels of each class in these masks, (K,) int64, from the index."""
        pixels = np.zeros(256, dtype=np.int64)
        for image_id in image_ids:
            for class_id, count in self._entry(MASKS, image_id).pixels.items():
                pixels[class_id] += count
        return pixels[: self._num_classes]

    def digest(self, image_ids: Sequence[str]) -> str:
        """Return a SHA-256 over the class map and these images and masks, in this order.

        The hashes come from the index, so that a large dataset is not read before training begins.
        Here only the existence and the size of each file are checked; its bytes at the first use.
        """
        digests = [file_sha256(self.root / CLASSES)]
        for name in image_ids:
            self._require_one_size(name, self._shape(IMAGES, name), self._shape(MASKS, name))
            digests += [self._entry(folder, name).sha256 for folder in (IMAGES, MASKS)]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    @functools.cached_property
    def _num_classes(self) -> int:
        return self.class_map().num_classes

    def _ids(self, folder: str) -> list[str]:
        ids = sorted(name[:-4] for name in list_names(self.root / folder) if name.endswith(".npy"))
        for image_id in ids:
            if not is_image_id(image_id):
                raise InputError(f"{self._path(folder, image_id)}: {_REBUILD}")
        return ids

    def _path(self, folder: str, image_id: str) -> Path:
        return self.root / folder / f"{image_id}.npy"

    @functools.cached_property
    def _index(self) -> dict[str, ArrayEntry]:
        return read_index(self.root / INDEX, _REBUILD)

    def _entry(self, folder: str, image_id: str) -> ArrayEntry:
        try:
            return self._index[f"{folder}/{image_id}"]
        except KeyError:
            path = self._path(folder, image_id)
            raise InputError(f"{self.root / INDEX}: has no entry for {path}; {_REBUILD}") from None

    def _verified_array(self, folder: str, image_id: str) -> np.ndarray:
        """Return an array; compare it with the index at its first use."""
        path, name = self._path(folder, image_id), f"{folder}/{image_id}"
        array = self._array(folder, image_id)
        if name not in self._verified:
            entry = self._entry(folder, image_id)
            if folder == MASKS:
                self._require_class_counts(array, entry, path)
            if file_sha256(path) != entry.sha256:
                raise InputError(f"{path}: {_REBUILD}")
            self._verified.add(name)
        return array

    def _array(self, folder: str, image_id: str) -> np.ndarray:
        """Open an image, (H, W, 3), or a mask, (H, W), without comparing it with the index."""
        path = self._path(folder, image_id)
        try:
            array = open_array(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; run dvc repro to create it") from None
        if array is None or array.ndim != (2 if folder == MASKS else 3):
            raise InputError(f"{path}: {_REBUILD}")
        return array

    def _shape(self, folder: str, image_id: str) -> tuple[int, ...]:
        return self._array(folder, image_id).shape

    def _require_class_counts(self, mask: np.ndarray, entry: ArrayEntry, path: Path) -> None:
        """Compare the class counts of `mask` with the index, from which class weights come."""
        counts = np.bincount(mask.reshape(-1), minlength=256)
        beyond = np.flatnonzero(counts[self._num_classes : IGNORE_INDEX]) + self._num_classes
        if beyond.size:
            raise InputError(
                f"{path}: class id {beyond[0]} is not one of the {self._num_classes} classes "
                f"({counts[beyond].sum()} invalid pixels); {_REBUILD}"
            )
        if {int(i): int(counts[i]) for i in np.flatnonzero(counts)} != entry.pixels:
            raise InputError(f"{path}: class counts differ from {self.root / INDEX}; {_REBUILD}")

    def _require_one_size(
        self, image_id: str, image: tuple[int, ...], mask: tuple[int, ...]
    ) -> None:
        """Raise InputError if the shapes (H, W, 3) and (H, W) differ in height or width."""
        if image[:2] != mask:
            sizes = " and ".join("x".join(map(str, shape[:2])) for shape in (image, mask))
            path = self._path(IMAGES, image_id)
            raise InputError(f"{path} and its mask have {sizes} pixels; {_REBUILD}")


def is_image_id(value: object) -> bool:
    """Return True if `value` can name a file in the prepared data, and nothing outside of it."""
    return isinstance(value, str) and re.fullmatch(r"[^/\x00\ud800-\udfff]+", value) is not None


def _is_size(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 1 <= side < 2**31 for side in value)
    )
