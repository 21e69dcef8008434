"""The cached arrays of a data set, as remap writes them and training reads them.

images/ID.npy       (H, W, 3) uint8, RGB
masks/ID.npy        (H, W) uint8 class ids, IGNORE_INDEX where a pixel does not count
test_images/ID.npy  (H, W, 3) uint8, RGB; a folder of their own, for KITTI gives the training and
                    the test pictures the same names
classes.json        the class map
sizes.json          [H, W] of each picture in images/ before it was scaled
scale.json          remap.scale
"""

import functools
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0
from tqdm import tqdm

from src.files import InputError, file_digest, read_json, written
from src.labels import IGNORE_INDEX, ClassMap

IMAGES, MASKS, TEST_IMAGES = "images", "masks", "test_images"
CLASSES, SIZES, SCALE = "classes.json", "sizes.json", "scale.json"

_HEADER = re.compile(
    rb"\x93NUMPY\x01\0v\0{'descr': '\|u1', 'fortran_order': False, "
    rb"'shape': \(([1-9]\d{0,8}), ([1-9]\d{0,8})(?:, (3))?\), } *\n"
)
"""Of what `save_array` writes, as numpy does; numpy's own reader evaluates what stands there."""
_HEADER_BYTES = 128
_MEND = "not as remap wrote it; dvc repro makes it again"


def save_array(path: Path, array: np.ndarray) -> None:
    """Write `array`; the bytes depend on nothing but its shape, dtype and values."""
    array = np.ascontiguousarray(array)
    # as np.save does, which takes no notice where the disk is full at the end of a file
    with written(path), path.open("wb") as file:
        write_array_header_1_0(file, header_data_from_array_1_0(array))
        file.write(array.data)


class Cache:
    """Reads what remap has written below `root`, memory-mapped: only used pages load.

    Everything raises InputError where a file is missing, or is not what remap has written: each is
    looked at before its first use.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sound: set[str] = set()  # masks whose class ids this process has looked at

    def class_map(self) -> ClassMap:
        path = self.root / CLASSES
        found = read_json(path)
        try:
            return ClassMap.from_json(found, path)
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
        return self._array(IMAGES, picture_id)

    def mask(self, picture_id: str) -> np.ndarray:
        """(H, W) uint8 class ids of the class map, or IGNORE_INDEX; read only."""
        mask = self._array(MASKS, picture_id)
        if picture_id not in self._sound:
            wrong = mask[(mask >= self._num_classes) & (mask != IGNORE_INDEX)]
            if wrong.size:
                raise InputError(
                    f"{self._path(MASKS, picture_id)}: class id {wrong[0]} ({wrong.size} pixels "
                    f"beyond the map's {self._num_classes} classes); {_MEND}"
                )
            self._sound.add(picture_id)
        return mask

    def pair(self, picture_id: str) -> tuple[np.ndarray, np.ndarray]:
        """`image` and `mask`, of one size."""
        image, mask = self.image(picture_id), self.mask(picture_id)
        if image.shape[:2] != mask.shape:
            sizes = " and ".join("x".join(map(str, array.shape[:2])) for array in (image, mask))
            path = self._path(IMAGES, picture_id)
            raise InputError(f"{path} and its mask have {sizes} pixels; {_MEND}")
        return image, mask

    def test_image(self, picture_id: str) -> np.ndarray:
        """(H, W, 3) uint8, RGB, read only."""
        return self._array(TEST_IMAGES, picture_id)

    def size(self, picture_id: str) -> tuple[int, int]:
        """(H, W) of a picture with a mask."""
        return self._array(MASKS, picture_id).shape

    def class_pixels(self, picture_ids: Iterable[str]) -> np.ndarray:
        """(K,) int64, pixels of each class in the masks of `picture_ids`."""
        pixels = np.zeros(256, dtype=np.int64)
        for picture_id in picture_ids:
            pixels += np.bincount(self.mask(picture_id).reshape(-1), minlength=256)
        return pixels[: self._num_classes]

    def digest(self, picture_ids: Sequence[str]) -> str:
        """SHA-256 over the class map and the bytes of these pictures and masks, in this order.

        All of them have been looked at, as before a first use.
        """
        for name in picture_ids:
            self.pair(name)
        paths = [self.root / CLASSES]
        paths += [self._path(f, name) for name in picture_ids for f in (IMAGES, MASKS)]
        with ThreadPoolExecutor() as threads:  # hashing releases Python's lock
            digests = threads.map(file_digest, paths)
            bar = tqdm(digests, "hash", len(paths), unit="file", leave=False, disable=None, delay=1)
            return hashlib.sha256("".join(bar).encode()).hexdigest()

    @functools.cached_property
    def _num_classes(self) -> int:
        return self.class_map().num_classes

    def _ids(self, folder: str) -> list[str]:
        ids = sorted(path.stem for path in (self.root / folder).glob("*.npy"))
        for picture_id in ids:
            if not is_picture_id(picture_id):
                raise InputError(f"{self._path(folder, picture_id)}: {_MEND}")
        return ids

    def _path(self, folder: str, picture_id: str) -> Path:
        return self.root / folder / f"{picture_id}.npy"

    def _array(self, folder: str, picture_id: str) -> np.ndarray:
        path = self._path(folder, picture_id)
        try:
            with path.open("rb") as file:
                return _mapped(file, path, () if folder == MASKS else (3,))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; dvc repro makes it again") from None


def _mapped(file: IO[bytes], path: Path, channels: tuple[int, ...]) -> np.ndarray:
    """The array (H, W, *channels) uint8 in `file`; only used pages load."""
    header = _HEADER.fullmatch(file.read(_HEADER_BYTES))
    if header:
        shape = tuple(int(side) for side in header.groups() if side)
        size = path.stat().st_size - _HEADER_BYTES
        if size == math.prod(shape) and shape[2:] == channels:
            return np.memmap(file, np.uint8, "r", _HEADER_BYTES, shape)
    raise InputError(f"{path}: {_MEND}")


def is_picture_id(value: object) -> bool:
    """Whether it can name a file of a cache, and nothing outside of it."""
    return isinstance(value, str) and re.fullmatch(r"[^/\x00\ud800-\udfff]+", value) is not None


def _is_size(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 1 <= side < 2**31 for side in value)
    )
