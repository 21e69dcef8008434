import os
import sys
from pathlib import Path
from types import SimpleNamespace

from roadseg.system.locks import acquire_lock


def test_lock_has_one_holder_and_is_released_when_its_file_is_closed(tmp_path: Path):
    path = tmp_path / "folder/lock"
    first = acquire_lock(path)
    assert first is not None
    assert acquire_lock(path) is None
    first.close()
    again = acquire_lock(path)
    assert again is not None
    again.close()


def test_windows_locks_one_byte_behind_the_content(tmp_path: Path, monkeypatch):
    """With a module like Windows' msvcrt, which locks bytes at the position of the file."""
    held: set[int] = set()

    def locking(descriptor: int, mode: int, count: int) -> None:

        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        assert (mode, count) == (2, 1)
        if position in held:
            raise PermissionError(13, "Permission denied")
        held.add(position)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    file = acquire_lock(tmp_path / "lock")
    assert file is not None
    with file:
        assert (tmp_path / "lock").read_text().startswith("process ")
        assert min(held) > 1000
        assert acquire_lock(tmp_path / "lock") is None
