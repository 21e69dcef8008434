"""Errors of libtiff, the library with which Pillow decodes compressed TIFF files.

By default, libtiff prints them on standard error, and Pillow returns the pixels that could be
decoded before some of them. Pillow gives no access to its error handler, so it is set by ctypes.
"""

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator
from pathlib import Path

import PIL

_LIBRARIES = ("../pillow.libs/libtiff*", ".dylibs/libtiff*")
"""Places of libtiff in Pillow's packages for Linux and macOS, relative to the package."""
_thread = threading.local()


def _record(_module: bytes | None, _format: bytes | None, _arguments: int | None) -> None:
    _thread.has_error = True


@functools.cache
def _set_handlers() -> object:
    """Replace the handlers of errors and warnings in this process; return the one of errors.

    The cache keeps it alive.
    """
    arguments = ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p
    handler = ctypes.CFUNCTYPE(None, *arguments)(_record)
    package = Path(PIL.__file__).parent
    for path in (path for pattern in _LIBRARIES for path in sorted(package.glob(pattern))):
        library = ctypes.CDLL(str(path))
        library.TIFFSetErrorHandler(handler)
        library.TIFFSetWarningHandler(None)
    return handler


@contextlib.contextmanager
def raise_libtiff_errors() -> Iterator[None]:
    """Raise OSError if libtiff reports an error in this thread inside the block."""
    _set_handlers()
    _thread.has_error = False
    try:
        yield
    finally:
        if _thread.has_error:
            raise OSError("damaged TIFF data")
