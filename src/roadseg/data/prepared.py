"""The cached arrays of a data set, as remap writes them and training reads them.

images/ID.npy       (H, W, 3) uint8, RGB
masks/ID.npy        (H, W) uint8 class ids, IGNORE_INDEX where a pixel does not count
test_images/ID.npy  (H, W, 3) uint8, RGB; a folder of their own, for KITTI gives the training and
                    the test pictures the same names
classes.json        the class map
sizes.json          [H, W] of each picture in images/ before it was scaled
scale.json          remap.scale
index.jsonl         what each array is, as array_files.py says
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

_MEND = "not as remap wrote it; dvc repro makes it again"


class PreparedDataset:
    """Reads what remap has written below `root`, memory-mapped: only used pages load.

    Everything raises InputError where a file is missing, or is not what remap has written: an array
    is held against the index at its first use, when all of it is read anyway.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sound: set[str] = set()  # arrays that this process has held against the index

    def class_map(self) -> ClassMap:
        path = self.root / CLASSES
        found = read_json(path)
        try:
            return validate(ClassMap, found, path)
        except InputError as error:
            raise InputError(f"{error}; {_MEND}") from None

    def scale(self) -> float:
        """Of height and width, as a share of the originals'."""
        path = self.root / SCALE
        scale = read_json(path)
        if type(scale) not in (int, float) or not 0 < scale <= 1:
            raise InputError(f"{path}: {_MEND}")
        return scale

    def recorded_sizes(self) -> dict[str, tuple[int, int]]:
        """(H, W) of each picture with a mask before it was scaled, by its id."""
        path = self.root / SIZES
        sizes = read_json(path)
        if not isinstance(sizes, dict) or not all(map(_is_size, sizes.values())):
            raise InputError(f"{path}: {_MEND}")
        if others := sizes.keys() ^ set(self.train_ids()):
            raise InputError(
                f"{path}: {min(others)!r} is a size without a mask in {self.root / MASKS}, or a "
                f"mask without a size; {_MEND}"
            )
        return {name: (height, width) for name, (height, width) in sizes.items()}

    def train_ids(self) -> list[str]:
        """Sorted ids of the pictures that have masks."""
        return self._ids(MASKS)

    def test_ids(self) -> list[str]:
        """Sorted ids of the pictures that have none."""
        return self._ids(TEST_IMAGES)

    def image(self, picture_id: str) -> np.ndarray:
        """(H, W, 3) uint8, RGB, read only."""
        return self._sound_array(IMAGES, picture_id)

    def mask(self, picture_id: str) -> np.ndarray:
        """(H, W) uint8 class ids of the class map, or IGNORE_INDEX; read only."""
        return self._sound_array(MASKS, picture_id)

    def pair(self, picture_id: str) -> tuple[np.ndarray, np.ndarray]:
        """`image` and `mask`, of one size."""
        image, mask = self.image(picture_id), self.mask(picture_id)
        self._require_one_size(picture_id, image.shape, mask.shape)
        return image, mask

    def test_image(self, picture_id: str) -> np.ndarray:
        """(H, W, 3) uint8, RGB, read only."""
        return self._sound_array(TEST_IMAGES, picture_id)

    def size(self, picture_id: str) -> tuple[int, int]:
        """(H, W) of a picture with a mask."""
        height, width, *_ = self._shape(MASKS, picture_id)
        return height, width

    def num_bytes(self, picture_ids: Iterable[str]) -> int:
        """Of these pictures and masks; none of them is read."""
        folders = (IMAGES, MASKS)
        return sum(math.prod(self._shape(f, name)) for name in picture_ids for f in folders)

    def class_pixels(self, picture_ids: Iterable[str]) -> np.ndarray:
        """(K,) int64, pixels of each class in the masks of `picture_ids`, as remap counted them."""
        pixels = np.zeros(256, dtype=np.int64)
        for picture_id in picture_ids:
            for class_id, count in self._entry(MASKS, picture_id).pixels.items():
                pixels[class_id] += count
        return pixels[: self._num_classes]

    def digest(self, picture_ids: Sequence[str]) -> str:
        """SHA-256 over the class map and the bytes of these pictures and masks, in this order.

        By what the index says of them, so that a large set is not read before its training begins:
        here are looked at that each is there and its size; the bytes at their first use.
        """
        digests = [file_sha256(self.root / CLASSES)]
        for name in picture_ids:
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
                raise InputError(f"{self._path(folder, image_id)}: {_MEND}")
        return ids

    def _path(self, folder: str, picture_id: str) -> Path:
        return self.root / folder / f"{picture_id}.npy"

    @functools.cached_property
    def _index(self) -> dict[str, ArrayEntry]:
        return read_index(self.root / INDEX, _MEND)

    def _entry(self, folder: str, picture_id: str) -> ArrayEntry:
        try:
            return self._index[f"{folder}/{picture_id}"]
        except KeyError:
            path = self._path(folder, picture_id)
            raise InputError(f"{self.root / INDEX}: knows no {path}; {_MEND}") from None

    def _sound_array(self, folder: str, image_id: str) -> np.ndarray:
        """Return the array, compared with the index at its first use."""
        path, name = self._path(folder, image_id), f"{folder}/{image_id}"
        array = self._array(folder, image_id)
        if name not in self._sound:
            entry = self._entry(folder, image_id)
            if folder == MASKS:
                self._require_counted(array, entry, path)
            if file_sha256(path) != entry.sha256:
                raise InputError(f"{path}: {_MEND}")
            self._sound.add(name)
        return array

    def _array(self, folder: str, image_id: str) -> np.ndarray:
        """Return the array, (H, W, 3) or of a mask (H, W), not compared with the index."""
        path = self._path(folder, image_id)
        try:
            array = open_array(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; dvc repro makes it again") from None
        if array is None or array.ndim != (2 if folder == MASKS else 3):
            raise InputError(f"{path}: {_MEND}")
        return array

    def _shape(self, folder: str, image_id: str) -> tuple[int, ...]:
        return self._array(folder, image_id).shape

    def _require_counted(self, mask: np.ndarray, entry: ArrayEntry, path: Path) -> None:
        """Class weights come from the index."""
        counts = np.bincount(mask.reshape(-1), minlength=256)
        beyond = np.flatnonzero(counts[self._num_classes : IGNORE_INDEX]) + self._num_classes
        if beyond.size:
            raise InputError(
                f"{path}: class id {beyond[0]} ({counts[beyond].sum()} pixels beyond the map's "
                f"{self._num_classes} classes); {_MEND}"
            )
        if {int(i): int(counts[i]) for i in np.flatnonzero(counts)} != entry.pixels:
            raise InputError(f"{path}: {self.root / INDEX} counts other pixels in it; {_MEND}")

    def _require_one_size(self, picture_id: str, image: Sequence, mask: Sequence) -> None:
        """Of (H, W, 3) and (H, W)."""
        if tuple(image[:2]) != tuple(mask):
            sizes = " and ".join("x".join(map(str, shape[:2])) for shape in (image, mask))
            path = self._path(IMAGES, picture_id)
            raise InputError(f"{path} and its mask have {sizes} pixels; {_MEND}")


def is_image_id(value: object) -> bool:
    """Whether it can name a file of a cache, and nothing outside of it."""
    return isinstance(value, str) and re.fullmatch(r"[^/\x00\ud800-\udfff]+", value) is not None


def _is_size(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 1 <= side < 2**31 for side in value)
    )
