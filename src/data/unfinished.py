"""A cache in the making, in a folder beside its place, so that a killed remap is picked up.

.OUT.remap/new/        the cache, as far as it has come
.OUT.remap/journal     what each array in it was made from, a line each as in index.py, by its key
.OUT.made              the same of the finished cache: adding a picture makes no other one again

A key is a hash of all that decides an array: the raw file's bytes, what was asked, the code and the
libraries. An array made before is taken where its key is the same and its own bytes are still those
that were written. It is linked, not copied: a disk with a cache of 40 GB may have no room for its
double, and nothing here ever writes into a file that has its name.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from src.data.arrays import save_array
from src.data.cache import FOLDERS, INDEX
from src.data.index import Entry, entries_so_far, entry_line
from src.data.window import in_order
from src.files import file_digest, named, replaced_file, written
from src.lock import held


class Job(NamedTuple):
    """One array of the cache."""

    name: str
    """FOLDER/ID, its path without the ending."""
    raw: Path
    """The file that it is made from."""
    asked: Any
    """What else decides it, as JSON."""
    make: Callable[[], tuple[np.ndarray, dict[int, int]]]
    """Gives the array and the pixels of each class id in it."""


@contextlib.contextmanager
def unfinished(out: Path, makers: Any) -> Iterator["Unfinished"]:
    """What is made within takes the place of `out` when the block succeeds, else stays for later.

    Another process that makes the same is waited for.

    Args:
        makers: code and libraries, as JSON; others would make other arrays.
    """
    folder, made = out.with_name(f".{out.name}.remap"), out.with_name(f".{out.name}.made")
    new, old = folder / "new", folder / "old"
    with (
        held(folder / "lock", f"remap: still writes {out}", lambda: None),
        named(out, new),
    ):
        if os.path.lexists(old) and not os.path.lexists(out):  # killed between the two renames
            os.replace(old, out)
        _remove(old)
        work = Unfinished(out, folder, made, json.dumps(makers, sort_keys=True))
        try:
            yield work
        except BaseException:
            if not any(work.files()):
                shutil.rmtree(folder)
            raise
        if os.path.lexists(out):
            os.replace(out, old)
        os.replace(new, out)
        os.replace(folder / "made", made)
        shutil.rmtree(folder)


class Unfinished:
    """The cache as far as it has come."""

    def __init__(self, out: Path, folder: Path, made: Path, makers: str) -> None:
        self.new, self.num_kept = folder / "new", 0
        self._out, self._folder, self._makers = out, folder, makers
        self._journal = folder / "journal"
        self._resumed = self.new.exists()
        self._known = {**entries_so_far(made), **entries_so_far(self._journal)}
        for name in FOLDERS:
            (self.new / name).mkdir(parents=True, exist_ok=True)

    def files(self) -> Iterator[os.DirEntry]:
        """The arrays that are there."""
        return _files(self.new)

    def num_bytes(self) -> int:
        """Of arrays that may be taken as they are, here and in the last cache."""
        last = _files(self._out) if self._known else ()
        here = (file for file in self.files() if file.stat().st_nlink == 1)  # others are the last's
        return sum(file.stat().st_size for file in itertools.chain(here, last))

    def entries(self, pool: Executor, jobs: Iterable[Job], ahead: int) -> Iterator[Entry]:
        """Make each array, in order, or take it where it was made before; write the index.

        Args:
            ahead: how many may be at hand at a time; a kill loses no more than these.
        """
        names = set()
        with contextlib.ExitStack() as stack:
            index, made, journal = (
                stack.enter_context(path.open(mode, encoding="utf-8"))
                for path, mode in (
                    (self.new / INDEX, "w"),
                    (self._folder / "made", "w"),
                    (self._rewritten_journal(), "a"),
                )
            )
            for name, key, entry in in_order(pool, self._entry, jobs, ahead):
                if key not in self._known:
                    _write(journal, entry_line(key, entry))
                _write(made, entry_line(key, entry))
                _write(index, entry_line(name, entry))
                if self._resumed:
                    names.add(f"{name}.npy")
                yield entry
        if self._resumed:
            self._remove_others(names)

    def _rewritten_journal(self) -> Path:
        """Without what a kill has cut."""
        found = entries_so_far(self._journal)
        with replaced_file(self._journal) as path, path.open("w", encoding="utf-8") as file:
            file.writelines(entry_line(key, entry) for key, entry in found.items())
        return self._journal

    def _entry(self, job: Job) -> tuple[str, str, Entry]:
        """Name, key and entry of an array that is in its place then."""
        decides = f"{file_digest(job.raw)} {json.dumps(job.asked)} {self._makers}"
        key = hashlib.sha256(decides.encode()).hexdigest()
        path, known = self.new / f"{job.name}.npy", self._known.get(key)
        if known is not None and self._kept(job.name, path, known.sha256):
            self.num_kept += 1
            return job.name, key, known
        array, pixels = job.make()
        with self._whole(path) as temporary:
            sha256 = save_array(temporary, array)
        return job.name, key, Entry(sha256, pixels)

    def _kept(self, name: str, path: Path, sha256: str) -> bool:
        """Whether the array is in its place now, as it was when it was made."""
        if _is(path, sha256):
            return True
        last = self._out / f"{name}.npy"
        if not _is(last, sha256):
            return False
        with self._whole(path) as temporary:
            try:
                os.link(os.path.realpath(last), temporary)
            except OSError:  # another file system, or one without links
                shutil.copyfile(last, temporary)
        return True

    @contextlib.contextmanager
    def _whole(self, path: Path) -> Iterator[Path]:
        """A temporary path that takes the place of `path`."""
        temporary = self._folder / f"{threading.get_ident()}.tmp"
        temporary.unlink(missing_ok=True)
        with named(path, temporary):
            yield temporary
            os.replace(temporary, path)

    def _remove_others(self, names: set[str]) -> None:
        """What an attempt at another data set has left."""
        for file in list(self.files()):
            if Path(file.path).relative_to(self.new).as_posix() not in names:
                os.unlink(file.path)


def _write(file: IO[str], line: str) -> None:
    with written(Path(file.name)):
        file.write(line)
        file.flush()


def _remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _files(root: Path) -> Iterator[os.DirEntry]:
    for folder in FOLDERS:
        if (root / folder).is_dir():
            with os.scandir(root / folder) as files:
                yield from files


def _is(path: Path, sha256: str) -> bool:
    try:
        return file_digest(path) == sha256
    except OSError:
        return False
