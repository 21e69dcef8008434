"""Look into a few files of a dataset: does an image look like a mask, which format has a text."""

import re
from collections.abc import Iterable
from io import BytesIO
from typing import Literal, NamedTuple

import numpy as np

from roadseg.config.file_pattern import ANNOTATION_SUFFIXES
from roadseg.prepare.discovery.files import DatasetFiles
from roadseg.prepare.images.decoding import open_image
from roadseg.system.errors import InputError

MaskKind = Literal["ids", "colors", "coco", "cvat", "labelme", "yolo"]
"""Content of masks: label ids, colors, or the format of annotation files."""
TextKind = Literal["coco", "cvat", "labelme", "yolo", "boxes"]
"""Format of an annotation file; boxes are YOLO's bounding boxes."""

_MAX_BYTES = 128 << 20
"""Bytes that are read of a file; a larger image is not looked into."""
_NUM_ROWS = 128
"""Rows of an image that are looked at."""
_FEW_VALUES = 16
"""A mask of at most as many values needs no large areas."""
_FLAT_FRACTION = 0.6
"""Fraction of neighboring pixels that are equal; noise makes it small in photographs."""
_NUMBER = re.compile(rb"-?[0-9]*\.?[0-9]+(e-?[0-9]+)?")
_NUM_LINES = 20
"""Lines of a text file that are looked at."""


class ImageProbe(NamedTuple):
    """Properties of one image file."""

    kind: Literal["ids", "colors"]
    """ids if all channels are equal or there is a palette."""
    num_values: int
    """Distinct values or colors in some of the rows."""
    is_flat: bool
    """Has areas of few values, as a mask has."""
    is_lossy: bool
    """JPEG."""


class Prober:
    """Reads files once and remembers their properties."""

    def __init__(self, files: DatasetFiles, max_pixels: int) -> None:
        self._files, self._max_pixels = files, max_pixels
        self._images: dict[str, ImageProbe | None] = {}
        self._texts: dict[str, TextKind | None] = {}

    def load(self, names: Iterable[str]) -> None:
        """Look into files, in the order in which they are stored."""
        new = set(names) - self._images.keys() - self._texts.keys()
        for name, data in self._files.read_each(new, _MAX_BYTES):
            if name.lower().endswith(ANNOTATION_SUFFIXES):
                self._texts[name] = text_kind(data)
            else:
                self._images[name] = _probe_image(data, name, self._max_pixels)

    def image(self, name: str) -> ImageProbe | None:
        """Return the properties of an image that was loaded; None if it cannot be decoded."""
        return self._images.get(name)

    def kind(self, name: str) -> MaskKind | None:
        """Return the content of a mask or annotation file that was loaded; None for others."""
        if (probe := self._images.get(name)) is not None:
            return probe.kind
        kind = self._texts.get(name)
        return None if kind == "boxes" else kind

    @property
    def has_boxes(self) -> bool:
        """Check whether a text file with bounding boxes was loaded."""
        return "boxes" in self._texts.values()


def _probe_image(data: bytes, name: str, max_pixels: int) -> ImageProbe | None:
    try:
        with open_image(BytesIO(data), name, max_pixels) as image:
            is_lossy = image.format == "JPEG"
            channels = np.asarray(image)
    except InputError:
        return None
    channels = channels[:: max(1, len(channels) // _NUM_ROWS)]
    if channels.ndim == 3 and channels.shape[2] < 3:  # gray with alpha
        channels = channels[..., 0]
    kind: Literal["ids", "colors"] = "ids"
    if channels.ndim == 3:
        if (channels[..., :1] != channels[..., 1:3]).any():
            kind = "colors"
        channels = channels[..., :3].astype(np.int32) @ np.array([1 << 16, 1 << 8, 1])
    num_values = len(np.unique(channels))
    equal = float((channels[:, 1:] == channels[:, :-1]).mean()) if channels.shape[1] > 1 else 0.0
    is_flat = num_values <= _FEW_VALUES or equal > _FLAT_FRACTION
    return ImageProbe(kind, num_values, is_flat, is_lossy)


def text_kind(data: bytes) -> TextKind | None:
    """Recognize the format of an annotation file, which may be cut off; None for other files."""
    if data.lstrip()[:1] == b"{":
        return _json_kind(data)
    if b"<annotations" in data[:4096] and b"<image " in data:
        return "cvat"
    lines = [line.split() for line in data[: 1 << 16].splitlines() if line.strip()][:_NUM_LINES]
    if not lines or not all(map(_is_yolo, lines)):
        return None
    return "boxes" if len(lines[0]) == 5 else "yolo"


def _json_kind(data: bytes) -> Literal["coco", "labelme"] | None:
    if b'"shapes"' in data and (b'"imagePath"' in data or b'"imageHeight"' in data):
        return "labelme"
    has_masks = b'"segmentation"' in data and b'"segments_info"' not in data
    return "coco" if has_masks and b'"file_name"' in data and b'"images"' in data else None


def _is_yolo(words: list[bytes]) -> bool:
    """Check for a class index and the coordinates of a box or of at least three points."""
    is_right_length = len(words) == 5 or (len(words) >= 7 and len(words) % 2 == 1)
    return words[0].isdigit() and is_right_length and all(map(_NUMBER.fullmatch, words[1:]))
