"""Decoding pictures of any origin: what is accepted, and every failure as one line.

Shapes: H, W pixels.
"""

import contextlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as

FORMATS = ("PNG", "JPEG")  # the only ones that are read, whatever a file is called
MAX_PIXELS = 178_956_970
"""Of one picture, where nobody says otherwise; half a gigabyte in RGB."""
IMAGE_MODES = ("RGB", "RGBA", "1", "L", "LA", "P", "CMYK")  # Pillow's names; 8 bits a value

_DAMAGE = (
    # what Pillow's decoders and its reader of EXIF raise on damaged files
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError, KeyError),
    *(IndexError, OverflowError, NotImplementedError),
    Image.DecompressionBombError,  # of a WebP, whose reader has a limit of its own
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation that EXIF knows; 1 is as it is."""
_ON_THE_SIDE = (5, 6, 7, 8)
_EXIF = ("exif", "Raw profile type exif")
"""Where Pillow has EXIF data; the second as ImageMagick writes them into a PNG."""
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
"""Pillow's reader of each format."""


@contextlib.contextmanager
def open_image(
    source: Path | IO[bytes],
    name: str | Path,
    max_pixels: int,
    formats: Sequence[str] = FORMATS,
) -> Iterator[Image.Image]:
    """Open the image in `source`: its header is read, nothing is decoded yet.

    Errors of Pillow inside the block become InputErrors too.

    Args:
        name: the name of the image in error messages.
        max_pixels: a larger image is refused.
        formats: the accepted formats, keys of `_READERS`.

    Raises:
        InputError: the file is missing, of another format, too large or damaged.
    """
    too_little = f"{name}: out of memory; a picture of fewer pixels needs less"
    try:
        with (
            out_of_memory_as(too_little),
            _stream(source) as file,
            _read_header(file, name, formats) as image,
        ):
            if image.width * image.height > max_pixels:
                raise InputError(
                    f"{name}: {image.height}x{image.width} pixels; allowed are "
                    f"{max_pixels / 1e6:g} million"
                )
            yield image
    except _DAMAGE as error:
        raise InputError(f"{name}: {_reason(error)}") from None


def _read_header(file: IO[bytes], name: str | Path, formats: Sequence[str]) -> ImageFile.ImageFile:
    """Read the header of the image in `file`.

    Image.open does the same, but compares the size with a limit that is global to the process.
    """
    for kind in formats:
        file.seek(0)
        with contextlib.suppress(SyntaxError):  # not of this format
            return _READERS[kind](file)
    raise InputError(f"{name}: not a picture of a known kind; expected {' or '.join(formats)}")


def _stream(source: Path | IO[bytes]) -> contextlib.AbstractContextManager[IO[bytes]]:
    return source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source)


def _reason(error: BaseException) -> str:
    if reason := getattr(error, "strerror", None):  # the system's, not the decoder's
        return f"cannot be read: {reason}"
    return f"cannot be decoded: {' '.join(str(error).split())}"


def require_whole(
    source: Path | IO[bytes],
    max_pixels: int,
    formats: Sequence[str] = FORMATS,
    name: str | Path | None = None,
) -> None:
    """Raise InputError, as `opened` does, where a PNG is cut or its checksums differ.

    Decoders stop at the last pixel and look at none of these. JPEG and WebP have none.

    Args:
        name: what an error calls it; None: its path.
    """
    with open_image(source, source if name is None else name, max_pixels, formats) as picture:
        picture.verify()


def orientation(picture: Image.Image) -> int:
    """1 to 8, as the picture's EXIF data say; 1 where they say nothing."""
    found = None
    if any(key in picture.info for key in _EXIF):  # Pillow's own getexif of PNG decodes the pixels
        found = Image.Image.getexif(picture).get(ExifTags.Base.Orientation)
    return found if found in _TURNS else 1


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """(H, W) of the picture as it is to be looked at."""
    height, width = picture.height, picture.width
    return (width, height) if orientation(picture) in _ON_THE_SIDE else (height, width)


def to_upright_rgb(picture: Image.Image) -> Image.Image:
    """The picture in RGB, turned the way that its EXIF data say; transparency is left out."""
    picture.load()  # a PNG may tell its orientation after its pixels
    turn = _TURNS.get(orientation(picture))
    if "transparency" in picture.info and picture.mode != "RGB":  # else Pillow warns
        picture = picture.convert("RGBA")
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    return picture if turn is None else picture.transpose(turn)
