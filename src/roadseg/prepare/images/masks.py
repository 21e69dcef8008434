"""Read mask files: label ids or colors per pixel, exactly as they are in the file.

Shapes: H, W pixels.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from roadseg.prepare.annotations.shapes import read_shapes
from roadseg.prepare.images.decoding import open_image, read_orientation, verify_checksums
from roadseg.system.errors import InputError

_GRAY_MODES = ("1", "L", "LA")
_DEEP_MODES = ("I;16", "I;16B")  # gray of 16 bits
_MODES = (*_GRAY_MODES, "P", "RGB", "RGBA")
_WHITE_IS_ZERO = 0
"""Photometric interpretation of a TIFF whose values Pillow inverts."""
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
"""Pillow's names of TIFF compressions that may be lossy."""
_FAX_TIFF = ("group3", "group4", "tiff_ccitt", "tiff_raw_16")
"""Compressions of fax, of which Pillow returns damaged data as an image."""
_MAX_WEBP_CHUNKS = 32
"""Chunks before the pixels of a WebP file; a usual one has at most 5."""


@dataclass(frozen=True, kw_only=True)
class MaskEncoding:
    """`data.mask_values` and `data.color_tolerance` of params.yaml."""

    values: Literal["ids", "colors"] = "ids"
    color_tolerance: int = 0


LABEL_IDS = MaskEncoding()
"""Masks of label ids, as in KITTI."""


class MaskPixels(NamedTuple):
    """The decoded pixels of a mask."""

    values: np.ndarray
    """(H, W) uint8 or uint16 label ids or palette indices, or (H, W, 3 or 4) uint8 colors."""
    palette: np.ndarray | None
    """(256, 3) uint8, color of each 8-bit value; None if the pixels are colors or of 16 bits."""
    has_palette: bool
    """True if the file has a palette of its own; otherwise `palette` is gray."""


def read_mask_size(
    path: Path, name: str, max_pixels: int, encoding: MaskEncoding
) -> tuple[int, int]:
    """Read (H, W) of a mask or of shapes, and check by its header that `read_mask` supports it.

    Raises:
        InputError: begins with `name`.
    """
    if path.suffix == ".json":
        shapes = read_shapes(path)
        return shapes.height, shapes.width
    with open_image(path, name, max_pixels) as mask:
        _check_header(mask, name, encoding)
        return mask.height, mask.width


def read_mask(
    source: Path | IO[bytes], name: str | Path, max_pixels: int, encoding: MaskEncoding
) -> MaskPixels:
    """Decode a mask.

    Grayscale files of less than 8 bits have their own values, which Pillow would scale to 0..255,
    if `encoding` is label ids; as colors, they are scaled like any image.

    Raises:
        InputError: the mask is damaged or of an unsupported kind; begins with `name`.
    """
    verify_checksums(source, name, max_pixels)
    with open_image(source, name, max_pixels) as mask:
        _check_header(mask, name, encoding)
        bits, is_inverted = _num_bits(mask), _is_inverted(mask)
        mask.load()
        values = np.asarray(mask)
    if mask.mode in _DEEP_MODES:
        return MaskPixels(values.astype(np.uint16, copy=False), None, False)
    if mask.mode == "P":
        return MaskPixels(values, _palette(mask), True)
    if mask.mode in ("RGB", "RGBA"):
        return MaskPixels(values, None, False)
    if mask.mode == "LA":
        values = values[:, :, 0]
    if mask.mode == "1":
        values = values.astype(np.uint8) * 255
    if encoding.values == "ids" and mask.mode != "LA":
        values = ~values if is_inverted else values
        values = values // (255 // ((1 << bits) - 1)) if bits < 8 else values
    return MaskPixels(values, np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1), False)


def _palette(mask: Image.Image) -> np.ndarray:
    """Return the palette, (256, 3) uint8, black where it is shorter."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    colors = np.array(mask.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)[:256]
    palette[: len(colors)] = colors
    return palette


def _check_header(mask: ImageFile.ImageFile, name: str | Path, encoding: MaskEncoding) -> None:
    """Raise InputError if the values of the mask cannot be read exactly."""
    is_deep = mask.mode in _DEEP_MODES
    if mask.mode not in (*_MODES, *_DEEP_MODES) or (not is_deep and _num_bits(mask) > 8):
        raise InputError(
            f"{name}: unsupported mode {mask.mode} of {_num_bits(mask)} bits; save the mask as "
            "grayscale of up to 16 bits, or palette, RGB or RGBA of 8 bits"
        )
    if is_deep and encoding.values == "colors":
        raise InputError(
            f"{name}: 16-bit grayscale has no colors; set data.mask_values: ids, or save it as RGB"
        )
    if read_orientation(mask) not in (1, None):
        raise InputError(f"{name}: rotated by its EXIF orientation; save it without EXIF data")
    if isinstance(mask, GifImageFile) and mask.tile[0].extents != (0, 0, *mask.size):
        raise InputError(f"{name}: its frame does not cover the whole image; save it as PNG")
    if mask.info.get("compression") in _FAX_TIFF:
        raise InputError(f"{name}: fax compression hides damage; save the mask as PNG")
    if _is_lossy(mask) and not encoding.color_tolerance:
        raise InputError(
            f"{name}: {mask.format} compression is lossy and changes the values of a mask; use the "
            "original masks (PNG), or set data.mask_values: colors and a data.color_tolerance"
        )


def _raw_mode(mask: ImageFile.ImageFile) -> str:
    """Return Pillow's name of the layout of the pixels in the file, such as L;4 or RGB;16B."""
    arguments = mask.tile[0].args if mask.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _num_bits(mask: ImageFile.ImageFile) -> int:
    """Return the bits of each channel in the file."""
    if isinstance(mask, TiffImageFile):
        return int(max(mask.tag_v2.get(BITSPERSAMPLE, (1,))))
    found = re.fullmatch(r"[A-Za-z]+;(\d+)[A-Z]*", _raw_mode(mask))
    return int(found[1]) if found else 1 if mask.mode == "1" else 8


def _is_inverted(mask: ImageFile.ImageFile) -> bool:
    """Check whether Pillow inverts the values, as in a TIFF in which white is 0."""
    if not isinstance(mask, TiffImageFile):
        return False
    return bool(mask.tag_v2.get(PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO) == _WHITE_IS_ZERO)


def _is_lossy(mask: ImageFile.ImageFile) -> bool:
    if isinstance(mask, TiffImageFile):
        return mask.info.get("compression") in _LOSSY_TIFF
    if isinstance(mask, WebPImageFile):
        return mask.fp is None or not _is_lossless_webp(mask.fp)
    return mask.format == "JPEG"


def _is_lossless_webp(file: IO[bytes]) -> bool:
    """Check whether the first chunk with pixels of a WebP file is of the lossless kind, VP8L."""
    position = 12
    for _ in range(_MAX_WEBP_CHUNKS):
        file.seek(position)
        chunk = file.read(8)
        if chunk[:4] in (b"VP8L", b"VP8 ", b"ANMF", b""):
            return chunk[:4] == b"VP8L"
        size = int.from_bytes(chunk[4:], "little")
        position += 8 + size + size % 2
    return False
