"""Inspect a data set: its layout, its classes, and the pixels of each class in a sample of masks.

Shapes: H, W pixels; K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from roadseg.prepare.annotations.shapes import rasterize
from roadseg.prepare.discovery.classes.class_tables import (
    MAX_BYTES,
    ClassTable,
    find_class_table,
    read_class_table,
)
from roadseg.prepare.discovery.classes.classes import Classes
from roadseg.prepare.discovery.classes.label_classes import find_label_classes, read_labels
from roadseg.prepare.discovery.classes.mask_classes import find_mask_classes
from roadseg.prepare.discovery.classes.mask_statistics import MaskStatistics
from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.discovery.layouts.layout import Layout, Pair, discover_layout
from roadseg.prepare.discovery.layouts.names import spread
from roadseg.prepare.images.decoding import open_image, to_upright_rgb, upright_size
from roadseg.prepare.images.masks import MaskEncoding, read_mask
from roadseg.system.errors import InputError

SAMPLE = 200
"""Maximum number of masks that are read, evenly spaced over all."""
_EXAMPLES = 8
_THUMBNAIL = (640, 640)
"""Largest size of the examples, pixels."""
_ANY_MASK = MaskEncoding(values="ids", color_tolerance=1)
"""Encoding with which masks of all kinds are decoded, compressed ones too."""


class Example(NamedTuple):
    """A small version of an image with its mask."""

    image_id: str
    size: tuple[int, int]
    """(height, width) of the image file in pixels."""
    image: np.ndarray
    """(H, W, 3) uint8, RGB."""
    class_ids: np.ndarray
    """(H, W) uint8, class ids or IGNORE_INDEX."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Layout, classes and encoding that were found in a data set."""

    layout: Layout
    classes: Classes
    table: str | None
    """The class table that was read."""
    num_sampled: int
    """Number of masks whose pixels were read."""
    pixels: np.ndarray
    """(256,) int64, pixels by class id in these masks; the last is IGNORE_INDEX."""
    examples: Sequence[Example]

    @property
    def sample_text(self) -> str:
        """The number of masks whose pixels were read, in words."""
        count, total = self.num_sampled, len(self.layout.pairs)
        return f"all {total:,} masks" if count == total else f"{count:,} of {total:,} masks"

    @property
    def fractions(self) -> np.ndarray:
        """(K,) float64, fraction of each class, 0..1, without the ignored pixels."""
        counted = self.pixels[: self.classes.class_map.num_classes]
        fractions: np.ndarray = counted / max(1, counted.sum())
        return fractions


def inspect_dataset(
    files: DatasetFiles,
    class_maps: Path,
    max_pixels: int,
    *,
    images: str | None = None,
    masks: str | None = None,
) -> Inspection:
    """Discover layout and classes, and read a sample of the masks as class ids.

    Args:
        class_maps: directory of the class maps of this project.
        max_pixels: a larger image or mask is refused.
        images, masks: as in `discover_layout`.

    Raises:
        InputError: names the file and the problem.
    """
    layout = discover_layout(files, images=images, masks=masks, max_pixels=max_pixels)
    pairs = spread(layout.pairs, SAMPLE)
    sample = _Sample(pairs, spread(pairs, _EXAMPLES))
    has_labels = layout.kind in ("coco", "cvat", "labelme")
    table = None if has_labels else _read_table(files)
    if layout.kind in ("ids", "colors"):
        classes = _inspect_masks(files, sample, table, class_maps, max_pixels)
    else:
        classes = _inspect_shapes(files, layout, sample, table, max_pixels)
    return Inspection(
        layout=layout,
        classes=classes,
        table=table and table.file,
        num_sampled=len(pairs),
        pixels=sample.pixels,
        examples=_read_examples(files, sample, max_pixels),
    )


class _Sample:
    """Some of the pairs, and what was found in their masks."""

    def __init__(self, pairs: Sequence[Pair], shown: Sequence[Pair]) -> None:
        self.pairs = pairs
        self.shown = shown
        self.pixels = np.zeros(256, dtype=np.int64)
        self.small_masks: dict[Pair, np.ndarray] = {}

    def add(self, pair: Pair, class_ids: np.ndarray) -> None:
        """Count the pixels of a mask, (H, W) uint8, and keep a small version if it is shown."""
        self.pixels += np.bincount(class_ids.reshape(-1), minlength=256)
        if pair in self.shown:
            small = Image.fromarray(class_ids)
            small.thumbnail(_THUMBNAIL, Image.Resampling.NEAREST)
            self.small_masks[pair] = np.asarray(small)


def _inspect_masks(
    files: DatasetFiles,
    sample: _Sample,
    table: ClassTable | None,
    class_maps: Path,
    max_pixels: int,
) -> Classes:
    from roadseg.prepare.images.mask_reader import MaskReader  # numba is slow to import

    statistics = MaskStatistics()
    pairs = {pair.mask: pair for pair in sample.pairs}
    for name, data in files.read_each(pairs):
        statistics.add(name, read_mask(BytesIO(data), name, max_pixels, _ANY_MASK))
    classes = find_mask_classes(statistics, table, sample.pairs[0].mask, class_maps)
    encoding = MaskEncoding(values=classes.mask_values, color_tolerance=classes.color_tolerance)
    reader = MaskReader(classes.class_map, encoding, max_pixels)
    for name, data in files.read_each(pairs):
        sample.add(pairs[name], reader.decode(BytesIO(data), name).class_ids)
    return classes


def _inspect_shapes(
    files: DatasetFiles,
    layout: Layout,
    sample: _Sample,
    table: ClassTable | None,
    max_pixels: int,
) -> Classes:
    sizes = {}
    for name, data in files.read_each([pair.image for pair in sample.pairs]):
        with open_image(BytesIO(data), name, max_pixels) as image:
            sizes[name] = upright_size(image)
    statistics = read_labels(files, layout, sizes)
    classes = find_label_classes(statistics, table)
    for pair in sample.pairs:
        if pair.image in statistics.shapes:
            sample.add(pair, rasterize(statistics.shapes[pair.image], classes.class_map))
    return classes


def _read_table(files: DatasetFiles) -> ClassTable | None:
    name = find_class_table(files.names)
    if name is None:
        return None
    try:
        return read_class_table(name, files.read(name, MAX_BYTES + 1))
    except InputError as error:
        raise InputError(f"{error}; correct it, or rename it if it is not a class table") from None


def _read_examples(files: DatasetFiles, sample: _Sample, max_pixels: int) -> list[Example]:
    images, sizes = {}, {}
    for name, data in files.read_each([pair.image for pair in sample.small_masks]):
        with open_image(BytesIO(data), name, max_pixels) as opened:
            image = to_upright_rgb(opened, name)
        sizes[name] = image.height, image.width
        image.thumbnail(_THUMBNAIL)
        images[name] = np.asarray(image)
    examples = []
    for pair, class_ids in sorted(sample.small_masks.items(), key=lambda item: item[0]):
        if images[pair.image].shape[:2] != class_ids.shape:
            raise InputError(
                f"{pair.mask} and {pair.image} have different sizes; a mask needs the size of its "
                "image, and the image's EXIF rotation"
            )
        examples.append(Example(pair.image_id, sizes[pair.image], images[pair.image], class_ids))
    return examples
