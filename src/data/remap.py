"""From masks of label ids to cached masks of class ids, and pictures beside them.

Shapes: H, W the picture's own height and width; h, w those at `scale`.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numba import int64, njit, types, uint8, void
from PIL import Image
from tqdm import tqdm

from src.data.cache import CLASSES, IMAGES, MASKS, SIZES, TEST_IMAGES, save_array
from src.data.layout import TEST_IMAGES as RAW_TEST_IMAGES
from src.data.layout import TRAIN_IMAGES, TRAIN_MASKS, check_dataset, picture_path
from src.files import InputError, write_json
from src.labels import ClassMap

SMALLEST_SIDE = 32
"""Pixels; after four halvings 2 are left, enough for the statistics of a batch norm."""

_READ_ONLY = types.Array(uint8, 1, "C", readonly=True)  # Pillow's arrays are; others convert


@njit(void(_READ_ONLY, _READ_ONLY, uint8[::1], int64[::1]), nogil=True, cache=True)
def _look_up(label_ids, table, class_ids, counts):  # pragma: no cover (compiled)
    for i in range(label_ids.size):
        label_id = label_ids[i]
        class_ids[i] = table[label_id]
        counts[label_id] += 1


def remapped(label_ids: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Look each label id up, and count them in the same pass over the memory.

    Args:
        label_ids: (H, W) uint8, read only.
        table: (256,) uint8; an 8-bit id cannot fall outside of it.

    Returns:
        class_ids: (H, W) uint8, table[label_ids], a new array.
        counts: (256,) int64, pixels of each label id.
    """
    class_ids = np.empty(label_ids.shape, dtype=np.uint8)
    counts = np.zeros(256, dtype=np.int64)
    flat = np.ascontiguousarray(label_ids).reshape(-1)
    _look_up(flat, np.ascontiguousarray(table), class_ids.reshape(-1), counts)
    return class_ids, counts


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """(width, height) at `scale`, rounded to whole pixels, at least 1."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def remap_dataset(raw: Path, cache: Path, class_map: ClassMap, scale: float) -> np.ndarray:
    """Write every picture and mask of the data set at `raw` below `cache`, as `Cache` reads them.

    Returns:
        (256,) int64, pixels of each class id in the cached masks; the last is IGNORE_INDEX.

    Raises:
        InputError: a picture that cannot be decoded or is too small for the network, or a label
            id without a class.
    """
    dataset = check_dataset(raw)
    for folder in (IMAGES, MASKS, TEST_IMAGES):
        (cache / folder).mkdir(parents=True)
    write_json(cache / CLASSES, class_map.to_json())
    write_json(cache / SIZES, dataset.train_sizes)
    jobs = [
        *(partial(_cache_pair, raw, cache, name, class_map, scale) for name in dataset.train_ids),
        *(partial(_cache_test_image, raw, cache, name, scale) for name in dataset.test_ids),
    ]
    totals = np.zeros(256, dtype=np.int64)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow and the kernel release the GIL
        results = pool.map(lambda job: job(), jobs)
        try:
            for counts in tqdm(results, total=len(jobs), desc="remap", unit="img", disable=None):
                totals += counts
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return totals


def _cache_pair(
    raw: Path, cache: Path, picture_id: str, class_map: ClassMap, scale: float
) -> np.ndarray:
    """Write one picture and its mask; return (256,) int64, pixels of each class id."""
    image = _scaled_image(picture_path(raw, TRAIN_IMAGES, picture_id), scale)
    save_array(cache / IMAGES / f"{picture_id}.npy", image)
    path = picture_path(raw, TRAIN_MASKS, picture_id)
    class_ids = _class_ids(path, class_map)
    rows, columns = image.shape[:2]
    if class_ids.shape != (rows, columns):  # NEAREST: other filters invent classes at the edges
        mask = Image.fromarray(class_ids).resize((columns, rows), Image.Resampling.NEAREST)
        class_ids = np.asarray(mask)
    save_array(cache / MASKS / f"{picture_id}.npy", class_ids)
    return np.bincount(class_ids.reshape(-1), minlength=256)


def _cache_test_image(raw: Path, cache: Path, picture_id: str, scale: float) -> int:
    """Write one picture without a mask; it adds 0 to the pixels of every class."""
    image = _scaled_image(picture_path(raw, RAW_TEST_IMAGES, picture_id), scale)
    save_array(cache / TEST_IMAGES / f"{picture_id}.npy", image)
    return 0


def _class_ids(path: Path, class_map: ClassMap) -> np.ndarray:
    """(H, W) uint8 class ids of the mask at `path`."""
    table, known = class_map.table()
    class_ids, counts = remapped(np.asarray(_decoded(path, "L")), table)
    unknown = np.flatnonzero((counts > 0) & ~known)
    if unknown.size:
        raise InputError(
            f"{path}: label id {unknown[0]} ({counts[unknown[0]]} pixels) has no class; "
            "add it to the class map, or set the map's unknown_label_ids"
        )
    return class_ids


def _scaled_image(path: Path, scale: float) -> np.ndarray:
    """(h, w, 3) uint8, RGB."""
    picture = _decoded(path, "RGB")
    size = scaled_size(*picture.size, scale)
    if min(size) < SMALLEST_SIDE:
        raise InputError(
            f"{path}: {size[1]}x{size[0]} pixels at remap.scale {scale}; the network halves a "
            f"picture four times and needs {SMALLEST_SIDE} on each side"
        )
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _decoded(path: Path, mode: str) -> Image.Image:
    """The picture at `path` in Pillow's `mode`."""
    try:
        with Image.open(path) as picture:
            return picture.convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be decoded: {error}") from None
