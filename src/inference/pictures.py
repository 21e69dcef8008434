"""A user's pictures: found by name, read as they are to be looked at.

Shapes: H, W pixels.
"""

import glob
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image

from src.files import InputError

T = TypeVar("T")

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")  # the only ones that are read, whatever a file is called
_MODES = ("RGB", "RGBA", "1", "L", "LA", "P", "CMYK")  # Pillow's names; 8 bits a value
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, Image.DecompressionBombError),
    # what Pillow's reader of EXIF raises on damaged ones
    *(struct.error, TypeError, KeyError, IndexError, OverflowError),
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
# These would stand between the user's lines; what cannot be read is an error of its own.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Source(NamedTuple):
    path: Path
    name: str
    """Of what is made from it: the path below the folder that was asked for, without ending."""


def found_pictures(arguments: Sequence[str], out: Path | None = None) -> list[Source]:
    """The pictures that `arguments` name: files, folders with all below them, or patterns.

    Sorted within each argument, each file once; hidden files only where they are named.

    Args:
        out: a folder whose pictures are not meant, since they are what was made of others.

    Raises:
        InputError: an argument that names no picture, or two pictures of one name.
    """
    sources: dict[str, Source] = {}
    for argument in arguments:
        for source in _found(argument, out):
            known = sources.setdefault(source.name, source)
            if not known.path.samefile(source.path):
                raise InputError(
                    f"{source.path}: {known.path} has the same name; predict one after the other, "
                    "with another --out"
                )
    return list(sources.values())


def _found(argument: str, out: Path | None) -> list[Source]:
    path = Path(argument)
    if not argument:
        found = []
    elif path.is_dir():
        inside = [p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file()]
        inside = [p for p in inside if not (p.name.startswith(".") or _lies_in(p, out))]
        found = [Source(p, p.relative_to(path).with_suffix("").as_posix()) for p in sorted(inside)]
    elif path.is_file():
        found = [Source(path, path.stem)]
    else:
        files = [p for p in map(Path, glob.glob(argument, recursive=True)) if p.is_file()]
        files = [p for p in sorted(files) if p.suffix.lower() in ENDINGS and not _lies_in(p, out)]
        found = [Source(p, p.stem) for p in files]
    if not found:
        expected = f"expected a picture, or some that end in {', '.join(ENDINGS)}"
        raise InputError(f"{argument!r}: no pictures; {expected}")
    return found


def _lies_in(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def read_picture(source: Path | IO[bytes], name: str | Path) -> np.ndarray:
    """(H, W, 3) uint8, RGB, turned the way that its EXIF data say; transparency is left out.

    Args:
        name: what an error calls it.

    Raises:
        InputError: no such file, broken, or of another kind than FORMATS.
    """
    try:
        with Image.open(source, formats=FORMATS) as picture:
            if picture.mode not in _MODES:
                raise InputError(f"{name}: mode {picture.mode}; expected colours or grey of 8 bits")
            turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation))
            if "transparency" in picture.info:  # else Pillow warns of what it leaves out
                picture = picture.convert("RGBA")
            picture = picture.convert("RGB")
            return np.asarray(picture if turn is None else picture.transpose(turn))
    except Image.UnidentifiedImageError:
        raise InputError(f"{name}: not a picture; expected PNG, JPEG or WebP") from None
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: cannot be read ({reason})") from None


def spaced(items: Sequence[T], count: int) -> list[T]:
    """`count` of `items`, evenly spaced from first to last; all of them if they are fewer."""
    if count >= len(items):
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, count).round()]
