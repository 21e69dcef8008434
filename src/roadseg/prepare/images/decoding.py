"""Decode untrusted image files; every failure becomes a one-line InputError.

Shapes: H, W pixels.
"""

import contextlib
import os
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, ImageFile, PngImagePlugin
from tqdm import tqdm

from roadseg.prepare.images.image_readers import FORMATS, READERS, TiffFile
from roadseg.system.errors import InputError, one_line
from roadseg.system.memory import out_of_memory_as

MAX_PIXELS = 178_956_970
"""Default limit on the pixels of an image; half a gigabyte in RGB."""
IMAGE_MODES = ("RGB", "RGBA", "1", "L", "LA", "P", "CMYK")  # Pillow's names; 8 bits per value

_DECODING_ERRORS = (
    # raised by Pillow's decoders on damaged files
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError, KeyError),
    *(IndexError, OverflowError, NotImplementedError),
    Image.DecompressionBombError,  # from the WebP and GIF readers, which have a limit of their own
)
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each EXIF orientation other than 1."""
_QUARTER_TURNS = (5, 6, 7, 8)
"""Orientations that swap height and width."""
_UINT16 = 3  # type of the orientation


@contextlib.contextmanager
def open_image(
    source: Path | IO[bytes], name: str | Path, max_pixels: int
) -> Iterator[ImageFile.ImageFile]:
    """Open the image in `source`: read its header, decode nothing yet.

    Errors that Pillow raises inside the block become InputErrors too.

    Args:
        name: the name of the image in error messages.
        max_pixels: a larger image is refused.

    Raises:
        InputError: the file is missing, of another format, too large or damaged, or has several
            frames.
    """
    too_little = f"{name}: out of memory; an image of fewer pixels needs less"
    try:
        with (
            out_of_memory_as(too_little),
            _open_stream(source) as file,
            _read_header(file, name) as image,
        ):
            if image.width * image.height > max_pixels:
                raise InputError(
                    f"{name}: {image.height}x{image.width} pixels; the limit is "
                    f"{max_pixels / 1e6:g} million"
                )
            if getattr(image, "is_animated", False):
                raise InputError(
                    f"{name}: has several frames or pages; save one of them as a file of its own"
                )
            yield image
    except _DECODING_ERRORS as error:
        raise InputError(f"{name}: {_reason(error)}") from None


def _read_header(file: IO[bytes], name: str | Path) -> ImageFile.ImageFile:
    """Read the header as Image.open does, but without its process-wide limit on the size."""
    # By default, Pillow refuses a PNG with a comment or color profile of over 1 MiB. Its limit for
    # all comments of a file together, 64 MiB, is enough against decompression bombs.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    file.seek(0)
    start = file.read(8)
    for reader, signatures in READERS.items():
        if start.startswith(signatures):
            file.seek(0)
            return reader(file)
    raise InputError(f"{name}: not a {FORMATS} image")


def _open_stream(source: Path | IO[bytes]) -> contextlib.AbstractContextManager[IO[bytes]]:
    return source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source)


def _reason(error: BaseException) -> str:
    if reason := getattr(error, "strerror", None):  # from the operating system
        return f"cannot be read: {reason}"
    return f"cannot be decoded: {' '.join(str(error).split())}"


def verify_checksums(source: Path | IO[bytes], name: str | Path, max_pixels: int) -> None:
    """Raise InputError if a PNG is truncated or has a wrong checksum, which decoders ignore."""
    with open_image(source, name, max_pixels) as image:
        image.verify()


def read_orientation(image: Image.Image) -> int | None:
    """Read the EXIF orientation, 1 to 8; 1 if there is none, None if the EXIF data is damaged.

    Pillow itself applies the orientation of a TIFF when it decodes it, after which it is 1.
    """
    if isinstance(image, TiffFile):
        tagged = image.tag_v2.get(ExifTags.Base.Orientation)
        return tagged if tagged in _TRANSPOSITIONS else 1
    try:
        found = _parse_orientation(_exif_data(image))
    except (ValueError, KeyError, TypeError, struct.error):
        return None
    return found if found in _TRANSPOSITIONS else 1


def _exif_data(image: Image.Image) -> bytes:
    """Return the EXIF data without its prefix, empty if there is none."""
    exif = image.info.get("exif", b"")
    if text := not exif and image.info.get("Raw profile type exif"):  # in hex, by ImageMagick
        exif = bytes.fromhex("".join(text.split("\n")[3:]))
    if not exif and isinstance(image, PngImagePlugin.PngImageFile) and image.fp is not None:
        exif = _find_exif_chunk(image.fp)
    return re.sub(rb"^(Exif\0\0)+", b"", exif)


def _find_exif_chunk(file: IO[bytes]) -> bytes:
    """Return the EXIF data of a PNG even if they are after the pixels; Pillow reads them later."""
    position = file.tell()
    file.seek(8)
    exif = b""
    while not exif and len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        if name == b"eXIf":
            exif = file.read(length)
        file.seek(length + 4, os.SEEK_CUR)
    file.seek(position)
    return exif


def _parse_orientation(exif: bytes) -> int:
    """Find the orientation in the first directory of EXIF data (TIFF 6.0, section 2).

    Damage raises KeyError or struct.error. Image.getexif would raise, warn or ignore it, depending
    on earlier calls, and would decode the pixels of a PNG.
    """
    if not exif:
        return 1
    order = {b"II*\0": "<", b"MM\0*": ">"}[exif[:4]]
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    (num_entries,) = struct.unpack_from(f"{order}H", exif, start)
    for i in range(num_entries):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * i)
        if (tag, kind) == (ExifTags.Base.Orientation, _UINT16):
            return int(value)
    return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (H, W) of the image after its EXIF orientation is applied."""
    height, width = image.height, image.width
    is_turned = is_quarter_turn(read_orientation(image)) and not isinstance(image, TiffFile)
    return (width, height) if is_turned else (height, width)


def is_quarter_turn(orientation: int | None) -> bool:
    """Check whether an EXIF orientation swaps height and width."""
    return orientation in _QUARTER_TURNS


def to_upright_rgb(image: Image.Image, name: str | Path) -> Image.Image:
    """Convert to RGB without transparency and apply the EXIF orientation; warn if it is damaged."""
    image.load()  # a PNG may have its EXIF data after its pixels
    orientation = read_orientation(image)
    if orientation is None:
        warning = f"warning: {name}: ignoring damaged EXIF data; the image is not rotated"
        tqdm.write(one_line(warning), file=sys.stderr)
    if "transparency" in image.info and image.mode != "RGB":  # otherwise Pillow warns
        image = image.convert("RGBA")
    if image.mode != "RGB":
        image = image.convert("RGB")
    transposition = _TRANSPOSITIONS.get(orientation or 1)
    return image if transposition is None else image.transpose(transposition)
