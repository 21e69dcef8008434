"""Datasets in memory: files by name, whose content is one of a few tiny images or a text."""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from roadseg.prepare.discovery.files import DatasetFiles, StoredFile

HEIGHT, WIDTH = 16, 24


def _encode(array: np.ndarray, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


_STRIPES = np.repeat(np.arange(4, dtype=np.uint8), HEIGHT * WIDTH // 4).reshape(HEIGHT, WIDTH)
_NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
_COLORS = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 142)], dtype=np.uint8)[_STRIPES]
PHOTO, IDS, COLORS = _encode(_NOISE), _encode(_STRIPES), _encode(_COLORS)
LOSSY_COLORS = _encode(_COLORS, "jpeg")


def make_files(contents: Mapping[str, bytes | str]) -> DatasetFiles:
    """Build the files of a dataset; `contents` by name."""
    return DatasetFiles(
        StoredFile(name, len(content), _reader(content)) for name, content in contents.items()
    )


def _reader(content: bytes | str):
    data = content.encode() if isinstance(content, str) else content
    return lambda limit: data[:limit]
