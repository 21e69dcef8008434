"""Forbid that this process reads the masks of test images."""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator

_EVENTS = ("open", "os.listdir", "os.scandir")
_FORBIDDEN = ("testing/semantic", "prepared_test")
"""Directories of the masks as fetch copies them, and as the stage test prepares them."""
_active: list[bool] = []


class TestMaskReadError(Exception):
    """A test mask, or the directory of the test masks, was read."""

    __test__ = False  # not a class of tests


@contextlib.contextmanager
def forbid_test_masks() -> Iterator[None]:
    """Raise TestMaskReadError in the code that opens a test mask or lists their directory."""
    _install_hook()
    _active.append(True)
    try:
        yield
    finally:
        _active.pop()


@functools.cache
def _install_hook() -> None:
    sys.addaudithook(_check)  # cannot be removed


def _check(event: str, arguments: tuple[object, ...]) -> None:
    if not _active or event not in _EVENTS:
        return
    path = arguments[0]
    if isinstance(path, str | bytes | os.PathLike):
        text = os.fsdecode(path)
        if any(folder in text for folder in _FORBIDDEN):
            raise TestMaskReadError(text)
