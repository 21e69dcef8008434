"""Convert a dataset to prepared arrays: RGB images, and masks of class ids instead of label ids.

Shapes: H, W of the original image; h, w after scaling.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from roadseg.config.class_map import ClassMap, Color
from roadseg.data.array_files import ArrayEntry, save_array
from roadseg.data.prepared import CLASSES, FOLDERS, IMAGES, INDEX, MASKS, SCALE, SIZES, TEST_IMAGES
from roadseg.prepare.images.decoding import MAX_PIXELS, open_image, to_upright_rgb, verify_checksums
from roadseg.prepare.images.masks import LABEL_IDS, MaskEncoding
from roadseg.prepare.images.palettes import PaletteCheck
from roadseg.prepare.images.resize import MIN_IMAGE_SIDE, resize_image, scaled_size
from roadseg.prepare.layout import RawDataset, check_dataset
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_folder, attach_path, write_json
from roadseg.system.locks import hold_lock
from roadseg.system.ordered_map import ordered_map

if TYPE_CHECKING:
    from roadseg.prepare.images.mask_reader import MaskReader


class _Prepared(NamedTuple):
    """An array, and for a mask its statistics."""

    array: np.ndarray
    pixels: dict[int, int]
    """Number of pixels by class id; empty for an image."""
    mask: "_MaskStatistics | None" = None


class _MaskStatistics(NamedTuple):
    source: Path
    num_approximate: int
    palette: dict[int, Color]


_Job = tuple[str, Callable[[], _Prepared]]
"""FOLDER/ID of an array, and the function that computes it."""


class RemapResult(NamedTuple):
    """Number of pixels of all masks."""

    pixels: np.ndarray
    """(256,) int64, by class id in the prepared masks; the last is IGNORE_INDEX."""
    num_approximate: int
    """Pixels of the original masks whose color was only within the tolerance of a known one."""
    num_original: int
    """Pixels of the original masks."""


def remap_dataset(
    raw: Path,
    out: Path,
    class_map: ClassMap,
    scale: float,
    max_pixels: int = MAX_PIXELS,
    encoding: MaskEncoding = LABEL_IDS,
) -> RemapResult:
    """Write the images and masks of the dataset `raw` to `out`, where PreparedDataset reads them.

    Masks of test images are not read. A second process that writes the same `out` waits.

    Args:
        out: replaced as a whole; unchanged after an error.
        max_pixels: a larger image or mask is refused.
        encoding: of the masks.

    Raises:
        InputError: an image cannot be decoded or is too small for the network, a label id or color
            has no class, or the palettes of two masks differ.
    """
    dataset = check_dataset(raw, max_pixels, encoding)
    return _remap(raw, dataset, out, class_map, scale, max_pixels, encoding)


def remap_test_set(
    raw: Path,
    out: Path,
    class_map: ClassMap,
    scale: float,
    max_pixels: int = MAX_PIXELS,
    encoding: MaskEncoding = LABEL_IDS,
) -> int:
    """Write the test images that have masks, and the masks, to a prepared dataset of their own.

    Arguments and errors as in `remap_dataset`.

    Returns:
        Number of images; 0 if no test image has a mask, and `out` is not written.
    """
    pairs = check_dataset(raw, max_pixels, encoding).test_pairs
    if pairs:
        dataset = RawDataset(train=pairs, test={})
        _remap(raw, dataset, out, class_map, scale, max_pixels, encoding)
    return len(pairs)


def _remap(
    raw: Path,
    dataset: RawDataset,
    out: Path,
    class_map: ClassMap,
    scale: float,
    max_pixels: int,
    encoding: MaskEncoding,
) -> RemapResult:
    if encoding.values == "colors":
        class_map.color_class_ids()  # raises an error before the images are decoded
    count = 2 * len(dataset.train) + len(dataset.test)
    jobs = chain(
        _image_jobs(raw, dataset, scale, max_pixels),
        _mask_jobs(raw, dataset, class_map, encoding, scale, max_pixels),
    )
    threads = os.cpu_count() or 1
    lock = hold_lock(out.with_name(f".{out.name}.lock"), f"remap: is writing {out}", lambda: None)
    # threads suffice, because Pillow and the kernel release the GIL
    with lock, atomic_folder(out) as new, ThreadPoolExecutor(threads) as pool:
        for folder in FOLDERS:
            (new / folder).mkdir()
        write_json(new / CLASSES, class_map.model_dump(exclude_unset=True))
        write_json(new / SIZES, {name: pair.size for name, pair in dataset.train.items()})
        write_json(new / SCALE, scale)
        saved = ordered_map(pool, partial(_save, new), jobs, ahead=2 * threads)
        bar = tqdm(saved, "remap", count, unit="file", disable=None)
        pixels, num_approximate = _write_index(new / INDEX, bar)
    num_original = sum(height * width for _, _, (height, width) in dataset.train.values())
    return RemapResult(pixels, num_approximate, num_original)


def _write_index(
    path: Path, saved: Iterable[tuple[ArrayEntry, _MaskStatistics | None]]
) -> tuple[np.ndarray, int]:
    """Write the entries of the arrays; return the first two fields of RemapResult.

    The palettes are compared here, in order, so that an error is the same with any threads.
    """
    totals, num_approximate, palettes = np.zeros(256, dtype=np.int64), 0, PaletteCheck()
    with path.open("w", encoding="utf-8") as index:
        for entry, mask in saved:
            with attach_path(path):
                index.write(entry.to_line())
                index.flush()
            for class_id, pixels in entry.pixels.items():
                totals[class_id] += pixels
            if mask is not None:
                palettes.add(mask.source, mask.palette)
                num_approximate += mask.num_approximate
    return totals, num_approximate


def _image_jobs(raw: Path, dataset: RawDataset, scale: float, max_pixels: int) -> Iterator[_Job]:
    for name, pair in dataset.train.items():
        yield f"{IMAGES}/{name}", partial(_image_array, raw / pair.image, scale, max_pixels)
    for name, entry in dataset.test.items():
        yield f"{TEST_IMAGES}/{name}", partial(_image_array, raw / entry.image, scale, max_pixels)


def _mask_jobs(
    raw: Path,
    dataset: RawDataset,
    class_map: ClassMap,
    encoding: MaskEncoding,
    scale: float,
    max_pixels: int,
) -> Iterator[_Job]:
    from roadseg.prepare.images.mask_reader import MaskReader  # numba is slow to import

    reader = MaskReader(class_map, encoding, max_pixels)
    for name, pair in dataset.train.items():
        yield f"{MASKS}/{name}", partial(_mask_array, raw / pair.mask, reader, pair.size, scale)


def _save(folder: Path, job: _Job) -> tuple[ArrayEntry, _MaskStatistics | None]:
    name, compute = job
    array, pixels, mask = compute()
    sha256 = save_array(folder / f"{name}.npy", array)
    return ArrayEntry(name=name, sha256=sha256, pixels=pixels), mask


def _image_array(path: Path, scale: float, max_pixels: int) -> _Prepared:
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
    return _Prepared(np.asarray(resize_image(image, scale)), {})


def _mask_array(
    path: Path, reader: "MaskReader", original_size: tuple[int, int], scale: float
) -> _Prepared:
    """Decode, remap and scale a mask, (h, w) uint8 class ids; `original_size` is (H, W)."""
    height, width = original_size
    mask = reader.read(path)
    class_ids, size = Image.fromarray(mask.class_ids), scaled_size(width, height, scale)
    if class_ids.size != size:
        # NEAREST, because other filters invent class ids at the edges
        class_ids = class_ids.resize(size, Image.Resampling.NEAREST)
    counts = class_ids.histogram()
    pixels = {class_id: count for class_id, count in enumerate(counts) if count}
    statistics = _MaskStatistics(path, mask.num_approximate, mask.palette)
    return _Prepared(np.asarray(class_ids), pixels, statistics)
