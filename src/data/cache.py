"""The cached arrays of a data set, as remap writes them and training reads them.

images/ID.npy       (H, W, 3) uint8, RGB
masks/ID.npy        (H, W) uint8 class ids, IGNORE_INDEX where a pixel does not count
test_images/ID.npy  (H, W, 3) uint8, RGB; a folder of their own, for KITTI gives the training and
                    the test pictures the same names
classes.json        the class map
sizes.json          [H, W] of each picture in images/ before it was scaled
scale.json          remap.scale
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.files import InputError, file_digest, read_json
from src.labels import ClassMap

IMAGES, MASKS, TEST_IMAGES = "images", "masks", "test_images"
CLASSES, SIZES, SCALE = "classes.json", "sizes.json", "scale.json"


def save_array(path: Path, array: np.ndarray) -> None:
    """Write `array`; the bytes depend on nothing but its shape, dtype and values."""
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


class Cache:
    """Reads what remap has written below `root`, memory-mapped: only used pages load."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def class_map(self) -> ClassMap:
        path = self.root / CLASSES
        return ClassMap.from_json(read_json(path), path)

    def scale(self) -> float:
        """Of height and width, as a share of the originals'."""
        return read_json(self.root / SCALE)

    def recorded_sizes(self) -> dict[str, tuple[int, int]]:
        """(H, W) of each picture with a mask before it was scaled, by its id."""
        return {name: (h, w) for name, (h, w) in read_json(self.root / SIZES).items()}

    def train_ids(self) -> list[str]:
        """Sorted ids of the pictures that have masks."""
        return self._ids(MASKS)

    def test_ids(self) -> list[str]:
        """Sorted ids of the pictures that have none."""
        return self._ids(TEST_IMAGES)

    def image(self, picture_id: str) -> np.ndarray:
        """(H, W, 3) uint8, RGB, read only."""
        return self._array(IMAGES, picture_id, 3)

    def mask(self, picture_id: str) -> np.ndarray:
        """(H, W) uint8 class ids, read only."""
        return self._array(MASKS, picture_id, 2)

    def test_image(self, picture_id: str) -> np.ndarray:
        """(H, W, 3) uint8, RGB, read only."""
        return self._array(TEST_IMAGES, picture_id, 3)

    def size(self, picture_id: str) -> tuple[int, int]:
        """(H, W) of a picture with a mask."""
        return self.mask(picture_id).shape

    def class_pixels(self, picture_ids: Iterable[str]) -> np.ndarray:
        """(K,) int64, pixels of each class in the masks of `picture_ids`."""
        num_classes = self.class_map().num_classes
        pixels = np.zeros(256, dtype=np.int64)
        for picture_id in picture_ids:
            pixels += np.bincount(self.mask(picture_id).reshape(-1), minlength=256)
        return pixels[:num_classes]

    def digest(self, picture_ids: Sequence[str]) -> str:
        """SHA-256 over the class map and the bytes of these pictures and masks, in this order."""
        paths = [self.root / CLASSES]
        paths += [self._path(f, name) for name in picture_ids for f in (IMAGES, MASKS)]
        with ThreadPoolExecutor() as threads:  # hashing releases Python's lock
            digests = threads.map(file_digest, paths)
            bar = tqdm(digests, "hash", len(paths), unit="file", leave=False, disable=None, delay=1)
            return hashlib.sha256("".join(bar).encode()).hexdigest()

    def _ids(self, folder: str) -> list[str]:
        return sorted(path.stem for path in (self.root / folder).glob("*.npy"))

    def _path(self, folder: str, picture_id: str) -> Path:
        return self.root / folder / f"{picture_id}.npy"

    def _array(self, folder: str, picture_id: str, ndim: int) -> np.ndarray:
        path = self._path(folder, picture_id)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: cannot be read ({error}); run dvc repro remap") from None
        if array.dtype != np.uint8 or array.ndim != ndim:
            raise InputError(f"{path}: {array.dtype} {array.shape} is not what remap writes")
        return array
