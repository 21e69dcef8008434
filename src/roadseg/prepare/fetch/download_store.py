"""Downloaded archives, kept by their SHA-256, so that none is downloaded twice."""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roadseg.prepare.fetch.archive import DamagedArchiveError
from roadseg.prepare.fetch.download import download, read_facts, too_large
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, write_json
from roadseg.system.locks import hold_lock

_EVICTABLE = re.compile(r"[0-9a-f]{64}\.(zip|part)")


@dataclass(frozen=True)
class DownloadStore:
    """A directory of archives; one process at a time uses it, others wait.

    SHA256.zip is an archive. KEY, for a URL, is the SHA-256 of the URL: KEY.json has the SHA-256 of
    the archive that the URL served, and KEY.part is an unfinished download, which is resumed.
    """

    folder: Path
    max_bytes: int
    """Archives beyond it are removed, the least recently used first."""

    @contextlib.contextmanager
    def archive(self, url: str, sha256: str | None, limit: int) -> Iterator[Path]:
        """Yield the path of the archive at `url`, downloaded if the store does not have it.

        The name of the file is its SHA-256, which has been verified. If the block raises
        DamagedError, the archive is removed.

        Args:
            sha256: of the archive, whatever its URL; None: what the URL served before.
            limit: largest number of bytes of an archive.

        Raises:
            InputError: as `download` raises it.
        """
        with hold_lock(self.folder / "lock", f"fetch: uses {self.folder}", lambda: None):
            path = self._stored(url, sha256, limit) or self._downloaded(url, limit)
            os.utime(path)  # the time of its last use
            self._evict(path)
            try:
                yield path
            except DamagedArchiveError:
                path.unlink(missing_ok=True)
                raise

    def _stored(self, url: str, sha256: str | None, limit: int) -> Path | None:
        known = sha256 or read_facts(self._facts_path(url)).get("sha256", "")
        path = self.folder / f"{known}.zip"
        if not re.fullmatch("[0-9a-f]{64}", known) or not path.is_file():
            return None
        if file_sha256(path) != known:
            path.unlink()
            print(f"fetch: {path} is damaged; downloading it again", file=sys.stderr, flush=True)
            return None
        if (size := path.stat().st_size) > limit:
            raise InputError(too_large(url, f"{size:,}", limit))
        print(f"fetch: using {path}; delete that file to download it again", flush=True)
        return path

    def _downloaded(self, url: str, limit: int) -> Path:
        whole = self.folder / _key(url)
        download(url, whole, limit)
        sha256 = file_sha256(whole)
        path = self.folder / f"{sha256}.zip"
        facts = read_facts(self._facts_path(url))
        write_json(self._facts_path(url), {**facts, "sha256": sha256})
        os.replace(whole, path)
        return path

    def _facts_path(self, url: str) -> Path:
        """The file that `download` also keeps its facts in."""
        return self.folder / f"{_key(url)}.json"

    def _evict(self, used: Path) -> None:
        """Remove the archives and unfinished downloads beyond `max_bytes`, but never `used`."""
        others = [path for path in self.folder.iterdir() if _EVICTABLE.fullmatch(path.name)]
        others = [(path.stat(), path) for path in others if path != used]
        room = self.max_bytes - used.stat().st_size
        for facts, path in sorted(others, key=lambda other: -other[0].st_mtime_ns):
            room -= facts.st_size
            if room < 0:
                path.unlink()


def _key(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
