"""From masks of label ids to cached masks of class ids, and pictures beside them.

Shapes: H, W the picture's own height and width; h, w those at `scale`.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from src.data.cache import CLASSES, IMAGES, MASKS, SCALE, SIZES, TEST_IMAGES, save_array
from src.data.decoding import MAX_PIXELS, opened, orientation, require_whole, upright_rgb
from src.data.layout import (
    MASK_FORMATS,
    TRAIN_IMAGES,
    TRAIN_MASKS,
    Dataset,
    check_dataset,
    picture_path,
)
from src.data.layout import TEST_IMAGES as RAW_TEST_IMAGES
from src.data.limits import require_room
from src.files import InputError, write_json
from src.labels import ClassMap

Job = Callable[[], Any]
"""Caches one file and returns what it adds to the pixels of each class."""

SMALLEST_PICTURE = 32
"""Pixels; after four halvings 2 are left, enough for the statistics of a batch norm."""


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """(width, height) at `scale`, rounded to whole pixels, at least 1."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def remap_dataset(
    raw: Path, cache: Path, class_map: ClassMap, scale: float, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Write every picture and mask of the data set at `raw` below `cache`, as `Cache` reads them.

    Args:
        max_pixels: a larger picture or mask is refused.

    Returns:
        (256,) int64, pixels of each class id in the cached masks; the last is IGNORE_INDEX.

    Raises:
        InputError: a picture that cannot be decoded or is too small for the network, or a label
            id without a class.
    """
    dataset = check_dataset(raw, max_pixels)
    for folder in (IMAGES, MASKS, TEST_IMAGES):
        (cache / folder).mkdir(parents=True)
    require_room(_bytes(dataset, scale), cache)
    write_json(cache / CLASSES, class_map.to_json())
    write_json(cache / SIZES, dataset.train_sizes)
    write_json(cache / SCALE, scale)
    totals = np.zeros(256, dtype=np.int64)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow and the kernels release the GIL
        try:
            done = [pool.submit(job) for job in _image_jobs(raw, cache, dataset, scale, max_pixels)]
            import src.data.lookup  # noqa: F401 - compiles while the first pictures are decoded

            masks = _mask_jobs(raw, cache, dataset, class_map, scale, max_pixels)
            done += [pool.submit(job) for job in masks]
            for job in tqdm(done, desc="remap", unit="file", disable=None):
                totals += job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return totals


def _bytes(dataset: Dataset, scale: float) -> int:
    """Of all arrays; a small archive may hold large ones, well packed."""
    sizes = [*dataset.train_sizes.values()] * 4 + [*dataset.test_sizes.values()] * 3  # channels
    return sum(math.prod(scaled_size(width, height, scale)) for height, width in sizes)


def _image_jobs(
    raw: Path, cache: Path, dataset: Dataset, scale: float, max_pixels: int
) -> Iterator[Job]:
    for name, size in dataset.train_sizes.items():
        path, cached = picture_path(raw, TRAIN_IMAGES, name), cache / IMAGES / f"{name}.npy"
        yield partial(_cache_image, path, cached, scale, max_pixels, size)
    for name in dataset.test_ids:
        path = picture_path(raw, RAW_TEST_IMAGES, name)
        yield partial(
            _cache_image, path, cache / TEST_IMAGES / f"{name}.npy", scale, max_pixels, None
        )


def _mask_jobs(
    raw: Path, cache: Path, dataset: Dataset, class_map: ClassMap, scale: float, max_pixels: int
) -> Iterator[Job]:
    for name, (height, width) in dataset.train_sizes.items():
        path, cached = picture_path(raw, TRAIN_MASKS, name), cache / MASKS / f"{name}.npy"
        size = scaled_size(width, height, scale)
        yield partial(_cache_mask, path, cached, class_map, size, max_pixels)


def _cache_image(
    path: Path, cached: Path, scale: float, max_pixels: int, size: tuple[int, int] | None
) -> int:
    """Write a picture as an array; it adds 0 to the pixels of every class.

    Args:
        size: (height, width) that it must have, as its mask does; None: any.
    """
    require_whole(path, max_pixels)
    with opened(path, path, max_pixels) as encoded:
        picture = upright_rgb(encoded)
    if size not in (None, picture.size[::-1]):  # its EXIF data stood behind its pixels
        raise InputError(f"{path}: its EXIF data turn it away from its mask; save it upright")
    save_array(cached, _scaled(picture, path, scale))
    return 0


def _cache_mask(
    path: Path, cached: Path, class_map: ClassMap, size: tuple[int, int], max_pixels: int
) -> np.ndarray:
    """Write a mask as an array of (width, height) `size`; (256,) int64, pixels of each class id."""
    from src.data.lookup import remapped  # loaded already, see above

    table, known = class_map.table()
    require_whole(path, max_pixels, MASK_FORMATS)
    with opened(path, path, max_pixels, MASK_FORMATS) as mask:
        mask.load()  # of a palette, the indices
        if orientation(mask) != 1:  # these data stood behind its pixels
            raise InputError(f"{path}: its EXIF data turn it; save the mask as it is to be seen")
    counts = np.array(mask.histogram())
    unknown = np.flatnonzero((counts > 0) & ~known)
    if unknown.size:
        raise InputError(
            f"{path}: label id {unknown[0]} ({counts[unknown[0]]} pixels) has no class; "
            "add it to the class map, or set the map's unknown_label_ids"
        )
    class_ids = remapped(np.asarray(mask), table)
    if mask.size == size:
        save_array(cached, class_ids)
        return np.bincount(table, counts, 256).astype(np.int64)
    # NEAREST: other filters invent classes at the edges
    scaled = Image.fromarray(class_ids).resize(size, Image.Resampling.NEAREST)
    save_array(cached, np.asarray(scaled))
    return np.array(scaled.histogram())


def _scaled(picture: Image.Image, path: Path, scale: float) -> np.ndarray:
    """(h, w, 3) uint8, RGB."""
    size = scaled_size(*picture.size, scale)
    if min(size) < SMALLEST_PICTURE:
        raise InputError(
            f"{path}: {size[1]}x{size[0]} pixels at remap.scale {scale}; the network halves a "
            f"picture four times and needs {SMALLEST_PICTURE} on each side"
        )
    return np.asarray(resized(picture, scale))


def resized(picture: Image.Image, scale: float) -> Image.Image:
    """The picture as the network sees it at `scale`."""
    size = scaled_size(*picture.size, scale)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.BICUBIC)
