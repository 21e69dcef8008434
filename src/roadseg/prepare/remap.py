"""Convert a dataset to prepared arrays: RGB images, and masks of class ids instead of label ids.

Shapes: H, W of the original image; h, w after scaling.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from roadseg.config.class_map import ClassMap
from roadseg.data.array_files import ArrayEntry, save_array
from roadseg.data.prepared import CLASSES, FOLDERS, IMAGES, INDEX, MASKS, SCALE, SIZES, TEST_IMAGES
from roadseg.prepare.decoding import (
    MAX_PIXELS,
    open_image,
    to_upright_rgb,
    verify_checksums,
)
from roadseg.prepare.layout import MASK_FORMATS, RawDataset, check_dataset
from roadseg.prepare.masks import LABEL_IDS, MaskEncoding
from roadseg.prepare.resize import MIN_IMAGE_SIDE, resize_image, scaled_size
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_folder, attach_path, write_json
from roadseg.system.locks import hold_lock
from roadseg.system.ordered_map import ordered_map

_Counted = tuple[np.ndarray, dict[int, int]]
"""An array, and for a mask its number of pixels by class id."""
_Job = tuple[str, Callable[[], _Counted]]
"""FOLDER/ID of an array, and the function that computes it."""


def remap_dataset(
    raw: Path,
    out: Path,
    class_map: ClassMap,
    scale: float,
    max_pixels: int = MAX_PIXELS,
    encoding: MaskEncoding = LABEL_IDS,
) -> np.ndarray:
    """Write the images and masks of the dataset `raw` to `out`, where PreparedDataset reads them.

    A second process that writes the same `out` waits for the first.

    Args:
        out: replaced as a whole; unchanged after an error.
        max_pixels: a larger image or mask is refused.
        encoding: of the masks.

    Returns:
        (256,) int64, number of pixels by class id in the prepared masks; the last is IGNORE_INDEX.

    Raises:
        InputError: an image cannot be decoded or is too small for the network, or a label id has
            no class.
    """
    dataset = check_dataset(raw, max_pixels, encoding)
    count = 2 * len(dataset.train) + len(dataset.test)
    jobs = chain(
        _image_jobs(raw, dataset, scale, max_pixels),
        _mask_jobs(raw, dataset, class_map, scale, max_pixels),
    )
    totals, threads = np.zeros(256, dtype=np.int64), os.cpu_count() or 1
    lock = hold_lock(out.with_name(f".{out.name}.lock"), f"remap: is writing {out}", lambda: None)
    # threads suffice, because Pillow and the kernel release the GIL
    with lock, atomic_folder(out) as new, ThreadPoolExecutor(threads) as pool:
        for folder in FOLDERS:
            (new / folder).mkdir()
        write_json(new / CLASSES, class_map.model_dump(exclude_unset=True))
        write_json(new / SIZES, {name: pair.size for name, pair in dataset.train.items()})
        write_json(new / SCALE, scale)
        entries = ordered_map(pool, partial(_save, new), jobs, ahead=2 * threads)
        with (new / INDEX).open("w", encoding="utf-8") as index:
            for entry in tqdm(entries, "remap", count, unit="file", disable=None):
                with attach_path(new / INDEX):
                    index.write(entry.to_line())
                    index.flush()
                for class_id, pixels in entry.pixels.items():
                    totals[class_id] += pixels
    return totals


def _image_jobs(raw: Path, dataset: RawDataset, scale: float, max_pixels: int) -> Iterator[_Job]:
    for name, pair in dataset.train.items():
        yield f"{IMAGES}/{name}", partial(_image_array, raw / pair.image, scale, max_pixels)
    for name, entry in dataset.test.items():
        yield f"{TEST_IMAGES}/{name}", partial(_image_array, raw / entry.image, scale, max_pixels)


def _mask_jobs(
    raw: Path, dataset: RawDataset, class_map: ClassMap, scale: float, max_pixels: int
) -> Iterator[_Job]:
    table, known = class_map.table()
    for name, pair in dataset.train.items():
        height, width = pair.size
        path, size = raw / pair.mask, scaled_size(width, height, scale)
        yield f"{MASKS}/{name}", partial(_mask_array, path, table, known, size, max_pixels)


def _save(folder: Path, job: _Job) -> ArrayEntry:
    name, compute = job
    array, pixels = compute()
    sha256 = save_array(folder / f"{name}.npy", array)
    return ArrayEntry(name=name, sha256=sha256, pixels=pixels)


def _image_array(path: Path, scale: float, max_pixels: int) -> _Counted:
    """Decode and scale an image, (h, w, 3) uint8, RGB."""
    verify_checksums(path, path, max_pixels)
    with open_image(path, path, max_pixels) as encoded:
        image = to_upright_rgb(encoded, path)
    size = scaled_size(*image.size, scale)
    if min(size) < MIN_IMAGE_SIDE:
        raise InputError(
            f"{path}: {size[1]}x{size[0]} pixels at remap.scale {scale}; the network needs at "
            f"least {MIN_IMAGE_SIDE} on each side"
        )
    return np.asarray(resize_image(image, scale)), {}


def _mask_array(
    path: Path, table: np.ndarray, known: np.ndarray, size: tuple[int, int], max_pixels: int
) -> _Counted:
    """Decode, remap and scale a mask, (h, w) uint8 class ids.

    Args:
        table: class id by label id, from `ClassMap.table`, like `known`.
        known: True for label ids that the class map allows.
        size: (w, h).
    """
    from roadseg.prepare.lut import look_up  # numba is slow to import

    verify_checksums(path, path, max_pixels, MASK_FORMATS)
    with open_image(path, path, max_pixels, MASK_FORMATS) as mask:
        mask.load()
    counts = np.array(mask.histogram())
    unknown = np.flatnonzero((counts > 0) & ~known)
    if unknown.size:
        raise InputError(
            f"{path}: label id {unknown[0]} ({counts[unknown[0]]} pixels) has no class; "
            "add it to the class map, or set unknown_label_ids there"
        )
    class_ids = look_up(np.asarray(mask), table)
    pixels = np.bincount(table, counts, 256).astype(np.int64)
    if mask.size != size:
        # NEAREST, because other filters invent class ids at the edges
        scaled = Image.fromarray(class_ids).resize(size, Image.Resampling.NEAREST)
        class_ids, pixels = np.asarray(scaled), np.array(scaled.histogram())
    return class_ids, {int(i): int(pixels[i]) for i in np.flatnonzero(pixels)}
