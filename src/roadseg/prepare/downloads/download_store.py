"""A content-addressed store of downloaded files, so that none is downloaded twice."""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roadseg.prepare.downloads.download import download, hide_credentials, too_large_error
from roadseg.prepare.downloads.file_kind import FileKind
from roadseg.prepare.downloads.partial_file import read_facts
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, write_json
from roadseg.system.locks import hold_lock

_EVICTABLE = re.compile(r"[0-9a-f]{64}\.(?!json)[a-z.]+")


class DamagedFileError(InputError):
    """A file is corrupt or truncated; downloading it again may help."""


@dataclass(frozen=True)
class DownloadStore:
    """A directory of downloaded files; one process at a time uses it, others wait.

    A file is named by its SHA-256 and a suffix of its kind, such as .zip. KEY is the SHA-256 of a
    URL, with credentials and query: KEY.json has the SHA-256 of the file that the URL served;
    KEY.part is an unfinished download.
    """

    folder: Path
    max_bytes: int
    """Size of the store above which the least recently used files are removed."""
    kind: FileKind

    @contextlib.contextmanager
    def file(self, url: str, sha256: str | None, limit: int) -> Iterator[Path]:
        """Yield the path of the file at `url`; download it if it is not in the store.

        The name of the file begins with its SHA-256, which has been verified. If the block raises
        DamagedFileError, the file is removed.

        Args:
            sha256: of the wanted file; None for the file that the URL served last time.
            limit: largest number of bytes of the file.

        Raises:
            InputError: see `download`; or the file has another SHA-256 than `sha256`, or than the
                server states.
        """
        work = f"{self.kind.stage}: is using {self.folder}"
        with hold_lock(self.folder / "lock", work, lambda: None):
            path = self._find(url, sha256, limit) or self._download(url, sha256, limit)
            os.utime(path)  # the time of its last use
            self._evict(path)
            try:
                yield path
            except DamagedFileError:
                path.unlink(missing_ok=True)
                raise

    def _find(self, url: str, sha256: str | None, limit: int) -> Path | None:
        known = sha256 or read_facts(self._facts_path(url)).get("sha256", "")
        if not re.fullmatch("[0-9a-f]{64}", known):
            return None
        paths = [self.folder / f"{known}{suffix}" for suffix in self.kind.suffixes]
        if (path := next(filter(Path.is_file, paths), None)) is None:
            return None
        if file_sha256(path) != known:
            path.unlink()
            print(
                f"{self.kind.stage}: {path} is damaged; downloading it again",
                file=sys.stderr,
                flush=True,
            )
            return None
        if (size := path.stat().st_size) > limit:
            raise too_large_error(url, f"{size:,}", limit)
        print(f"{self.kind.stage}: using {path}; delete that file to download it again", flush=True)
        return path

    def _download(self, url: str, expected: str | None, limit: int) -> Path:
        whole = self.folder / _key(url)
        stated = download(url, whole, limit, self.kind)
        sha256 = file_sha256(whole)
        try:
            self.kind.require_sha256(hide_credentials(url), sha256, expected)
            if stated not in (None, sha256):
                raise InputError(
                    f"{hide_credentials(url)}: has the SHA-256 {sha256}, but the server states "
                    f"{stated}; it was damaged on the way; run it again"
                )
        except InputError:
            whole.unlink()
            raise
        path = self.folder / f"{sha256}{self.kind.suffix(whole)}"
        facts = read_facts(self._facts_path(url))
        write_json(self._facts_path(url), {**facts, "sha256": sha256})
        os.replace(whole, path)
        return path

    def _facts_path(self, url: str) -> Path:
        """Return the path of the file in which `download` keeps its validator, too."""
        return self.folder / f"{_key(url)}.json"

    def _evict(self, used: Path) -> None:
        """Remove files and unfinished downloads above `max_bytes`, but never `used`."""
        candidates = [path for path in self.folder.iterdir() if _EVICTABLE.fullmatch(path.name)]
        entries = [(path.stat(), path) for path in candidates if path != used]
        remaining = self.max_bytes - used.stat().st_size
        for status, path in sorted(entries, key=lambda entry: -entry[0].st_mtime_ns):
            remaining -= status.st_size
            if remaining < 0:
                path.unlink()


def _key(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
