"""Decoding pictures of any origin: what is accepted, and every failure as one line.

Shapes: H, W pixels.
"""

import contextlib
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image

from roadseg.system.errors import InputError
from roadseg.system.memory import is_out_of_memory

FORMATS = ("PNG", "JPEG")  # the only ones that are read, whatever a file is called
MAX_PIXELS = 178_956_970
"""Of one picture, where nobody says otherwise; half a gigabyte in RGB."""
IMAGE_MODES = ("RGB", "RGBA", "1", "L", "LA", "P", "CMYK")  # Pillow's names; 8 bits a value

_DAMAGE = (
    # what Pillow's decoders and its reader of EXIF raise on damaged files
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError, KeyError),
    *(IndexError, OverflowError, NotImplementedError, MemoryError),
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

Image.MAX_IMAGE_PIXELS = None  # `opened` looks itself, before anything is decoded
# These would stand between the user's lines; what cannot be read is an error of its own.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@contextlib.contextmanager
def open_image(
    source: Path | IO[bytes],
    name: str | Path,
    max_pixels: int,
    formats: Sequence[str] = FORMATS,
) -> Iterator[Image.Image]:
    """The picture in `source`, its header read and nothing decoded; failures within are told too.

    Args:
        name: what an error calls it.
        max_pixels: a larger picture is refused.
        formats: Pillow's names of those that are accepted.

    Raises:
        InputError: no such file, of another kind, too large or damaged.
    """
    try:
        with _stream(source) as file:
            file.seek(0)
            with Image.open(file, formats=formats) as picture:
                if picture.width * picture.height > max_pixels:
                    raise InputError(
                        f"{name}: {picture.height}x{picture.width} pixels; allowed are "
                        f"{max_pixels / 1e6:g} million"
                    )
                yield picture
    except Image.UnidentifiedImageError:
        expected = " or ".join(formats)
        raise InputError(f"{name}: not a picture of a known kind; expected {expected}") from None
    except _DAMAGE as error:
        raise InputError(f"{name}: {_reason(error)}") from None


def _stream(source: Path | IO[bytes]) -> contextlib.AbstractContextManager[IO[bytes]]:
    return source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source)


def _reason(error: BaseException) -> str:
    if is_out_of_memory(error):
        return "out of memory; a picture of fewer pixels needs less"
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
